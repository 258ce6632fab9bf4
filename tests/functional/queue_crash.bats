#!/usr/bin/env bats
# The queue survives: its daemon is killed again and again, its supervisors too, and the power goes.
# bats file_tags=slow

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

# check_once N: N tasks of job 1 have ended well; each of their attempts ran once and has one record; every fifth failed at
# first and was tried again, the others were not.
check_once()
{
    local all=$(($1 + $1 / 5))
    [ "$(sort ran | uniq -d | wc -l)" = 0 ] || fail "ran twice: $(sort ran | uniq -d | head -3)"
    [ "$(wc -l <ran)" = "$all" ] || fail "$(wc -l <ran) attempts of $all ran"
    [ "$(awk '$2 == 2 && $1 % 5 == 0' ran | wc -l)" = "$(($1 / 5))" ] || fail "others were tried again"
    [ "$(records)" = "$all" ] || fail "$(records) records of $all attempts"
    [ "$(grep -ho '"id":"[0-9A-Z]*"' state/journal/*.jsonl | sort | uniq -d | wc -l)" = 0 ] || fail "a record is there twice"
    q stats --json >out
    grep -q "\"completed\": $1\b" out || fail "$(cat out)"
}

@test "kill -9 of the daemon, again and again: every job runs once or as its retry says, every record is there once" {
    local n=100 kills=8 i pid
    [ "${JOBBOX_TEST_SLOW:-0}" != 1 ] || { n=2000 kills=20; }
    : >ran
    chmod 666 ran
    job many 'echo $JOBBOX_ARRAY_INDEX $JOBBOX_ATTEMPT >>/ran; sleep 0.05
        [ $((JOBBOX_ARRAY_INDEX % 5)) != 0 ] || [ $JOBBOX_ATTEMPT = 2 ] || exit 75' \
        "array: 1-$n" "retry: { max: 3, on: [exit:75], backoff: 50ms }" \
        "mounts: [{ source: $T/ran, target: /ran, mode: rw }]"
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
    kill_daemon
    start_daemon
    state_is 1 running
    touch gate/stop
    q wait -q 1
    record "rec['end']['reason'] == 'completed'"
}

@test "a daemon that is killed after it was asked to requeue a job: the next one puts it back" {
    start_daemon
    job again 'echo try $JOBBOX_ATTEMPT; trap "sleep 0.5; exit 1" TERM; while :; do sleep 0.05; done'
    q submit -q again.yaml >/dev/null
    until_true 20 log_has 'try 1'
    q requeue 1
    kill_daemon
    start_daemon
    until_true 20 log_has 'try 2'
    record "rec['attempt'] == 1" "rec['end']['reason'] == 'cancelled'"
    q cancel 1
    until_true 20 state_is 1 done
    [ "$(records)" = 2 ]
}

@test "who waits goes on to wait when the daemon is replaced by another one" {
    start_daemon
    mkdir -m 777 gate
    job long 'echo begun; while [ ! -e /work/stop ]; do sleep 0.1; done; exit 9' \
        "mounts: [{ source: $T/gate, target: /work, mode: rw }]"
    q submit -q long.yaml >/dev/null
    until_true 20 log_has begun
    q wait -q 1 2>wait.err &
    local waiter=$!
    sleep 0.5
    kill_daemon
    sleep 0.5
    start_daemon
    touch gate/stop
    code=0
    wait "$waiter" || code=$?
    [ "$code" = 9 ] || fail "$code: $(cat wait.err)"
}

@test "a job that a later daemon took over has its grace when it is cancelled" {
    start_daemon
    job polite 'trap "sleep 2; echo bye; exit 0" TERM; echo up; while :; do sleep 0.05; done'
    q submit -q polite.yaml >/dev/null
    until_true 20 log_has up
    kill_daemon
    start_daemon
    until_true 20 log_has up # and it can be asked
    q cancel 1
    code=0
    q wait -q 1 || code=$?
    exits 123
    log_has bye || fail "killed at once"
}

@test "the power goes at 50 moments: after the boot every acknowledged job is there and runs, none ends twice" {
    needs_root "is about another boot id, which root can show"
    ldd "$JOBBOX_BUILD/jobboxd" >/dev/null 2>&1 || skip "needs a jobboxd that is linked dynamically"
    ! nm -D "$JOBBOX_BUILD/jobboxd" | grep -q __asan_init || skip "cannot be preloaded into a program with sanitizers"
    job power 'sleep 0.1'
    /usr/bin/python3 "$HERE/queue_power.py" "$JOBBOX_BUILD/jobboxd" "$JOBBOX_BUILD/tests/functional/disk.so" "$T" power.yaml \
        "$MARK" 50 >out 2>&1 || fail "see out"
    out_has '^50 moments, [0-9]+ jobs'
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
