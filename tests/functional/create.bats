#!/usr/bin/env bats
# A box that outlives one command: create, exec, destroy, as root and as an ordinary user.
# Runs as: root, user

# shellcheck disable=SC2016,SC2030,SC2031 # the shells in the boxes expand those
load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    id=
    AS=()
    PROG=$JOBBOX
    CONFIG=$CONF
    EXTRA=()
}

teardown()
{
    [ -z "$id" ] || jb destroy -q "$id" >/dev/null 2>&1 || true
    [ ! -d "${T-}/home/run/jobbox/boxes" ] || [ -z "$(ls -A "$T/home/run/jobbox/boxes")" ] || {
        echo "left behind: $(ls -A "$T/home/run/jobbox/boxes")"
        false
    }
    test_teardown
}

# From here on as an ordinary user, without any privilege.
be_user()
{
    needs_root # to become another one
    command -v setpriv >/dev/null || skip "needs setpriv"
    setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    user_setup
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    AS=("${AS_USER[@]}")
    PROG=$T/jobbox
    CONFIG=$T/site.user
    EXTRA=("allow_degraded: [cpuset, memory, pids]")
}

# jb VERB ARGUMENT...: jobbox as whoever the test is.
jb()
{
    local verb=$1
    shift
    "${AS[@]}" env "$MARK" timeout --foreground -k 5 $((60 * JBT_SLOWER)) "$PROG" "$verb" -c "$CONFIG" "$@"
}

# create [YAML-LINE...]: sets `id`.
create()
{
    printf '%s\n' "resources: { cpus: 1, cpu_unit: thread, exclusive: false, memory: 64MiB }" ${EXTRA[@]+"${EXTRA[@]}"} "$@" | spec
    code=0
    id=$(jb create "$T/job.yaml" 2>"$T/err") || code=$?
}

# execute ARGUMENT...: output in out and err. Sets `code`.
execute()
{
    code=0
    jb exec "$@" >"$T/out" 2>"$T/err" </dev/null || code=$?
}

# start_exec TEXT: in the background; `client` is jobbox itself.
start_exec()
{
    env "$MARK" "$JOBBOX" exec -c "$CONF" "$id" -- sh -c "$1" >"$T/out" 2>"$T/err" </dev/null 3>&- &
    client=$!
    started+=("$client")
}

# Waits for it. Sets `code`.
end_exec()
{
    code=0
    wait "$client" || code=$?
    started=()
}

# destroy [OPTION...]: the record is in `destroyed`.
destroy()
{
    code=0
    jb destroy -q --json "$@" "$id" >"$T/destroyed" 2>"$T/err" || code=$?
    id=
}

# The box ends by itself: then there are so many records.
recorded()
{
    has_records()
    {
        [ "$(records)" = "$1" ]
    }
    until_true 10 has_records "$1"
    id=
}

# Each EXPRESSION holds for the record of the destroyed box.
destroyed()
{
    "$HERE/record" "$T/destroyed" "$@" || fail "the record is not as expected: $(head -c 3000 "$T/destroyed")"
}

# What is true for both users.
works_for_a_user()
{
    create 'name: stays' 'labels: { ticket: "7" }' 'env: { COLOUR: green }'
    exits 0
    [[ $id =~ ^[0-9A-Z]{26}$ ]] || fail "that is no id: $id"

    execute "$id" -- sh -c 'echo "$COLOUR $FRUIT"; pwd; echo oops >&2; echo x >/work/left; exit 7' # in the box
    exits 7
    out_is "green 
/work"
    err_has '^oops$'
    execute -w /tmp -e FRUIT=plum -e COLOUR=red "$id" sh -c 'echo "$COLOUR $FRUIT"; pwd; cat /work/left'
    exits 0
    out_is "red plum
/tmp
x"
    code=0
    printf 'one\ntwo\n' | jb exec "$id" -- sh -c 'read a; read b; echo "$b $a"; cat' >out || code=$?
    exits 0
    out_is "two one"
    execute "$id" nosuch
    exits 127
    execute "$id" /etc
    exits 126
    # shellcheck disable=SC2016
    execute "$id" -- sh -c 'kill -9 $$'
    exits 137
    destroy
    exits 0
    destroyed 'end.reason == "completed"' 'end.exit_code == 0' 'rec.name == "stays"' 'rec.labels == {"ticket": "7"}' \
        'rec.origin.kind == "cli"' '[e.exit_code for e in execs] == [7, 0, 0, 127, 126, None]' \
        'execs[5].signal == 9' 'execs[5].reason == "signaled"' '[e.exec for e in execs] == [1, 2, 3, 4, 5, 6]' \
        'execs[0].argv[0] == "sh"' 'execs[0].stdout_bytes == 13' 'execs[0].stderr_bytes == 5' \
        'all(e.started and e.ended for e in execs[:3])' 'output.stdout_bytes == sum(e.stdout_bytes for e in execs)' \
        'all(e.used.max_rss_bytes > 0 for e in execs)'
}

