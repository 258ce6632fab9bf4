#!/usr/bin/env bats
# What cgroup v2 alone can do, and what is refused where it is not: partitions, memory.high, io.max and io.stat for real,
# two levels for a box, out of memory without polling. Huge pages, which v1 limits too.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    mkdir bin
    cp "$FILE_DIR/probe" bin/probe
    PROBE_MOUNT="mounts: [{ source: $T/bin, target: /probe }]"
    partition=
    huge=
}

teardown()
{
    [ -z "$huge" ] || echo 0 >"$huge"
    test_teardown
    [ -z "$partition" ] || rmdir "$partition"
}

pure_v2()
{
    [ -z "$(own_cgroup memory)" ] && [ -n "$(own_cgroup unified)" ]
}

needs_v2()
{
    pure_v2 || skip "needs cgroup v2 alone"
}

needs_guest()
{
    [ "${JBT_GUEST:-0}" = 1 ] || skip "changes the machine: only in a guest of scripts/vm"
    needs_root
}

# The group of the only live box.
box_group()
{
    echo "$(own_cgroup unified)/jobbox-$(ls run/boxes)"
}

# --- two levels ----------------------------------------------------------------------------------------------------

@test "v2: limits are on the outer group, processes in the inner one, and the job sees neither" {
    needs_v2
    script 'cat /proc/self/cgroup; echo ready; sleep 1000' "resources: { memory: 64MiB, pids: 20 }"
    start_job
    until_true 20 says ready
    local group
    group=$(box_group)
    ! grep -q . "$group/cgroup.procs" || fail "processes beside the limits"
    grep -q . "$group/job/cgroup.procs" || fail "nobody in the inner group"
    [ "$(cat "$group/memory.max") $(cat "$group/memory.swap.max") $(cat "$group/memory.oom.group")" = "67108864 0 1" ]
    [ "$(cat "$group/pids.max")" = 20 ]
    [ ! -e "$group/job/memory.max" ] || fail "limits that the job could write are beside it"
    [ "$(head -n 1 out)" = "0::/" ] || fail "the job sees its place: $(head -n 1 out)"
    kill "$supervisor"
    end_job
    exits 123
    [ ! -e "$group" ]
}

@test "v2: every figure that the kernel has is in the record, every other is null" {
    needs_v2
    script 'true' "resources: { memory: 64MiB, pids: 20, cpu_weight: 50, cpu_limit: 0.5 }"
    run_job
    exits 0
    local peak=None memory=None
    mkdir "$(own_cgroup unified)/jbt-probe"
    [ ! -e "$(own_cgroup unified)/jbt-probe/pids.peak" ] || peak=int
    [ ! -e "$(own_cgroup unified)/jbt-probe/memory.peak" ] || memory=int
    rmdir "$(own_cgroup unified)/jbt-probe"
    record "used.pids_peak is None if '$peak' == 'None' else used.pids_peak >= 1" \
        "used.memory_peak_bytes is None if '$memory' == 'None' else used.memory_peak_bytes > 0" \
        'used.oom_kills == 0' 'used.pids_limit_hits == 0' 'used.cpu_per_cpu_s is None' \
        'used.pressure.cpu.some_s >= 0' 'used.pressure.memory.full_s >= 0' 'used.pressure.io.full_s >= 0' \
        'isolation.limits.cpu_weight == 50' 'isolation.limits.cpu_max_us_per_100ms == 50000' \
        'isolation.cgroup_version.memory == 2' 'isolation.cgroup_version.cpuacct is None'
}

# --- out of memory -------------------------------------------------------------------------------------------------

@test "running out of memory is told by the kernel: the supervisor of a job that sleeps looks for nothing else than its scratch" {
    script 'echo ready; sleep 1000' "resources: { memory: 64MiB }"
    start_job
    until_true 20 says ready
    # once a second it looks at the scratch, for its peak; who polls for memory wakes up oftener, in every one of these
    local before after quiet=no
    for _ in 1 2 3 4; do
        before=$(awk '/^voluntary_ctxt/ { print $2 }' "/proc/$supervisor/status")
        sleep 3
        after=$(awk '/^voluntary_ctxt/ { print $2 }' "/proc/$supervisor/status")
        [ $((after - before)) -gt 6 ] || { quiet=yes && break; }
    done
    [ $quiet = yes ] || fail "it woke up $((after - before)) times in 3 s"
    kill "$supervisor"
    end_job
}

