#!/usr/bin/env bats
# What others ask of a live box: ps, pause, resume, signal, cancel, update; and what its events tell afterwards.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
}

teardown() { test_teardown; }

# The id of the only live box.
box()
{
    jobbox ps --config "$CONF" --json | grep -o '"id": "[^"]*"' | cut -d'"' -f4
}

phase_is()
{
    jobbox ps --config "$CONF" --json | grep -q "\"phase\": \"$1\""
}

ask()
{
    code=0
    jobbox "$@" --config "$CONF" >"$T/asked" 2>"$T/err" || code=$?
}

ticks()
{
    wc -l <"$T/out"
}

more_than()
{
    [ "$(ticks)" -gt "$1" ]
}

start_ticking()
{
    script 'trap "echo one" USR1; echo ready; while :; do echo tick; sleep 0.05; done' "$@"
    start_job
    until_true 10 says ready
    until_true 10 phase_is running
    id=$(box)
}

@test "ps lists a live box by what the ledger and its supervisor say, and no other" {
    ask ps
    exits 0
    [ ! -s asked ]
    start_ticking 'name: ticker' 'resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }'
    ask ps
    exits 0
    grep -qE "^$id  running +[a-z0-9]+ +[0-9]+ +64(\.0)? MiB .*ticker" asked
    kill -TERM "$supervisor"
    end_job
    exits 123
    ask ps
    [ ! -s asked ]
}

@test "a paused box stands still, its wall time too, and goes on" {
    # where all is slower, there is more time to ask in, and longer to stand still for
    local limit=$((JBT_SLOWER > 1 ? 12 : 3))
    start_ticking "limits: { wall_time: ${limit}s, idle: $((limit - 1))s }"
    ask pause "$id"
    exits 0
    until_true 5 phase_is paused
    sleep 0.2
    local before
    before=$(ticks)
    sleep "$limit.2"
    [ "$(ticks)" = "$before" ] || fail "it ran while it was paused"
    ask pause "$id"
    exits 124
    one_error 'paused already'
    ask resume "$id"
    exits 0
    until_true 5 more_than "$before"
    ask resume "$id"
    exits 124
    one_error 'not paused'
    end_job
    exits 120
    record 'end.reason == "timeout"' "times.paused_s >= $limit" "times.wall_s - times.paused_s >= $limit - 0.01" \
        "times.wall_s - times.paused_s < $limit + 3 * slower"
}

@test "cancel goes on with the others when one of several boxes is none, tells each, and ends with that failure's code" {
    start_ticking
    ask cancel 01ZZZZZZZZZ "$id" 01YYYYYYYYY
    exits 124
    [ "$(wc -l <err)" = 2 ] || fail "$(cat err)"
    err_has '01ZZZZZZZZZ: no live box'
    err_has '01YYYYYYYYY: no live box'
    end_job
    exits 123
    record 'end.reason == "cancelled"'
}

@test "a paused box can be cancelled, by the beginning of its id in small letters" {
    start_ticking
    local short
    short=$(printf %s "$id" | tr 'A-Z' 'a-z' | cut -c1-20)
    ask pause "$short"
    exits 0
    ask cancel "$short"
    exits 0
    end_job
    exits 123
    record 'end.reason == "cancelled"' '"cancel from pid" in end.killed_by'
}

@test "a supervisor that is killed while its box is paused leaves nothing that sweep does not finish" {
    start_ticking
    ask pause "$id"
    exits 0
    kill -9 "$supervisor"
    end_job
    until_true 10 none_marked
    sweep
    record 'end.reason == "supervisor_lost"'
    jobbox show --events --config "$CONF" "$id" >shown
    grep -q 'to=paused' shown
    grep -q 'recovered .*reason=supervisor_lost' shown
}

@test "signals reach the whole job or its main process; STOP and nonsense are refused" {
    script 'sh -c "trap \"echo child\" USR2; echo up; while :; do sleep 0.05; done" &
trap "echo main" USR2; while :; do sleep 0.05 || true; done'
    start_job
    until_true 10 says up
    until_true 10 phase_is running
    id=$(box)
    ask signal --main "$id" USR2
    exits 0
    until_true 5 says main
    ! says child || fail "the child got it too"
    ask signal "$id" sigusr2
    exits 0
    until_true 5 says child
    ask signal "$id" STOP
    exits 124
    one_error 'use jobbox pause'
    ask signal "$id" NONSENSE
    exits 125
    ask signal "$id" KILL
    exits 0
    end_job
    record 'end.reason == "signaled"' 'end.signal == 9'
}

@test "events tell what happened, live and afterwards, and who asked" {
    start_ticking
    ask signal --main "$id" USR1
    exits 0
    until_true 5 says one
    jobbox show --events --config "$CONF" "$id" >live
    grep -q 'state .*from=starting to=running' live
    grep -q 'signal=USR1' live
    ask cancel "$id"
    end_job
    jobbox show --events --json --config "$CONF" "${id:0:24}" >after
    grep -q '"event":"state","from":"running","to":"grace","cause":"cancel","by":{"uid":'"$SUBMITTER"',"pid":[0-9]*,"how":"socket"}' after
    grep -q '"event":"end","reason":"cancelled"' after
    ask show --events 01ZZZZ
    exits 124
    one_error 'no events'
}

