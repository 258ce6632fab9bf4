#!/usr/bin/env bats
# Every limit is held, ends the job as it should, and the record tells it.
# Runs as: root, user

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
}

teardown()
{
    test_teardown
    [ -z "${PLACE-}" ] || rmdir "$PLACE"
}

# --- memory ------------------------------------------------------------------------------------------------------

@test "a job with 64 MiB that allocates 256 MiB ends with 121, killed by the kernel" {
    needs_limits
    spec <<<"command: [/probe/probe, touch, \"268435456\"]
resources: { memory: 64MiB }
$PROBE_MOUNT"
    run_job
    exits 121
    record 'end.reason == "oom"' 'end.killed_by == "kernel"' '"memory" in end.limit and "64" in end.limit' \
        'used.oom_kills >= 1' 'close(used.memory_peak_bytes, 64 << 20, 0.05)' 'granted.memory_bytes == 64 << 20' \
        'isolation.limits.memory_max_bytes == 64 << 20'
}

@test "the same when only a child is hit and its parent goes on" {
    needs_limits
    script '/probe/probe touch 268435456 || echo the child is gone
sleep 20
echo survived' "resources: { memory: 64MiB }" "$PROBE_MOUNT"
    SECONDS=0
    run_job
    exits 121
    out_lacks survived
    [ $SECONDS -lt $((10 * JBT_SLOWER)) ] || fail "took $SECONDS s"
    record 'end.reason == "oom"' 'end.killed_by == "kernel"'
}

@test "what a job writes into its root and /tmp counts as its memory" {
    needs_limits
    script 'head -c 128m /dev/zero >/tmp/fill; echo written' "resources: { memory: 64MiB }"
    run_job
    exits 121
    out_lacks written
    record 'end.reason == "oom"'
}

@test "swap is none unless asked for, and read back" {
    needs_limits
    script true "resources: { memory: 64MiB }"
    run_job
    exits 0
    record 'isolation.limits.swap_max_bytes == 0' 'granted.swap_bytes == 0'
    script true "resources: { memory: 64MiB, swap: 32MiB }"
    run_job
    exits 0
    record 'isolation.limits.swap_max_bytes == 32 << 20' 'granted.swap_bytes == 32 << 20'
}

# --- time --------------------------------------------------------------------------------------------------------

@test "a sleep over wall_time ends with 120" {
    spec <<<$'command: [sleep, "30"]\nlimits: { wall_time: 1s, grace: 5s }'
    run_job
    exits 120
    record 'end.reason == "timeout"' '"wall_time" in end.limit' 'end.killed_by == "jobbox"' \
        '1 <= times.wall_s < 2.5 * slower'
}

@test "at wall_time comes TERM first: a job that cleans up in its grace ends by itself, still as timeout" {
    script 'trap "echo cleaning up; sleep 0.3; echo done; exit 0" TERM
sleep 30 & wait' "limits: { wall_time: $((500 * JBT_SLOWER))ms, grace: 20s }"
    SECONDS=0
    run_job
    exits 120
    out_is $'cleaning up\ndone'
    [ $SECONDS -lt $((8 * JBT_SLOWER)) ] || fail "waited for the whole grace: $SECONDS s"
    record 'end.reason == "timeout"' 'end.exit_code == 0' '0.8 <= times.wall_s < 5 * slower'
}

@test "a job that ignores TERM is killed when its grace is over" {
    script 'trap "" TERM; echo ready; while :; do sleep 1; done' "limits: { wall_time: 500ms, grace: 1s }"
    run_job
    exits 120
    record 'end.reason == "timeout"' 'end.signal == 9' '1.5 <= times.wall_s < 3.5 * slower'
}

@test "a stopped job is ended too" {
    script 'kill -STOP $$; echo never' "limits: { wall_time: 500ms, grace: 1s }"
    run_job
    exits 120
    out_is ""
    record 'times.wall_s < 3.5 * slower'
}