# --- memory.high ---------------------------------------------------------------------------------------------------

@test "memory_high holds a job back and kills nobody; on v1 it is refused" {
    if ! pure_v2; then
        script true "resources: { memory: 64MiB, memory_high: 32MiB }"
        run_job
        exits 125
        one_error 'resources.memory_high: cgroup v1 cannot'
        script true "resources: { memory: 64MiB, memory_high: 32MiB }" "allow_degraded: [memory]"
        run_job
        exits 0
        record 'isolation.limits.memory_high_bytes is None' 'isolation.limits.memory_max_bytes == 64 << 20' \
            '[d.what for d in isolation.degraded] == ["memory"]'
        return
    fi
    mkdir disk
    chmod 777 disk
    # page cache can be taken back: it stays at the mark
    script 'head -c 48m /dev/zero >/d/f; echo written' "resources: { memory: 64MiB, memory_high: 16MiB }" \
        "mounts: [{ source: $T/disk, target: /d, mode: rw }]"
    run_job
    exits 0
    out_is written
    record 'isolation.limits.memory_high_bytes == 16 << 20' 'used.memory_peak_bytes < 40 << 20' 'used.oom_kills == 0'
}

# --- disks ---------------------------------------------------------------------------------------------------------

# The disk that $T is on, as "major:minor"; skips when it is on none.
own_disk()
{
    local dev
    dev=$(awk '$5 == "/" { print $3; exit }' /proc/self/mountinfo)
    [ -e "/sys/dev/block/$dev" ] || skip "the root of this host is on no disk"
    [ ! -e "/sys/dev/block/$dev/partition" ] || dev=$(cat "/sys/dev/block/$dev/../dev")
    echo "$dev"
}

@test "v2: io limits are in io.max and hold; what went to the disk is in the record" {
    needs_v2
    grep -qw io "$(own_cgroup unified)/cgroup.controllers" || skip "the io controller is not passed on to this group"
    local disk
    disk=$(own_disk)
    mkdir disk
    chmod 777 disk
    script 'echo ready; read -r _; dd if=/dev/zero of=/d/f bs=1M count=4 oflag=direct 2>/dev/null; sync; echo done' \
        "resources: { io: { write_bps: 2MiB, read_iops: 3000 } }" "stdin: $T/go" \
        "mounts: [{ source: $T/disk, target: /d, mode: rw }]"
    mkfifo go
    start_job
    exec 9<>go
    until_true 20 says ready
    cat "$(box_group)/io.max" >seen
    echo >&9
    end_job
    exec 9>&-
    exits 0
    out_has '^done$'
    [ "$(cat seen)" = "$disk rbps=max wbps=2097152 riops=3000 wiops=max" ] || fail "the kernel has: $(cat seen)"
    # what is limited takes no less than this, on however slow a machine
    record 'used.written_bytes >= 4 << 20' 'used.write_ops >= 4' 'times.wall_s > 0.9' \
        '[(l.device, l.write_bps, l.read_iops) for l in isolation.limits.io if l.write_bps] == [("'"$disk"'", 2 << 20, 3000)]'
}

@test "v2: what goes to a disk that lies on another one is counted once" {
    needs_v2
    needs_root "makes a file system on a loop device"
    grep -qw io "$(own_cgroup unified)/cgroup.controllers" || skip "the io controller is not passed on to this group"
    own_disk >/dev/null
    command -v mkfs.ext4 >/dev/null || skip "needs mkfs.ext4"
    local loop code=0
    truncate -s 64M disk.img
    mkfs.ext4 -q -F disk.img
    mkdir disk
    loop=$(losetup --show -f disk.img) || skip "no loop devices here"
    losetup --direct-io=on "$loop" || true
    mount "$loop" disk
    script 'dd if=/dev/zero of=/d/f bs=1M count=16 oflag=direct 2>/dev/null; sync /d/f' \
        "mounts: [{ source: $T/disk, target: /d, mode: rw }]"
    run_job || code=$?
    umount disk
    losetup -d "$loop"
    exits 0
    record '16 << 20 <= used.written_bytes < 24 << 20'
}

