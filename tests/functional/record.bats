#!/usr/bin/env bats
# The record: complete, honest about what is not known, once for each attempt, and right where it can be checked.
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

teardown() { test_teardown; }

@test "every section and key is there" {
    needs_limits
    script 'echo x' "name: full" "account: astro" "labels: { ticket: \"4711\" }" "resources: { memory: 64MiB }"
    run_job
    exits 0
    local key
    for key in record_version id job attempt array_index name user uid gid account labels host boot_id submit_host \
        jobbox_version spec_sha256 image.ref image.digest origin.kind times.submitted times.eligible \
        times.setup_started times.started times.ended times.destroyed times.wait_s times.setup_s times.wall_s times.paused_s \
        times.teardown_s requested granted.cpus granted.cores granted.l3s granted.numa_nodes granted.memory_nodes \
        granted.kind granted.straddles used.cpu_user_s used.cpu_system_s used.cpu_per_cpu_s used.throttled_s \
        used.memory_peak_bytes used.memory_peak_anon_bytes used.swap_peak_bytes used.oom_kills used.pids_peak \
        used.read_bytes used.written_bytes used.read_ops used.write_ops used.scratch_peak_bytes used.minor_faults \
        used.major_faults used.voluntary_switches used.involuntary_switches used.pressure used.energy_j used.net \
        end.reason end.exit_code end.signal end.core_dumped end.limit end.killed_by isolation.namespaces \
        isolation.root isolation.network isolation.seccomp isolation.caps isolation.no_new_privs \
        isolation.cgroup_version isolation.degraded output.stdout_bytes output.stderr_bytes output.truncated artifacts \
        warnings; do
        printf '[rec.%s]\n' "$key"
    done >keys
    mapfile -t keys <keys
    record "${keys[@]}"
}

@test "identity: who, where, what" {
    needs_own "his name is none of an account"
    script 'true' "name: who" "account: astro" "labels: { ticket: \"4711\" }"
    run_job
    record 'rec.record_version == 1' 're.fullmatch("[0-9A-HJKMNP-TV-Z]{26}", rec.id)' 'rec.job == rec.id' \
        'rec.attempt == 1' 'rec.array_index is None' 'rec.name == "who"' "rec.user == '$(id -un)'" \
        "rec.uid == $(id -u)" "rec.gid == $(id -g)" 'rec.account == "astro"' 'rec.labels == {"ticket": "4711"}' \
        "rec.host == '$(uname -n)'" "rec.boot_id == '$(cat /proc/sys/kernel/random/boot_id)'" \
        'rec.origin.kind == "cli"' "rec.image.ref == '$IMAGE'"
}

@test "spec_sha256 is that of the file" {
    script 'true'
    run_job
    record "rec.spec_sha256 == '$(sha256sum <job.yaml | cut -d' ' -f1)'"
}

@test "requested is what the spec says" {
    script 'true' "resources: { cpus: 1, memory: 64MiB, pids: 77 }" "limits: { wall_time: 90s }"
    run_job
    record '"67108864" in str(requested) or "64MiB" in str(requested)' '"77" in str(requested)' \
        '"cpu_time" not in str(requested)'
}

@test "times: UTC with microseconds, in order, and durations that agree with them" {
    script 'sleep 0.3'
    run_job
    record 'all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", times[k])
        for k in ("submitted", "eligible", "setup_started", "started", "ended", "destroyed"))' \
        'times.submitted <= times.setup_started < times.started < times.ended <= times.destroyed' \
        '0.3 <= times.wall_s < 1.5 * slower' '0 < times.setup_s < 2 * slower' '0 < times.teardown_s < 2 * slower' \
        "abs(__import__('datetime').datetime.fromisoformat(times.submitted[:-1]).replace(
            tzinfo=__import__('datetime').timezone.utc).timestamp() - $(date +%s)) < 20"
}

@test "what this kernel does not give is null, never 0" {
    script 'true'
    run_job
    record 'used.energy_j is None' 'used.throttled_s is None or isolation.cgroup_version.cpu' \
        'rec.image.digest is None' 'end.signal is None' 'end.limit is None'
    needs_v1 memory
    record 'used.memory_peak_anon_bytes is None'
}

@test "the CPU time agrees with /usr/bin/time within 5 % and 20 ms" {
    needs_own "the folder for what it measures is not his"
    [ -x /usr/bin/time ] || skip "needs /usr/bin/time"
    mkdir out.d
    spec <<<"image: host
command: [/usr/bin/time, -o, /out/time, -f, '%U %S', /probe/probe, burn, '1.2']
mounts: [{ source: $T/bin, target: /probe }, { source: $T/out.d, target: /out, mode: rw }]"
    run_job
    exits 0
    local user system
    read -r user system <out.d/time
    record "close(used.cpu_user_s + used.cpu_system_s, $user + $system, 0.05, 0.02 * slower)" \
        'used.cpu_per_cpu_s is None or close(sum(used.cpu_per_cpu_s.values()), used.cpu_user_s + used.cpu_system_s, 0.05, 0.02)' \
        'used.cpu_per_cpu_s is None or set(map(int, used.cpu_per_cpu_s)) <= cpus(granted.cpus)'
}