leaves_no_child()
{
    create
    # a daemon of the classic kind, with the command's stdout
    SECONDS=0
    execute "$id" -- sh -c 'setsid sh -c "sleep 321 & sleep 321" & (sleep 321 &); echo started'
    exits 0
    out_is "started"
    execute "$id" -- ps -o args
    out_lacks 'sleep 321'
    execute --keep-children "$id" -- sh -c '(sleep 321 >/dev/null 2>&1 &); echo started'
    exits 0
    execute "$id" -- ps -o args
    out_has 'sleep 321'
    destroy
    exits 0
    destroyed 'execs[0].left_processes is False' 'execs[2].keep_children is True'
}

@test "commands in a box that stays: their streams, codes, environment, and one record for all" {
    works_for_a_user
    local file
    file=$(last_journal)
    [ "$(records)" = 1 ] || fail "$(records) records"
    cmp -s <(tail -n 1 "$file") destroyed || fail "what destroy prints is not what the journal has"
}

@test "commands in a box that stays, for an ordinary user" {
    be_user
    works_for_a_user
}

@test "a command that daemonises a child holding its output returns when it ends, and the child is gone" {
    leaves_no_child
}

@test "the same for an ordinary user who has no cgroups" {
    be_user
    leaves_no_child
}

# Takes longer than anybody waits for a reader that takes nothing, but never rests that long.
reads_slowly()
{
    for _ in 1 2 3 4 5 6 7 8 9; do
        sleep 0.7
        dd bs=8192 count=1 2>/dev/null
    done
    cat
}

@test "a slow reader gets all that a command wrote" {
    create
    { jb exec "$id" -- head -c 130000 /dev/zero 3>&- 2>err || echo "$?" >code; } | reads_slowly >read
    [ ! -e code ] || fail "exit code $(<code)"
    [ "$(wc -c <read)" = 130000 ] || fail "it got $(wc -c <read) bytes"
    [ ! -s err ] || fail "it says: $(<err)"
    destroy
    destroyed 'execs[0].output_truncated is False' 'output.truncated is False' 'execs[0].stdout_bytes == 130000'
}

@test "what a reader that takes nothing does not get is said" {
    create
    mkfifo pipe
    exec 9<>pipe
    code=0
    jb exec "$id" -- head -c 130000 /dev/zero >pipe 2>err 3>&- 9>&- || code=$?
    exec 9>&-
    exits 0
    err_has '^jobbox: head: not all of its output came out'
    destroy
    destroyed 'execs[0].output_truncated is True' 'output.truncated is True'
}

@test "each command has the isolation of the box, and nothing of the client's is handed into it" {
    create
    execute "$id" -- sh -c 'grep -E "^(Seccomp|NoNewPrivs|CapEff|CapBnd|Cpus_allowed_list)" /proc/1/status >/tmp/one
        grep -E "^(Seccomp|NoNewPrivs|CapEff|CapBnd|Cpus_allowed_list)" /proc/self/status | cmp - /tmp/one && echo same
        ls /proc/self/fd | wc -l; for i in 0 1 2; do readlink /proc/self/fd/$i; done | cut -d: -f1 | sort -u
        ls /proc/1/fd 2>/dev/null; readlink /proc/1/exe 2>/dev/null; ls -d /proc/$PPID/root/etc 2>&1 | grep -c denied; ls /sys/class/net'
    out_has '^same$'
    out_has '^4$' # 0, 1, 2 and ls's own
    out_has '^pipe$'
    out_has '^lo$'
    out_lacks 'null'
    out_lacks "jobbox-init"
    local ns
    for ns in mnt pid net ipc uts cgroup; do
        execute "$id" -- readlink "/proc/self/ns/$ns"
        [ "$(cat out)" != "$(readlink /proc/self/ns/$ns)" ] || fail "the $ns namespace is the host's"
    done
}

@test "reproducible: the environment of a command is sorted too" {
    create 'reproducible: true' 'env: { MIDDLE: 1 }'
    execute -e ZZZ=1 -e AAA=2 "$id" env
    exits 0
    out_has '^AAA=2$'
    LC_ALL=C sort -c out || fail "it is not sorted"
}