# --- huge pages ----------------------------------------------------------------------------------------------------

# Whether a group made here can have the controller. In a hybrid tree our own group, unless it is the root, has processes
# (us) and passes nothing on that it does not already.
has_hugetlb()
{
    [ -z "$(own_cgroup hugetlb)" ] || return 0
    local own
    own=$(own_cgroup unified)
    grep -qsw hugetlb "$own/cgroup.controllers" || return 1
    [ -z "$(own_cgroup cpuset)" ] || [ ! -e "$own/cgroup.type" ] || grep -qw hugetlb "$own/cgroup.subtree_control"
}

needs_hugetlb()
{
    has_hugetlb || skip "needs the hugetlb controller: nobody passes it on to this group"
    [ -d /sys/kernel/mm/hugepages/hugepages-2048kB ] || skip "needs huge pages of 2 MiB"
}

@test "a limit of huge pages is in the kernel and in the record; other sizes have none" {
    needs_hugetlb
    script 'echo ready; sleep 1000' "resources: { hugepages: { 2MiB: 64MiB } }"
    start_job
    until_true 20 says ready
    local dir
    dir=$(own_cgroup hugetlb)
    if [ -n "$dir" ]; then
        [ "$(cat "$dir/jobbox-$(ls run/boxes)/hugetlb.2MB.limit_in_bytes")" = 67108864 ]
    else
        [ "$(cat "$(box_group)/hugetlb.2MB.max")" = 67108864 ]
    fi
    kill "$supervisor"
    end_job
    record 'isolation.limits.hugepages_bytes == {"2MiB": 64 << 20}' 'isolation.cgroup_version.hugetlb in (1, 2)' \
        'requested.resources.hugepages == {"2MiB": 64 << 20}'
    script true
    run_job
    record 'isolation.limits.hugepages_bytes is None'
}

@test "a size of page that this machine has not is refused" {
    needs_hugetlb
    [ ! -d /sys/kernel/mm/hugepages/hugepages-16384kB ] || skip "this machine has pages of 16 MiB"
    script true "resources: { hugepages: { 16MiB: 32MiB } }"
    run_job
    exits 124
    one_error 'hugetlb.16MB.*this kernel has no huge pages of that size'
}

@test "without the hugetlb controller a job that limits huge pages is refused, or runs without" {
    ! has_hugetlb || skip "there is one"
    script true "resources: { hugepages: { 2MiB: 64MiB } }"
    run_job
    exits 124
    one_error 'cannot limit the job.s huge pages'
    script true "resources: { hugepages: { 2MiB: 64MiB } }" "allow_degraded: [hugepages]"
    run_job
    exits 0
    record "{d.what for d in isolation.degraded} - $DEGRADED_ANYWAY == {\"hugepages\"}"
}

@test "a job may have its huge pages and not one more, although the machine has them" {
    needs_guest
    needs_hugetlb
    huge=/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages
    echo 8 >"$huge"
    [ "$(cat "$huge")" -ge 6 ] || skip "the kernel found no huge pages"
    script '/probe/probe huge 4194304 >/dev/null && echo two; /probe/probe huge 8388608 || true' \
        "resources: { hugepages: { 2MiB: 4MiB } }" "$PROBE_MOUNT"
    run_job
    exits 0
    out_is $'two\nENOMEM'
    script '/probe/probe huge 8388608 >/dev/null && echo four' "$PROBE_MOUNT"
    run_job
    exits 0
    out_is four
}

# --- partitions ----------------------------------------------------------------------------------------------------