@test "the CPU time of processes that nobody waited for is counted" {
    script '({ /probe/probe burn 0.5; : >/tmp/a; } &)
(setsid sh -c "/probe/probe burn 0.5; : >/tmp/b" &)
until [ -e /tmp/a ] && [ -e /tmp/b ]; do sleep 0.1; done' "$PROBE_MOUNT"
    run_job
    exits 0
    # what the shells use comes on top, and is more where all is slower
    record '0.9 < used.cpu_user_s + used.cpu_system_s < (1.3 if slower == 1 else slower)'
}

@test "the memory peak of touching 50 MiB is 50 MiB within 15 %" {
    needs_limits
    spec <<<"command: [/probe/probe, touch, '52428800']
resources: { memory: 200MiB }
$PROBE_MOUNT"
    run_job
    exits 0
    record 'close(used.memory_peak_bytes, 50 << 20, 0.15)'
}

@test "bytes of output are exact, also of several megabytes" {
    script 'head -c 5000000 /dev/zero; head -c 3000 /dev/zero >&2'
    run_job
    [ "$(stat -c %s out)" = 5000000 ]
    record 'output.stdout_bytes == 5000000' 'output.stderr_bytes == 3000'
}

@test "bytes read from and written to a disk are counted" {
    needs_own "he has no figures of groups"
    local dev
    dev=$(stat -c %Hd:%Ld . 2>/dev/null)
    [ -e "/sys/dev/block/$dev" ] || skip "$T is on no disk"
    mkdir disk
    spec <<<"image: host
script: |
  dd if=/dev/zero of=/d/f bs=1M count=8 oflag=direct status=none
  dd if=/d/f of=/dev/null bs=1M iflag=direct status=none
mounts: [{ source: $T/disk, target: /d, mode: rw }]"
    run_job
    exits 0
    record 'close(used.written_bytes, 8 << 20, 0.1, 1 << 20)' '8 << 20 <= used.read_bytes < 40 << 20'
}

@test "the journal has exactly one line for each attempt, whatever became of it" {
    local body
    for body in 'exit 0' 'exit 1' 'kill -9 $$' 'sleep 9'; do
        script "$body" "limits: { wall_time: $((300 * JBT_SLOWER))ms, grace: 100ms }"
        run_job
    done
    script 'true' "workdir: /etc/passwd"
    run_job
    exits 124
    [ "$(records)" = 5 ]
    record 'len({__import__("json").loads(line)["id"] for line in lines}) == 5' \
        '[__import__("json").loads(line)["end"]["reason"] for line in lines] ==
            ["completed", "failed", "signaled", "timeout", "box_error"]'
    [ "$(stat -c %a state)" = 700 ]
}

@test "a box that could not be made has a record with the error, and nulls for what did not happen" {
    script 'true' "workdir: /etc/passwd"
    run_job
    exits 124
    record 'end.reason == "box_error"' '"/etc/passwd" in end.error' 'times.started is None' 'times.wall_s is None' \
        'end.exit_code is None'
}

@test "a torn last line does not spoil the next record" {
    script 'true'
    run_job
    local journal
    journal=$(last_journal)
    printf '{"id":"torn","times":{"subm' >>"$journal"
    run_job
    exits 0
    [ "$(wc -l <"$journal")" = 3 ] || fail "$(wc -l <"$journal") lines"
    record 'end.reason == "completed"' 'sum(line.startswith("{") and line.endswith("}") for line in lines) == 2'
}

@test "the journal is named by month, and each line is complete JSON" {
    script 'true'
    run_job
    [ "$(basename "$(last_journal)")" = "$(date -u +%Y-%m).jsonl" ]
    /usr/bin/python3 -c 'import json, sys; [json.loads(line) for line in open(sys.argv[1])]' "$(last_journal)"
}

@test "sinks get the same record: a file a line, a program its input; one that fails changes nothing" {
    cat >take <<EOF
#!/bin/sh
cat >$T/taken
EOF
    chmod 755 take
    site_config "sinks: [{ file: $T/sink.jsonl }, { program: [/bin/false] }, { program: [$T/take] }]" \
        "env: { JBT_MARK: $T }"
    script 'exit 3'
    run_job
    exits 3
    cmp sink.jsonl "$(last_journal)"
    cmp taken "$(last_journal)"
    err_has 'sink|false'
}

@test "artifacts come out with size and digest; symlinks and what is not there do not" {
    script 'echo result >r.txt; ln -s /etc/passwd link.txt; mkdir d; echo deep >d/e.txt' \
        "artifacts: [{ path: \"*.txt\", to: res/ }, { path: d, to: res/ }, { path: none.dat, to: res/ }]"
    run_job
    exits 0
    [ "$(cat res/r.txt)" = result ]
    [ ! -e res/link.txt ] && [ ! -L res/link.txt ]
    record "any(a.get('sha256') == '$(echo result | sha256sum | cut -d' ' -f1)' and a.bytes == 7 for a in artifacts)" \
        'any("none.dat" in a.path and a.get("error") for a in artifacts)'
}

@test "two boxes at once have different CPUs, and both records say so" {
    needs_cpus 2
    script 'echo ready; sleep 1; cat /proc/self/status | grep Cpus_allowed_list' "resources: { cpus: 1, cpu_unit: thread }"
    start_job
    until_true 10 says ready
    cp out out.first
    jobbox run -q --config "$CONF" job.yaml >out.second 2>err.second
    end_job
    exits 0
    [ "$(records)" = 2 ]
    record 'not cpus(granted.cpus) & cpus(__import__("json").loads(lines[0])["granted"]["cpus"])'
}
