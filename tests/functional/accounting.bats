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

@test "a job of 20 ms: its CPU time is within 2 ms of what the kernel tells whoever waits for it" {
    needs_real_cpu
    local i off=()
    spec <<<"command: [/probe/probe, rusage, /probe/probe, burn, '0.02']
$PROBE_MOUNT"
    for i in 1 2 3 4 5; do
        run_job
        exits 0
        record 'rec.warnings == []'
        off+=("$(show "round((used.cpu_user_s + used.cpu_system_s) * 1e6) - $(cat out)")")
    done
    # the program that starts the other has a little of its own, once; the machine's interrupts may hit one run
    printf '%s\n' "${off[@]}" | sort -n >off
    echo "# off by $(tr '\n' ' ' <off)us" >&3
    [ "$(sed -n 3p off)" -le 2000 ] && [ "$(head -n 1 off)" -ge -2000 ] || fail "off by $(tr '\n' ' ' <off)us"
}

@test "daemons that were killed at the end are counted to the last" {
    script '/probe/probe daemon /probe/probe burn 100
while :; do t=$(cut -d" " -f1 /proc/uptime); break; done; sleep 1' "$PROBE_MOUNT" "resources: { cpus: 1, cpu_unit: thread }"
    run_job
    exits 0
    # it had a CPU of its own for that second, less what others of this machine took
    record 'used.cpu_user_s + used.cpu_system_s > 0.2' 'rec.warnings == []' \
        'used.cpu_per_cpu_s is None or close(sum(used.cpu_per_cpu_s.values()), used.cpu_user_s + used.cpu_system_s, 0.02, 0.005)'
}

@test "touching 256 MiB is 256 MiB within 2 %, also by a daemon that was killed" {
    local bytes=$((256 << 20))
    spec <<<"command: [/probe/probe, touch, '$bytes']
resources: { memory: 400MiB }
$PROBE_MOUNT"
    run_job
    exits 0
    record "close(used.memory_peak_bytes, $bytes, 0.02)"
    script "/probe/probe daemon /probe/probe hold $bytes
while sleep 0.1; do for f in /proc/[0-9]*/statm; do read -r _ rss _ <\$f; [ \$rss -lt $((bytes / 4096)) ] || exit 0; done; done" "resources: { memory: 400MiB }" "$PROBE_MOUNT"
    run_job
    exits 0
    record "close(used.memory_peak_bytes, $bytes, 0.02)"
}

@test "bytes written to a disk are exact, whether or not the disk has them yet" {
    local dev
    dev=$(stat -c %Hd:%Ld . 2>/dev/null)
    [ -e "/sys/dev/block/$dev" ] || skip "$T is on no disk"
    mkdir disk
    local bytes
    for bytes in 0 4096 41943040; do
        spec <<<"command: [/probe/probe, write, /d/f, '$bytes']
mounts: [{ source: $T/bin, target: /probe }, { source: $T/disk, target: /d, mode: rw }]"
        rm -f disk/f
        run_job
        exits 0
        [ "$(stat -c %s disk/f)" = "$bytes" ]
        # what the file system writes about the file is its own, and a page or two
        record "$bytes <= used.written_bytes <= $bytes + 16384" || fail "$bytes"
    done
    # scratch in memory is no disk
    spec <<<"command: [/probe/probe, write, /work/f, '4096000']
$PROBE_MOUNT"
    run_job
    exits 0
    record 'used.written_bytes == 0'
}