@test "several at once, and each its own streams and end" {
    create
    local i pids=()
    for ((i = 1; i <= 32; i++)); do # as many as may be
        jb exec "$id" -- sh -c "echo $i; sleep 0.2; echo $i; exit $i" >"out.$i" 2>"err.$i" </dev/null &
        pids+=($!)
    done
    for ((i = 1; i <= 32; i++)); do
        code=0
        wait "${pids[$((i - 1))]}" || code=$?
        [ "$code" = "$i" ] || fail "exit code $code, expected $i: $(<"err.$i")"
        [ "$(sort -u "out.$i")" = "$i" ] || fail "streams of $i are mixed: $(cat "out.$i")"
    done
    destroy
    destroyed 'len(execs) == 32' 'sorted(e.exit_code for e in execs) == list(range(1, 33))'
}

@test "a signal to the client goes to the command; a client that is gone ends it" {
    create 'limits: { grace: 1s }'
    start_exec 'trap "echo caught; exit 5" TERM; echo ready; while :; do sleep 0.05; done'
    until_true 10 says ready
    kill -TERM "$client"
    end_exec
    exits 5
    out_has caught
    start_exec 'trap "" TERM; echo again; sleep 321'
    until_true 10 says again
    kill -KILL "$client"
    end_exec
    no_sleep()
    {
        execute "$id" -- ps -o args
        ! grep -q 'sleep 321' out
    }
    until_true 10 no_sleep
    destroy
    destroyed 'execs[0].exit_code == 5' 'execs[1].reason == "cancelled"' 'execs[1].signal == 9'
}

@test "a signal to the client is not lost that comes before the command has begun" {
    create
    local pid
    pid=$(jb ps --json | grep -o '"pid": [0-9]*' | cut -d' ' -f2)
    kill -STOP "$pid"
    start_exec 'sleep 20'
    # it takes signals by now, and passes them on when it has asked for its command
    until_true 10 grep -qE '^SigBlk:.*[4567c-f]...$' "/proc/$client/status" || kill -CONT "$pid"
    kill -TERM "$client"
    sleep 0.2
    kill -CONT "$pid"
    end_exec
    exits 143
    destroy
    destroyed 'execs[0].signal == 15'
}

@test "the grace of a command whose client is gone is not longer by a pause" {
    create 'limits: { grace: 500ms }'
    start_exec 'trap "" TERM; echo ready; while :; do sleep 0.05; done'
    until_true 10 says ready
    jb pause "$id"
    sleep $((4 * JBT_SLOWER))
    kill -KILL "$client"
    end_exec
    sleep 0.3
    jb resume "$id"
    alone()
    {
        execute "$id" -- ps -o args
        ! grep -q 'trap' out
    }
    until_true 2 alone
}

@test "--timeout ends the command and what it started, and not the box" {
    create 'limits: { grace: 200ms }'
    execute --timeout 300ms "$id" -- sh -c 'trap "" TERM; sleep 321 & sleep 321'
    exits 120
    execute "$id" -- ps -o args
    exits 0
    out_lacks 'sleep 321'
}

@test "a command that kills its own reaper is ended all the same" {
    create
    # shellcheck disable=SC2016
    execute "$id" -- sh -c '(setsid sleep 321 &) ; kill -9 $PPID; sleep 321'
    exits 124
    execute "$id" -- ps -o args
    out_lacks 'sleep 321'
    destroy
    destroyed 'execs[0].reason == "box_error"' 'execs[0].left_processes is False'
}

@test "limits are those of the box as a whole" {
    create 'limits: { wall_time: 1s, grace: 100ms }'
    execute "$id" -- sleep 321
    exits 120
    recorded 1
    record 'end.reason == "timeout"' 'execs[0].reason == "timeout"'

    create 'limits: { output: 64KiB }'
    execute "$id" -- sh -c 'dd if=/dev/zero bs=4096 count=100 2>/dev/null'
    exits 122
    [ "$(wc -c <out)" = 65536 ] || fail "$(wc -c <out) bytes came through"
    recorded 2
    record 'end.reason == "output_limit"' 'output.truncated is True'
}

@test "out of memory in a command is the end of the box" {
    create
    execute "$id" -- sh -c 'x=aaaaaaaaaaaaaaaa; while :; do x=$x$x$x; done'
    exits 121
    recorded 1
    record 'end.reason == "oom"' 'execs[0].reason == "oom"'
}