@test "cpu_time counts all processes, and its end is 122" {
    needs_limits
    needs_cpus 2
    script '/probe/probe burn 20 & /probe/probe burn 20 & wait' "resources: { cpus: 2, cpu_unit: thread }" \
        "limits: { cpu_time: 1s, grace: 1s }" "$PROBE_MOUNT"
    run_job
    exits 122
    record 'end.reason == "cpu_timeout"' '"cpu_time" in end.limit' \
        '0.95 <= used.cpu_user_s + used.cpu_system_s < 2 * slower' 'times.wall_s < 4 * slower'
}

@test "warn: a signal ahead of wall_time and of cpu_time, to the main process alone if so asked, and it is in the events" {
    needs_limits
    script 'trap "echo saved; exit 0" USR1; echo ready; while :; do sleep 0.05; done' \
        "limits: { wall_time: $((4 * JBT_SLOWER))s, grace: 1s, warn: { at: 25%, signal: USR1, to: main } }"
    run_job
    exits 0
    out_is $'ready\nsaved'
    record 'end.reason == "completed"' 'slower <= times.wall_s < 4 * slower'
    "$JOBBOX" show --config site.yaml --events "$(show rec.id)" >events 2>&1 || fail "$(cat events)"
    grep -q 'warning.*wall_time' events || fail "no warning in the events: $(cat events)"
    script 'trap "echo saved; exit 3" USR2; while :; do :; done' \
        "limits: { cpu_time: $((3 * JBT_SLOWER))s, grace: 1s, warn: { at: $((2500 * JBT_SLOWER))ms, signal: USR2, to: main } }"
    run_job
    exits 3
    out_is saved
    record 'end.reason == "failed"' '0.5 * slower <= used.cpu_user_s + used.cpu_system_s < 3 * slower'
}

@test "idle ends a job that says nothing, and not one that does" {
    script 'echo start; sleep 30' "limits: { idle: 700ms, grace: 1s }"
    run_job
    exits 122
    record 'end.reason == "idle_timeout"' '"idle" in end.limit' '0.7 <= times.wall_s < 3 * slower'
    script 'for i in 1 2 3 4 5 6; do sleep 0.3; echo $i >&2; done' "limits: { idle: $((1200 * JBT_SLOWER))ms }"
    run_job
    exits 0
    record 'times.wall_s >= 1.7'
}

@test "the longest grace is the site's" {
    script true "limits: { grace: 6m }"
    run_job
    exits 125
    one_error 'limits.grace: .*more than this site allows'
}

# --- output ------------------------------------------------------------------------------------------------------

@test "the output cap is exact, ends the job with 122, and the record says truncated" {
    script 'while :; do echo 0123456789abcdef; done' "stdout: o.txt" "limits: { output: 100000 }"
    run_job
    exits 122
    [ "$(stat -c %s o.txt)" = 100000 ] || fail "$(stat -c %s o.txt) bytes"
    [ "$(head -c 17 o.txt)" = 0123456789abcdef ]
    record 'end.reason == "output_limit"' '"output" in end.limit' 'output.truncated is True' \
        'output.stdout_bytes == 100000' 'end.killed_by == "jobbox"'
}

@test "the output cap is for standard output and error together, and exactly the cap is no excess" {
    script 'head -c 600 /dev/zero; head -c 600 /dev/zero >&2; sleep 10' "limits: { output: 1000 }"
    run_job
    exits 122
    [ $(($(stat -c %s out) + $(stat -c %s err))) = 1000 ]
    script 'head -c 600 /dev/zero; head -c 400 /dev/zero >&2' "limits: { output: 1000 }"
    run_job
    exits 0
    record 'output.truncated is False' 'output.stdout_bytes + output.stderr_bytes == 1000'
}

@test "a flood without newline is capped quickly" {
    script 'cat /dev/zero' "stdout: o.txt" "limits: { output: 20MiB }"
    run_job
    exits 122
    [ "$(stat -c %s o.txt)" = 20971520 ]
    record 'times.wall_s < 10 * slower'
}

# --- processes ---------------------------------------------------------------------------------------------------

