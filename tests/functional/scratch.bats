#!/usr/bin/env bats
# The throwaway layer has a hard cap in bytes and in files, whatever lies below it.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown()
{
    test_teardown
    [ -z "${DISK-}" ] || umount "$DISK"
}

needs_loops()
{
    needs_root
    [ -w /dev/loop-control ] || skip "needs loop devices"
    command -v mkfs.ext4 >/dev/null || skip "needs mkfs.ext4"
}

# How many loop devices there are over that image. The disk's own path is not in what the kernel says.
loops_of()
{
    local image=$1 file n=0
    for file in /sys/block/loop*/loop/backing_file; do
        ! grep -qsF "${image#"$DISK"}" "$file" || n=$((n + 1))
    done
    echo $n
}

free_blocks()
{
    stat -f -c '%f %d' "$1"
}

@test "tmpfs: 50 MiB are 50 MiB, with ENOSPC, scratch_full, exit code 122, and the peak in the record" {
    script 'dd if=/dev/zero of=/work/big bs=64k count=2000 || { stat -c %s /work/big; exit 9; }' "resources: { scratch: 50MiB }"
    run_job
    exits 122
    err_has 'No space left on device'
    [ "$(cat out)" -gt $((49 << 20)) ] && [ "$(cat out)" -le $((50 << 20)) ]
    record 'end.reason == "scratch_full"' 'end.exit_code == 9' '"scratch 50" in end.limit' \
        'isolation.scratch.kind == "tmpfs"' 'isolation.scratch.bytes == 50 << 20' \
        'used.scratch_peak_bytes == 50 << 20' 'used.scratch_end_bytes == 50 << 20'
}

@test "tmpfs: so many files and no more" {
    script 'mkdir d; i=0; while true >d/$i; do i=$((i+1)); done 2>&1; echo $i; exit 9' \
        "resources: { scratch: 50MiB, scratch_inodes: 500 }"
    run_job
    exits 122
    out_has 'No space left on device'
    [ "$(tail -n 1 out)" -gt 450 ] && [ "$(tail -n 1 out)" -lt 500 ]
    record 'end.reason == "scratch_full"' 'end.limit == "scratch_inodes 500"' 'isolation.scratch.inodes == 500'
}

@test "tmpfs: what was deleted again is in the peak, and a full scratch is no failure of a job that lives with it" {
    script 'dd if=/dev/zero of=/work/big bs=1M count=20 2>/dev/null; sleep 2.5; rm /work/big' "resources: { scratch: 50MiB }"
    run_job
    exits 0
    record 'used.scratch_peak_bytes >= 20 << 20' 'used.scratch_end_bytes < 1 << 20'
    script 'dd if=/dev/zero of=/work/big bs=64k count=2000 2>/dev/null || true' "resources: { scratch: 5MiB }"
    run_job
    exits 0
    record 'end.reason == "completed"' 'used.scratch_end_bytes == 5 << 20'
}

@test "tmpfs: it is charged to the job's memory, and the tmpfs beside it have a cap on files too" {
    needs_limits
    needs_cgroups
    script 'dd if=/dev/zero of=/work/big bs=1M count=20 2>/dev/null
for d in /dev/shm /x; do i=0; while true >$d/$i; do i=$((i+1)); done 2>/dev/null; echo $d $i; done' \
        "resources: { scratch: 50MiB, scratch_inodes: 300 }" "mounts: [ { tmpfs: 4MiB, target: /x } ]"
    run_job
    exits 0
    out_has '^/dev/shm 2[0-9][0-9]$'
    out_has '^/x 2[0-9][0-9]$'
    record 'used.memory_peak_bytes > 20 << 20' 'used.scratch_peak_bytes >= 20 << 20'
}

@test "/dev of the box holds nodes and links, and is no scratch beside the scratch" {
    script 'mkdir /dev/d; cd /dev/d; i=0; while [ $i -lt 5000 ] && ln -s x $i 2>/dev/null; do i=$((i+1)); done; echo $i' \
        'user: root-in-box' 'resources: { scratch: 50MiB, scratch_inodes: 300 }' 'allow_degraded: [scratch]'
    run_job
    exits 0
    [ "$(cat out)" -gt 3000 ] && [ "$(cat out)" -lt 4096 ] || fail "$(cat out) links"
}

# A disk of the test's own, so that others do not move it.
own_disk()
{
    truncate -s 300M disk.img
    mkfs.ext4 -q -F "$@" disk.img
    mkdir disk
    DISK=$T/disk
    mount -o loop,nodev${MOUNT_MORE-} disk.img "$DISK"
    MARK_CONF=("env: { JBT_MARK: $T }" 'scratch: { backend: disk }')
    {
        printf 'paths: { runtime: %s/run, state: %s/disk/state, cgroup_parent: %s }\n' "$T" "$T" "${JBT_CGROUP_PARENT:-auto}"
        printf '%s\n' "${MARK_CONF[@]}"
    } >"$CONF"
    mkdir -p disk/state
    ln -s disk/state state
}