@test "ps, pause, resume, signal, update, cancel and show work on it" {
    create
    jb ps >out
    out_has "^$id  running"
    start_exec 'trap "echo one" USR1; echo ready; while :; do sleep 0.05; done'
    until_true 10 says ready
    jb signal "$id" USR1
    until_true 10 says one
    jb update "$id" --memory 80MiB
    jb pause "$id"
    execute "$id" true
    exits 124
    err_has 'paused'
    jb resume "$id"
    jb cancel "$id"
    end_exec
    exits 123
    recorded 1
    record 'end.reason == "cancelled"' 'granted.memory_bytes == 80 << 20' 'execs[0].reason == "cancelled"'
    jb show --events "$(show rec.id)" >out
    out_has ' exec  '
    out_has ' exec_ended '
}

@test "what is destroyed asks first, waits for the grace, and keeps the exit code it is given" {
    create 'limits: { grace: 5s }'
    start_exec 'trap "echo bye; exit 3" TERM; echo ready; while :; do sleep 0.05; done'
    until_true 10 says ready
    destroy --exit-code 3
    exits 0
    end_exec
    exits 3
    out_has bye
    destroyed 'end.reason == "failed"' 'end.exit_code == 3' 'execs[0].exit_code == 3'
}

@test "--user: root may execute as others, but not as root in a box that is not root's" {
    needs_root "only root may run a job as somebody else"
    create 'user: "1234:77"' 'env: { USER: job }'
    execute "$id" -- id -u
    out_is 1234
    execute --user 4321:99 "$id" -- sh -c 'id -u; id -g; (setsid sleep 321 &)'
    exits 0
    out_is "4321
99"
    execute "$id" -- env
    out_has '^USER='
    execute --user 4321:99 --env LOGNAME=so "$id" -- env
    ! grep '^USER=' out || fail "he is called as somebody else"
    out_has '^LOGNAME=so$'
    out_has '^HOME='
    execute --user 0 "$id" -- id -u
    exits 124
    one_error 'root, or its group, enters only a box that was made for it'
    execute --user 12x "$id" -- id -u
    exits 125
    destroy
    destroyed 'execs[1].uid == 4321'
}

@test "an ordinary user's commands are nobody else's" {
    be_user
    create
    execute --user 0 "$id" -- id -u
    exits 124
    one_error 'no other user'
    local other=$((ORDINARY + 1))
    cp "$T/jobbox" "$T/j2"
    chmod 755 "$T/home" "$T/home/run"
    code=0
    timeout $((20 * JBT_SLOWER)) setpriv --reuid $other --regid $other --clear-groups env XDG_RUNTIME_DIR="$T/home/run" "$T/j2" exec \
        -c site.user "$id" id >out 2>err || code=$?
    [ "$code" != 0 ] || fail "somebody else executed a command in it"
}

@test "a terminal of its own with --tty" {
    command -v script >/dev/null || skip "needs script(1)"
    create
    env "$MARK" script -qec "stty rows 33 cols 77; $JOBBOX exec -t -c $CONF $id -- sh -c 'tty; stty size; exit 4'" /dev/null >out </dev/null || code=$?
    exits 4
    out_has '/dev/pts/0'
    out_has '33 77'
}

@test "a supervisor that is killed leaves a box to recover, with the commands it had run" {
    create
    execute "$id" -- sh -c 'exit 3'
    local pid
    start_exec 'sleep 321'
    pid=$(jb ps --json | grep -o '"pid": [0-9]*' | cut -d' ' -f2)
    until_true 10 grep -q '"exec":2' "$T/run/boxes/$id/box.jsonl"
    kill -9 "$pid"
    end_exec
    exits 124
    sweep
    id=
    record 'end.reason == "supervisor_lost"' '[e.exit_code for e in execs] == [3, None]' 'execs[1].ended is None'
}

@test "what cannot be created is refused at once, with the reason, and leaves nothing" {
    printf '%s\n' 'resources: { cpus: 4000 }' | spec
    code=0
    jb create job.yaml >out 2>err || code=$?
    exits 124
    out_is ""
    printf '%s\n' 'resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }' 'mounts: [{ source: /nosuch, target: /data }]' | spec
    code=0
    jb create job.yaml >out 2>err || code=$?
    exits 124
    one_error '/nosuch'
    out_is ""
    printf '%s\n' 'nonsense: 1' | spec
    code=0
    jb create job.yaml >out 2>err || code=$?
    exits 125
    printf '%s\n' 'image: host' | spec
    code=0
    jb run job.yaml >out 2>err || code=$?
    exits 125
    err_has 'say what to run'
    jb exec 0123 true >out 2>err || code=$?
    exits 124
}

@test "creating holds none of the caller's descriptors, and ends with a caller that is killed" {
    # were the pipe held, this would wait until the box ends
    create
    local got
    got=$(exec 9>&1; create >/dev/null; echo "$id" >&9)
    [ -n "$got" ] || fail "no id"
    jb destroy -q "$got"
    destroy
    exits 0
}