@test "memory, processes and wall time of a live box change, in the kernel, the ledger and the record" {
    needs_limits
    start_ticking 'resources: { memory: 64MiB, pids: 50 }' 'limits: { wall_time: 20s }'
    ask update "$id" --memory 96MiB --pids 60 --wall-time 30s
    exits 0
    grep -q 'memory_bytes: 67108864 -> 100663296' asked
    grep -q 'pids: 50 -> 60' asked
    grep -q 'wall_time_s: 20.0 -> 30.0' asked
    ask update "$id" --memory 32MiB
    exits 0
    ask ps
    grep -qE ' 32(\.0)? MiB ' asked
    ask update "$id" --wall-time 1ms
    exits 124
    one_error 'has run for longer'
    ask update "$id" --memory 999TiB
    exits 124
    ask update "$id"
    exits 125
    kill -TERM "$supervisor"
    end_job
    record 'granted.memory_bytes == 32 << 20' 'granted.pids == 60' 'granted.wall_time_s == 30'
    jobbox show --events --config "$CONF" "$id" | grep -q 'update .*67108864.*100663296'
}

@test "a CPU limit that is lowered holds from then on, also when that was done in a pause" {
    needs_limits
    script 'echo ready; while :; do :; done' "limits: { cpu_time: $((12 * JBT_SLOWER))s, grace: 0s }"
    start_job
    until_true 10 says ready
    until_true 10 phase_is running
    id=$(box)
    ask pause "$id"
    sleep $((3 * JBT_SLOWER))
    ask update "$id" --cpu-time $((2 * JBT_SLOWER))s
    exits 0
    ask resume "$id"
    end_job
    exits 122
    record 'end.reason == "cpu_timeout"' 'used.cpu_user_s + used.cpu_system_s < 3.5 * slower'
}

@test "a warning that the job had does not come again with other limits" {
    needs_limits
    script 'trap "echo warned" USR1; echo ready; while :; do :; done' 'resources: { pids: 50 }' \
        'limits: { cpu_time: 10m, grace: 0s, warn: { at: 599500ms, signal: USR1, to: main } }'
    start_job
    until_true 10 says warned
    id=$(box)
    ask update "$id" --pids 60
    exits 0
    ask update "$id" --cpu-time 599s # the moment to warn is past here too
    exits 0
    sleep 0.5
    ask update "$id" --cpu-time 11m
    exits 0
    kill -TERM "$supervisor"
    end_job
    out_is $'ready\nwarned'
}

@test "a site's maximum holds for updates too" {
    site_config "env: { JBT_MARK: $T }" 'limits: { wall_time: { default: 10s, max: 1m } }'
    start_ticking
    ask update "$id" --wall-time 2m
    exits 124
    one_error 'more than this site allows'
    ask update "$id" --wall-time 50s
    exits 0
    kill -TERM "$supervisor"
    end_job
    record 'granted.wall_time_s == 50'
}

on_one_cpu()
{
    tail -n 1 out | grep -qE 'list:[[:space:]]*[0-9]+$'
}

@test "a job gets more CPUs while it runs and gives them back; more than there are it does not get" {
    needs_limits
    needs_cpus 2
    script 'echo ready; while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.05; done' \
        'resources: { cpus: 1, cpu_unit: thread }'
    start_job
    until_true 10 says ready
    until_true 10 phase_is running
    id=$(box)
    ask update "$id" --cpus 2
    exits 0
    until_true 5 grep -qE 'list:[[:space:]]*[0-9]+[-,][0-9]+$' out
    ask update "$id" --cpus 1
    exits 0
    until_true 5 on_one_cpu
    ask update "$id" --cpus 4000
    exits 124
    kill -TERM "$supervisor"
    end_job
    record 'granted.cpu_count == 1'
}

@test "a box on CPUs that its supervisor may not use any more: other limits change all the same, and its CPUs stay" {
    needs_limits
    needs_cpus 2
    script 'echo ready; while :; do grep Cpus_allowed_list /proc/self/status; sleep 0.05; done' \
        'resources: { cpu_set: "1", cpu_unit: thread, memory: 64MiB, pids: 50 }'
    start_job
    until_true 10 says ready
    until_true 10 phase_is running
    id=$(box)
    taskset -p -c 0 "$supervisor" >/dev/null
    ask update "$id" --pids 60
    exits 0
    ask update "$id" --memory 96MiB
    exits 0
    kill -TERM "$supervisor"
    end_job
    [ "$(tail -n 1 out | tr -dc 0-9)" = 1 ]
    record 'granted.cpus == "1"' 'granted.pids == 60' 'granted.memory_bytes == 96 << 20'
}

@test "a supervisor that is stopped is said not to answer" {
    start_ticking
    kill -STOP "$supervisor"
    ask pause "$id"
    exits 124
    one_error 'does not answer'
    ask ps
    exits 0
    grep -q "^$id  - " asked
    kill -CONT "$supervisor"
    kill -TERM "$supervisor"
    end_job
    exits 123
}

@test "an ordinary user does not reach the boxes of root" {
    needs_root
    start_ticking
    user_setup
    code=0
    as_user "$T/jobbox" cancel --config "$CONF" "$id" >asked 2>err || code=$?
    exits 124
    phase_is running || fail "it was cancelled"
    kill -TERM "$supervisor"
    end_job
}