@test "a fork bomb is held by the pids limit and gone within the grace, and the record tells" {
    needs_limits
    spec <<<"command: [/probe/probe, bomb]
resources: { pids: 50, memory: 128MiB }
limits: { wall_time: ${JBT_SLOWER}s, grace: 1s }
$PROBE_MOUNT"
    run_job
    exits 120
    record 'end.reason == "timeout"' 'used.pids_limit_hits > 0' 'used.pids_peak in (None, 50)' \
        'isolation.limits.pids_max == 50' 'times.wall_s < 5 * slower' 'times.teardown_s < 3 * slower'
    [ -z "$(marked_processes)" ]
}

@test "a bomb whose first process ends is gone with it" {
    needs_limits
    script "sleep $((JBT_SLOWER / 2)).5 & /probe/probe bomb & wait %1" "resources: { pids: 50, memory: 128MiB }" "$PROBE_MOUNT"
    run_job
    exits 0
    [ -z "$(marked_processes)" ]
    record 'end.reason == "completed"' 'used.pids_limit_hits > 0' 'times.wall_s < 5 * slower'
}

@test "daemons that left session, parent and every signal behind are dead when the job ends, and counted" {
    script '/probe/probe daemon /probe/probe burn 100
/probe/probe daemon /probe/probe hold 1000000
nohup setsid sleep 1000 >/dev/null 2>&1 &
sleep 1.2' "$PROBE_MOUNT"
    run_job
    exits 0
    [ -z "$(marked_processes)" ] || fail "alive: $(marked_processes)"
    record 'end.reason == "completed"' '0.1 < used.cpu_user_s + used.cpu_system_s < 3 * slower' 'times.wall_s < 4 * slower'
}

@test "the pids limit is never unlimited" {
    needs_limits
    script true
    run_job
    record 'isolation.limits.pids_max == 4096' 'granted.pids == 4096'
}

# --- scratch -----------------------------------------------------------------------------------------------------

@test "scratch bytes: ENOSPC in the job, scratch_full and 122 when it fails of it" {
    script 'dd if=/dev/zero of=/tmp/fill bs=1M count=20' "resources: { scratch: 8MiB }"
    run_job
    exits 122
    record 'end.reason == "scratch_full"' '"scratch" in end.limit' 'end.exit_code != 0' \
        '6 << 20 <= used.scratch_end_bytes <= 8 << 20'
    err_has 'No space left'
}

@test "a job that copes with a full scratch is its own master" {
    script 'head -c 20m /dev/zero >/tmp/fill || echo full; exit 0' "resources: { scratch: 8MiB }"
    run_job
    exits 0
    out_is full
    record 'end.reason == "completed"'
}

@test "scratch inodes: ENOSPC in the job, scratch_full when it fails of it" {
    script 'i=0; while :; do i=$((i + 1)); : >/work/f$i; done' "resources: { scratch_inodes: 200 }"
    run_job
    exits 122
    err_has 'No space left'
    record 'end.reason == "scratch_full"' 'granted.scratch_inodes == 200'
}

@test "scratch on disk leaves nothing behind" {
    needs_root
    site_config "scratch: { backend: disk }" "env: { JBT_MARK: $T }"
    script 'echo x >/etc/x; head -c 5m /dev/zero >/tmp/y; echo fine'
    run_job
    exits 0
    out_is fine
    [ -z "$(ls state/scratch)" ]
    record 'isolation.degraded == []' 'isolation.scratch.kind in ("loop", "quota")'
}

# --- CPU and I/O -------------------------------------------------------------------------------------------------

@test "cpu_limit throttles, and the record tells for how long" {
    needs_limits
    spec <<<"command: [/probe/probe, burn, \"0.3\"]
resources: { cpu_limit: 0.2 }
$PROBE_MOUNT"
    run_job
    exits 0
    record 'used.throttled_s > 0.3' 'times.wall_s > 0.9' 'isolation.limits.cpu_max_us_per_100ms == 20000'
}

@test "cpu_weight is set and read back" {
    needs_limits
    script true "resources: { cpu_weight: 50 }"
    run_job
    exits 0
    record 'abs(isolation.limits.cpu_weight - 50) <= 1'
}