@test "exclusive: partition is refused where cpusets are v1, with the place in the spec" {
    [ -n "$(own_cgroup cpuset)" ] || skip "needs cpusets of v1"
    script true "resources: { exclusive: partition }"
    run_job
    exits 125
    one_error 'job.yaml:[0-9]+:[0-9]+: resources.exclusive: a partition needs the cpuset controller of cgroup v2, and here cpusets are v1'
}

@test "exclusive: partition below a group that is none is refused with the kernel's reason" {
    needs_v2
    local parent
    parent=$(own_cgroup unified)
    script 'echo ran' "resources: { exclusive: partition }"
    run_job
    out_lacks ran
    if ! grep -qw cpuset "$parent/cgroup.controllers"; then
        exits 125
        one_error 'job.yaml:[0-9]+:[0-9]+: resources.exclusive: a partition needs the cpuset controller of cgroup v2'
        return
    fi
    exits 124
    one_error 'exclusive: partition: the kernel makes no isolated partition of the box.s CPUs: [A-Z].*cgroup_parent'
    [ "$(cat "$parent/cpuset.cpus.effective")" = "$(cat /sys/devices/system/cpu/online)" ]
}

# A group beside everything else that is a partition of the last CPUs, and boxes are made in it.
make_partition()
{
    partition=/sys/fs/cgroup/jbt-partition
    mkdir "$partition"
    echo "$1" >"$partition/cpuset.cpus"
    echo root >"$partition/cpuset.cpus.partition"
    [ "$(cat "$partition/cpuset.cpus.partition")" = root ] || fail "$(cat "$partition/cpuset.cpus.partition")"
    site_config "env: { JBT_MARK: $T }"
    sed -i "s|cgroup_parent: [^ }]*|cgroup_parent: /jbt-partition|" "$CONF"
}

@test "exclusive: partition below a partition: isolated, its CPUs are nobody else's, and it goes with the box" {
    needs_v2
    needs_guest
    needs_cpus 6
    local last
    last=$(nproc --all)
    make_partition "2-$((last - 1))"
    # jobbox sits outside of the partition, and its own cpuset lacks those CPUs: those of the place count
    script 'grep Cpus_allowed_list /proc/self/status | cut -f2; echo ready; sleep 1000' \
        "resources: { cpu_set: \"2-3\", cpu_unit: thread, exclusive: partition }"
    start_job
    until_true 20 says ready
    [ "$(head -n 1 out)" = 2-3 ]
    [ "$(cat "$partition"/jobbox-*/cpuset.cpus.partition)" = isolated ]
    [ "$(cat "$partition/cpuset.cpus.effective")" = "4-$((last - 1))" ]
    jobbox doctor --config "$CONF" >doctor || true
    grep -q "$((last - 4)) CPUs" doctor || fail "$(cat doctor)" # now; and with those of the box later
    # what it has taken out of the place is held, and comes back: who wants it waits, and is not told that it is not there
    script 'grep Cpus_allowed_list /proc/self/status | cut -f2' "resources: { cpus: $((last - 2)), cpu_unit: thread }"
    code=0
    jobbox run --quiet --config "$CONF" job.yaml >all 2>err </dev/null || code=$?
    exits 124
    one_error 'CPUs 2-3'
    jobbox run --quiet --wait=1m --config "$CONF" job.yaml >all 2>err </dev/null 3>&- &
    local waiting=$!
    started+=("$waiting")
    sleep 2
    [ -d "/proc/$waiting" ] || fail "$(cat err)"
    kill "$supervisor"
    end_job
    exits 123
    wait "$waiting" || fail "$(cat err)"
    [ "$(cat all)" = "2-$((last - 1))" ] || fail "$(cat all)"
    script 'exit 3' "resources: { cpu_set: \"2-3\", cpu_unit: thread, exclusive: partition }"
    run_job
    exits 3
    record 'isolation.limits.cpuset_partition == "isolated"' 'isolation.limits.cpuset_cpus == "2-3"' \
        'requested.resources.exclusive == "partition"'
    [ "$(cat "$partition/cpuset.cpus.effective")" = "2-$((last - 1))" ]
}
