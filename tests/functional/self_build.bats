#!/usr/bin/env bats
# jobbox builds and tests itself in a box, as configs/examples/build-self.yaml says, and the figures of the record are
# held against those of /usr/bin/time in the box and of the kernel's own counters outside of it.
# bats file_tags=slow

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }
setup() { test_setup; }
teardown() { test_teardown; }

# The CPU time and memory peak of the box's groups, again and again as long as they are there.
watch_groups()
{
    local id=$1 out=$2 cpu memory
    if [ -n "$(own_cgroup cpuacct)" ]; then
        cpu=$(own_cgroup cpuacct)/jobbox-$id/cpuacct.usage
        memory=$(own_cgroup memory)/jobbox-$id/memory.max_usage_in_bytes
    else
        cpu=$(own_cgroup unified)/jobbox-$id/cpu.stat
        memory=$(own_cgroup unified)/jobbox-$id/memory.peak
    fi
    while [ -e "$cpu" ]; do
        printf '%s %s\n' "$(awk 'NR == 1 { print $NF }' "$cpu")" "$(cat "$memory")" || true
        sleep 0.05
    done >"$out" 2>/dev/null
}

# The example itself, but for where the source tree is and a stopwatch around the whole of its script.
with_stopwatch()
{
    sed "s|source: \.,|source: $SOURCE_DIR,|" "$SOURCE_DIR/configs/examples/build-self.yaml" | awk '
        /^script: \|/ { print; print "  exec /usr/bin/time -f \"%U %S %M\" -o /work/time sh -e <<\"END\""; script = 1; next }
        script && /^[^ ]/ { print "  END"; script = 0 }
        { print }
        /^artifacts:/ { print "  - { path: /work/time, to: results/ }" }'
}

@test "the example builds jobbox, tests it, brings the program out; its record agrees with time and with the cgroup" {
    needs_cgroups
    needs_cpus 2
    [ -x /usr/bin/time ] || skip "needs /usr/bin/time"
    with_stopwatch >job.yaml
    start_job
    until_true 5 sh -c "ls $T/run/boxes | grep -q ."
    watch_groups "$(ls "$T/run/boxes")" "$T/samples"
    end_job
    [ "$code" -eq 0 ] || grep -E 'error:|FAILED|Failed|ERROR|LINE  ' results/build-self.out || true
    exits 0 || { tail -n 40 results/build-self.out && false; }
    record 'end.reason == "completed"' 'not [a for a in rec.artifacts if "error" in a]'
    [ "$(results/jobbox --version)" = "$("$JOBBOX" --version)" ]
    grep -q '100% tests passed' results/build-self.out

    local user system rss cpu peak unit=1e-6
    read -r user system rss <results/time
    record "close(used.cpu_user_s, $user, 0.03, 0.3)" "close(used.cpu_system_s, $system, 0.05, 0.5)" \
        "used.memory_peak_bytes >= $rss * 1024 / 2"
    read -r cpu peak <<<"$(awk '{ if ($1 > c) c = $1; if ($2 > m) m = $2 } END { printf "%.0f %.0f\n", c, m }' samples)"
    [ -z "$(own_cgroup cpuacct)" ] || unit=1e-9
    record "close(used.cpu_user_s + used.cpu_system_s, $cpu * $unit, 0.02, 0.2)" \
        "close(used.memory_peak_bytes, $peak, 0.001)" "close(sum(used.cpu_per_cpu_s.values()), $cpu * $unit, 0.02, 0.2)"
}