@test "disk, by a file system in a sparse file: 50 MiB are 50 MiB, and the disk is as it was" {
    needs_loops
    own_disk
    script 'true'
    run_job # makes journal and folders
    sync
    before=$(free_blocks "$DISK")
    script 'dd if=/dev/zero of=/work/big bs=64k count=2000 || { stat -c %s /work/big; exit 9; }' "resources: { scratch: 50MiB }"
    run_job
    exits 122
    err_has 'No space left on device'
    [ "$(cat out)" -gt $((48 << 20)) ] && [ "$(cat out)" -le $((50 << 20)) ]
    record 'end.reason == "scratch_full"' 'isolation.scratch.kind == "loop"' \
        '(50 << 20) - 65536 <= isolation.scratch.bytes <= 50 << 20' '48 << 20 < used.scratch_peak_bytes <= 51 << 20' \
        'isolation.degraded == []'
    id=$(show 'rec.id')
    until_true 20 eval '[ "$(loops_of "$DISK/state/scratch/$id/")" = 0 ]'
    sync
    after=$(free_blocks "$DISK")
    [ "${after#* }" = "${before#* }" ] || fail "inodes free before: $before, after: $after"
    [ $((${before% *} - ${after% *})) -le 16 ] || fail "blocks free before: $before, after: $after"
}

@test "disk, by a file system in a sparse file: so many files and no more" {
    needs_loops
    own_disk
    script 'mkdir d; i=0; while true >d/$i; do i=$((i+1)); done 2>&1; echo $i; exit 9' \
        "resources: { scratch: 50MiB, scratch_inodes: 500 }"
    run_job
    exits 122
    out_has 'No space left on device'
    [ "$(tail -n 1 out)" -gt 450 ] && [ "$(tail -n 1 out)" -lt 600 ]
    record 'end.reason == "scratch_full"' 'end.limit == "scratch_inodes 500"'
}

@test "disk, by a file system in a sparse file: gone with a supervisor that is killed" {
    needs_loops
    own_disk
    script 'echo x >/work/x; echo ready; sleep 100'
    start_job
    until_true 20 says ready
    image=$(echo "$DISK"/state/scratch/*/image)
    [ -e "$image" ]
    [ "$(loops_of "$image")" = 1 ] || fail "there are $(loops_of "$image") loop devices"
    ! grep -q "$T/state/scratch" /proc/self/mountinfo || fail "the host sees the mount"
    kill -9 "$supervisor"
    end_job
    until_true 20 eval '[ "$(loops_of "$image")" = 0 ]'
    sweep
    [ -z "$(ls state/scratch)" ]
    record 'end.reason == "supervisor_lost"'
}

@test "disk, by project quota: bytes and files have a cap, and the project is free again" {
    needs_loops
    truncate -s 64M probe.img
    mkfs.ext4 -q -F -O quota,project -E quotatype=prjquota probe.img
    mkdir probe
    mount -o loop,prjquota probe.img probe 2>/dev/null || skip "this kernel has no project quotas of ext4"
    umount probe
    MOUNT_MORE=,prjquota own_disk -O quota,project -E quotatype=prjquota
    script 'dd if=/dev/zero of=/work/big bs=64k count=2000 || { stat -c %s /work/big; exit 9; }' "resources: { scratch: 50MiB }"
    run_job
    exits 122
    [ "$(cat out)" -gt $((48 << 20)) ] && [ "$(cat out)" -le $((50 << 20)) ]
    record 'end.reason == "scratch_full"' 'isolation.scratch.kind == "quota"' 'isolation.scratch.bytes <= 50 << 20'
    script 'mkdir d; i=0; while true >d/$i; do i=$((i+1)); done 2>/dev/null; echo $i; exit 9' \
        "user: root-in-box" "resources: { scratch: 50MiB, scratch_inodes: 500 }"
    run_job
    exits 122
    [ "$(tail -n 1 out)" -gt 450 ] && [ "$(tail -n 1 out)" -lt 500 ]
    [ -z "$(ls state/scratch)" ]
}

@test "disk: without a cap only where that is allowed, and nothing is said of it then" {
    needs_own "is about root's folders of scratch"
    site_config "env: { JBT_MARK: $T }" 'scratch: { backend: disk }' \
        'resources: { scratch: { default: none }, scratch_inodes: { default: none } }'
    script 'true'
    run_job
    exits 0
    record 'isolation.scratch.kind == "folder"' 'isolation.scratch.bytes is None' \
        'used.scratch_end_bytes is None' 'used.scratch_peak_bytes is None'
}
