#!/usr/bin/env bats
# The queue survives: its daemon is killed again and again, its supervisors too, and the power goes.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

# check_once N: N tasks of job 1 have ended well, each with one attempt and one record, and each ran once.
check_once()
{
    [ "$(records)" = "$1" ] || fail "$(records) records of $1 jobs"
    [ "$(sort ran | uniq -d | wc -l)" = 0 ] || fail "ran twice: $(sort ran | uniq -d | head -3)"
    [ "$(wc -l <ran)" = "$1" ] || fail "$(wc -l <ran) of $1 ran"
    q stats --json >out
    grep -q "\"completed\": $1" out || fail "$(cat out)"
}

@test "kill -9 of the daemon, again and again: every job runs once, every record is there once, what runs is adopted" {
    local n=60 kills=5 i pid
    [ "${JOBBOX_TEST_SLOW:-0}" != 1 ] || { n=2000 kills=20; }
    : >ran
    chmod 666 ran
    job many 'echo $JOBBOX_ARRAY_INDEX >>/ran; sleep 0.1' "array: 1-$n" "mounts: [{ source: $T/ran, target: /ran, mode: rw }]"
    q submit -q many.yaml >/dev/null
    for ((i = 0; i < kills; i++)); do
        sleep "0.$((RANDOM % 90 + 10))"
        pid=$(daemon_pid)
        [ -z "$pid" ] || kill -9 "$pid"
        # whoever comes next begins it anew
        until_true 30 q submit --hold -q many.yaml || fail "no daemon comes up: $(cat state/jobboxd.log)"
        until_true 30 q cancel "$((i + 2))"
    done
    PATIENCE=$((n / 2 + 120)) q wait -q 1
    check_once "$n"
}

@test "a daemon that is killed while a job runs does not keep the next one waiting until the job has ended" {
    start_daemon
    job long 'echo begun; while [ ! -e /work/stop ]; do sleep 0.1; done' "mounts: [{ source: $T/gate, target: /work, mode: rw }]"
    mkdir gate
    chmod 777 gate
    q submit -q long.yaml >/dev/null
    until_true 20 log_has begun
    kill -9 "$daemon"
    start_daemon
    state_is 1 running
    touch gate/stop
    q wait -q 1
    record "rec['end']['reason'] == 'completed'"
}

@test "the power goes: whatever was acknowledged is there after the restart" {
    local rounds=6 i last pid
    [ "${JOBBOX_TEST_SLOW:-0}" != 1 ] || rounds=50
    job held 'true'
    q submit -q held.yaml >/dev/null
    q drain 'to keep them' >/dev/null
    (while :; do q submit -q held.yaml || break; done >acked 2>/dev/null) 3>&- &
    started+=($!)
    for ((i = 0; i < rounds; i++)); do
        sleep "0.$((RANDOM % 20 + 5))"
        last=$(tail -n 1 acked)
        # what is on the disk at this moment, as the files of a machine that stops
        mkdir "snap.$i"
        cp state/queue.db-wal "snap.$i/" && cp state/queue.db "snap.$i/" && cp state/queue.db-wal "snap.$i/"
        [ -n "$last" ] || continue
        echo "$last" >"snap.$i/acked"
    done
    kill "${started[0]}" 2>/dev/null || true
    for ((i = 0; i < rounds; i++)); do
        [ -e "snap.$i/acked" ] || continue
        last=$(cat "snap.$i/acked")
        [ "$(/usr/bin/python3 -c '
import sqlite3, sys
print(sqlite3.connect(sys.argv[1]).execute("select count(*) from jobs where num <= ?", (int(sys.argv[2]),)).fetchone()[0])
' "snap.$i/queue.db" "$last")" = "$last" ] || fail "snapshot $i lost one of $last"
    done
}

@test "a supervisor that is killed: the job has its record, and goes on or not as its retry says" {
    start_daemon
    job lost 'echo begun; sleep 100' "retry: { max: 1, on: [supervisor_lost], backoff: 50ms }"
    q submit lost.yaml >/dev/null
    until_true 20 log_has begun
    local pid
    pid=$(supervisor_of 1)
    kill -9 "$pid"
    until_true 30 attempts_are 1 2
    record "rec['end']['reason'] == 'supervisor_lost'" "rec['attempt'] == 1"
    until_true 20 log_has begun
    kill -9 "$(supervisor_of 1)"
    code=0
    q wait -q 1 || code=$?
    [ "$code" != 0 ]
    [ "$(records)" = 2 ]
}

# The supervisor of a job: its name says so.
supervisor_of()
{
    local dir
    for dir in /proc/[0-9]*; do
        [ "$(cat "$dir/comm" 2>/dev/null)" = "jobbox:$1" ] && grep -qzsxF -- "$MARK" "$dir/environ" && echo "${dir#/proc/}" && return
    done
}
