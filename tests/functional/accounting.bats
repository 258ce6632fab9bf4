#!/usr/bin/env bats
# Figures of known workloads: CPU time and memory within 2 %, bytes exact. Figures are compared, never durations.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    mkdir bin
    cp "$FILE_DIR/probe" bin/
    PROBE_MOUNT="mounts: [{ source: $T/bin, target: /probe }]"
}

teardown() { test_teardown; }

# What the emulated CPU of a guest takes for starting a process and for an interrupt is more than what is measured.
needs_real_cpu()
{
    [ "${JBT_GUEST:-0}" = 0 ] || skip "measures CPU time to a hundredth: not on the emulated CPU of a guest"
}

@test "1.2 CPU-seconds over 6 processes, half of them orphans, are 1.2 s within 2 %" {
    needs_real_cpu
    spec <<<"command: [/probe/probe, burn-many, '6', '0.2']
$PROBE_MOUNT"
    run_job
    exits 0
    record 'close(used.cpu_user_s + used.cpu_system_s, 1.2, 0.02)' \
        'used.cpu_per_cpu_s is None or close(sum(used.cpu_per_cpu_s.values()), 1.2, 0.03)' 'rec.warnings == []'
}

# off_by SECONDS: of a job that burns that long, by how many microseconds its record is above what the kernel tells whoever
# waits for the program that burns: the middle one of five, as the machine's interrupts may hit one run. Sets `off`.
off_by()
{
    local i all=()
    spec <<<"command: [/probe/probe, rusage, /probe/probe, burn, '$1']
$PROBE_MOUNT"
    for i in 1 2 3 4 5; do
        run_job
        exits 0
        record 'rec.warnings == []'
        all+=("$(show "round((used.cpu_user_s + used.cpu_system_s) * 1e6) - $(cat out)")")
    done
    printf '%s\n' "${all[@]}" | sort -n >"off.$1"
    echo "# $1 s: off by $(tr '\n' ' ' <"off.$1")us" >&3
    off=$(sed -n 3p "off.$1")
}

@test "a job of 20 ms: its CPU time is within 2 ms of what the kernel tells whoever waits for it" {
    needs_real_cpu
    local off nothing burnt
    # the program that starts the other and waits for it has some of its own, by how fast the machine starts programs
    off_by 0
    nothing=$off
    off_by 0.02
    burnt=$off
    [ "$nothing" -lt 10000 ] && [ $((burnt - nothing)) -le 2000 ] && [ $((burnt - nothing)) -ge -2000 ] || fail "off by $burnt us, and by $nothing us for nothing"
}

@test "daemons that were killed at the end, and what they had burned before, are counted" {
    # a daemon whose child burns 0.4 s, that says so and lives on; and one that burns until it is killed
    script "/probe/probe daemon /bin/sh -c '/probe/probe burn 0.4; echo >/tmp/burnt; sleep 1000'
/probe/probe daemon /probe/probe burn 1000
until [ -e /tmp/burnt ]; do sleep 0.2; done" "$PROBE_MOUNT" "resources: { cpus: 1, cpu_unit: thread }"
    run_job
    exits 0
    # the second shared the CPU with the first
    record 'used.cpu_user_s + used.cpu_system_s > 0.5' 'rec.warnings == []' \
        'used.cpu_per_cpu_s is None or close(sum(used.cpu_per_cpu_s.values()), used.cpu_user_s + used.cpu_system_s, 0.02, 0.005)'
}

@test "touching 256 MiB is 256 MiB within 2 %, also by a daemon that was killed" {
    needs_limits
    local bytes=$((256 << 20))
    spec <<<"command: [/probe/probe, touch, '$bytes']
resources: { memory: 400MiB }
$PROBE_MOUNT"
    run_job
    exits 0
    # fuse-overlayfs, where it serves the root, is of the job
    local close="$((bytes / 100 * 98)) <= used.memory_peak_bytes <= $((bytes / 100 * 102)) + (16 << 20 if isolation.root == 'fuse' else 0)"
    record "$close"
    script "/probe/probe daemon /probe/probe hold $bytes
while sleep 0.1; do for f in /proc/[0-9]*/statm; do read -r _ rss _ <\$f; [ \$rss -lt $((bytes / 4096)) ] || exit 0; done; done" "resources: { memory: 400MiB }" "$PROBE_MOUNT"
    run_job
    exits 0
    record "$close"
}

@test "bytes written to a disk are exact, whether or not the disk has them yet" {
    local dev bytes
    dev=$(stat -c %Hd:%Ld . 2>/dev/null)
    [ -e "/sys/dev/block/$dev" ] || skip "$T is on no disk"
    mkdir disk
    # over what is there already: a file that grows is more work for the file system, which it does in the job's name
    head -c 41943040 /dev/zero >disk/f
    to_submitter disk
    # what of the image is read for the first time gets a new time of access, and fuse-overlayfs has that written in the
    # job's name: not what is measured
    spec <<<"command: [sh, -c, 'dd if=/dev/zero of=/d/f bs=4096 count=0 conv=notrunc; /probe/probe write /work/f 4096']
mounts: [{ source: $T/bin, target: /probe }, { source: $T/disk, target: /d, mode: rw }]"
    run_job
    exits 0
    for bytes in 0 4096 1048576 41943040; do
        sync disk/f # a page that waits for the disk already is not written twice
        spec <<<"command: [dd, if=/dev/zero, of=/d/f, bs=4096, count=$((bytes / 4096)), conv=notrunc]
mounts: [{ source: $T/disk, target: /d, mode: rw }]"
        run_job
        exits 0
        show used.written_bytes >>seen
        # the inode's own page may be among them
        record "used.written_bytes in ($bytes, $bytes + 4096)" || fail "$bytes"
    done
    echo "# $(tr '\n' ' ' <seen)" >&3
    # and a new file is that and a few pages
    spec <<<"command: [/probe/probe, write, /d/new, '41943040']
mounts: [{ source: $T/bin, target: /probe }, { source: $T/disk, target: /d, mode: rw }]"
    run_job
    exits 0
    [ "$(stat -c %s disk/new)" = 41943040 ]
    record '41943040 <= used.written_bytes <= 41943040 * 1.005'
    # scratch in memory is no disk
    spec <<<"command: [/probe/probe, write, /work/f, '4096000']
$PROBE_MOUNT"
    run_job
    exits 0
    record 'used.written_bytes == 0'
}