# The disk below the root of this host, as "major:minor" of the whole disk.
root_disk()
{
    local dev
    dev=$(awk '$5 == "/" { print $3; exit }' /proc/self/mountinfo)
    [ -e "/sys/dev/block/$dev" ] || skip "the root of this host is on no disk"
    if [ -e "/sys/dev/block/$dev/partition" ]; then
        cat "/sys/dev/block/$dev/../dev"
    else
        echo "$dev"
    fi
}

@test "io limits are in the kernel while the job runs" {
    needs_limits
    needs_v1 blkio
    local disk dir
    disk=$(root_disk)
    script 'echo ready; sleep 20' "resources: { io: { write_bps: 100MiB, read_bps: 200MiB, read_iops: 3000 } }"
    start_job
    until_true 10 says ready
    dir=$(own_cgroup blkio)/jobbox-$(ls run/boxes)
    grep -h "^$disk " "$dir"/blkio.throttle.{write_bps,read_bps,read_iops}_device >seen || true
    kill -TERM "$supervisor"
    end_job
    [ "$(cat seen)" = "$disk 104857600
$disk 209715200
$disk 3000" ] || fail "the kernel has: $(cat seen)"
}

@test "io limits are in the record, as read back" {
    needs_limits
    root_disk >/dev/null
    script true "resources: { io: { write_bps: 100MiB } }"
    run_job
    exits 0
    record '"104857600" in str(isolation)'
}

# with_disks TYPE N SIZE: jobbox sees N more file systems of that type, each on a disk of its own; they go with it.
with_disks()
{
    needs_root "mounts disks of the host's"
    local mkfs i
    mkfs=$(PATH=$PATH:/usr/sbin:/sbin command -v "mkfs.$1") || skip "needs mkfs.$1"
    truncate -s "$3" disk0
    "$mkfs" -q disk0
    for ((i = 1; i < $2; i++)); do
        cp --sparse=always disk0 "disk$i"
    done
    mkdir -p mnt
    AS=(unshare -m sh -c 'for i in $(seq 0 "$1"); do mkdir -p mnt/$i && mount -o loop disk$i mnt/$i || exit 90; done
        shift; exec "$@"' jbt "$(($2 - 1))" "${AS[@]}")
}

@test "io limits hold for every disk of a host that has many" {
    needs_limits
    root_disk >/dev/null
    with_disks ext4 20 1M
    script true "resources: { io: { write_bps: 100MiB } }"
    run_job
    [ $code -ne 90 ] || skip "no loop devices to be had"
    exits 0
    record 'len([l for l in isolation.limits.io if l.device.startswith("7:") and l.write_bps == 100 << 20]) >= 20'
}

@test "io limits hold for the disks of a btrfs, whose own numbers are of none" {
    needs_limits
    root_disk >/dev/null
    with_disks btrfs 1 128M
    script true "resources: { io: { write_bps: 100MiB } }"
    run_job
    [ $code -ne 90 ] || skip "this kernel has no btrfs, or no loop devices are to be had"
    exits 0
    record '[l for l in isolation.limits.io if l.device.startswith("7:") and l.write_bps == 100 << 20]' \
        'isolation.degraded == []'
}

@test "io limits that cannot be had for some file system are refused, or that is in the record" {
    needs_limits
    root_disk >/dev/null
    needs_root "mounts an overlay on the host"
    mkdir -p a b merged
    AS=(unshare -m sh -c 'mount -t overlay -o lowerdir=a:b jbt merged || exit 90; exec "$@"' jbt "${AS[@]}")
    script true "resources: { io: { write_bps: 100MiB } }"
    run_job
    [ $code -ne 90 ] || skip "this kernel mounts no such overlay"
    exits 124
    one_error "resources.io: nobody tells which disks overlay on $T/merged lies on.*allow_degraded: \[io\]"
    script true "resources: { io: { write_bps: 100MiB } }" "allow_degraded: [io]"
    run_job
    exits 0
    record '[(d.what, d.allowed_by) for d in isolation.degraded] == [("io", "spec")]' \
        '"overlay on" in isolation.degraded[0].why' '[l for l in isolation.limits.io if l.write_bps == 100 << 20]'
}

# --- a place with CPUs of its own ---------------------------------------------------------------------------------

@test "cgroup_parent: the CPUs of that place are what jobs may have, whatever their starter may use" {
    needs_root "makes a cpuset"
    needs_limits
    needs_v1 cpuset
    needs_cpus 2
    local parent own only
    own=$(own_cgroup cpuset)
    parent=$own/jbt-parent
    mkdir "$parent"
    PLACE=$parent
    only=$(/usr/bin/python3 -c 'import os; print(max(os.sched_getaffinity(0)))')
    echo "$only" >"$parent/cpuset.cpus"
    cat "$own/cpuset.mems" >"$parent/cpuset.mems"
    site_config "env: { JBT_MARK: $T }"
    sed -i "s|cgroup_parent: [^ }]*|cgroup_parent: ${parent#"$(awk '$3 == "cgroup" && ("," $4 ",") ~ ",cpuset," { print $2; exit }' /proc/mounts)"}|" "$CONF"
    script 'grep Cpus_allowed_list /proc/self/status | cut -f2' "resources: { cpus: 1, cpu_unit: thread }" \
        "allow_degraded: [memory, pids, cpu, io]"
    run_job
    exits 0
    out_is "$only"
    code=0
    taskset -c 0 "$JOBBOX" run --quiet --config "$CONF" job.yaml >out 2>err </dev/null || code=$?
    exits 0
    out_is "$only"
    jobbox doctor --config "$CONF" >out || true
    out_has '1 CPUs'
    jobbox plan --config "$CONF" --json job.yaml >out
    /usr/bin/python3 -c 'import json; plan = json.load(open("out")); assert str(plan["grant"]["cpus"]) == "'"$only"'", plan["grant"]'
    script true "resources: { cpus: 2, cpu_unit: thread }" "allow_degraded: [memory, pids, cpu, io]"
    run_job --wait
    exits 124
    one_error 'jobs here may use 1 thread'
}

@test "cgroup_parent: a v1 cpuset that nobody filled is named before anything begins, by plan, explain and run alike" {
    needs_root "makes a cpuset"
    needs_limits
    needs_v1 cpuset
    local own mount verb
    own=$(own_cgroup cpuset)
    mount=$(awk '$3 == "cgroup" && ("," $4 ",") ~ ",cpuset," { print $2; exit }' /proc/mounts)
    PLACE=$own/jbt-parent
    mkdir "$PLACE"
    [ -z "$(cat "$PLACE/cpuset.cpus")" ] || skip "cpusets are born filled here (cgroup.clone_children)"
    site_config "env: { JBT_MARK: $T }"
    sed -i "s|cgroup_parent: [^ }]*|cgroup_parent: ${PLACE#"$mount"}|" "$CONF"
    script true "resources: { cpus: 1, cpu_unit: thread }" "allow_degraded: [memory, pids, cpu, io]"
    for verb in plan explain run; do
        code=0
        jobbox $verb --config "$CONF" job.yaml >out 2>err || code=$?
        exits 124
        one_error 'jbt-parent/cpuset.cpus is empty, so no box can be pinned below it'
    done
    [ -z "$(cat state/journal/*.jsonl 2>/dev/null)" ] || fail "there is a record: $(cat state/journal/*.jsonl)"
    jobbox doctor --config "$CONF" >out || true
    out_has '^missing +cpuset .*is empty'
}

# --- the site ----------------------------------------------------------------------------------------------------

@test "the site's defaults hold for a spec that says nothing, and its maxima for one that says too much" {
    needs_limits
    site_config "resources: { memory: { default: 32MiB, max: 48MiB }, pids: { default: 20, max: 30 } }" \
        "limits: { wall_time: { default: 5s, max: 10s } }" "env: { JBT_MARK: $T }"
    script true
    run_job
    exits 0
    record 'isolation.limits.memory_max_bytes == 32 << 20' 'isolation.limits.pids_max == 20' 'granted.wall_time_s == 5'
    local line
    for line in "resources: { memory: 49MiB }" "resources: { pids: 31 }" "limits: { wall_time: 11s }"; do
        script true "$line"
        run_job
        exits 125
        one_error 'job.yaml:[0-9]+:[0-9]+: .*more than this site allows'
    done
}
