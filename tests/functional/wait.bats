#!/usr/bin/env bats
# jobbox run --wait: order of arrival, its end by time, signal or kill -9, and no CPU given away while it is in use.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    needs_cpus 2
    test_setup
    mkdir bin share
    cp "$FILE_DIR/probe" bin/probe
    MOUNTS="mounts: [{ source: $T/bin, target: /probe }, { source: $T/share, target: /share, mode: rw }]"
    ALL="resources: { cpus: $(nproc), cpu_unit: thread }"
    ONE="resources: { cpus: 1, cpu_unit: thread }"
    declare -gA pid=()
}

teardown() { test_teardown; }

# job NAME RESOURCES SCRIPT: NAME.yaml.
job()
{
    script "$3" "name: $1" "$2" "$MOUNTS"
    mv job.yaml "$1.yaml"
}

# go NAME [OPTION...]: NAME.yaml in the background; its output is NAME.out and NAME.err, its process ${pid[NAME]}.
go()
{
    local name=$1
    shift
    # background processes of a shell ignore INT and QUIT, below nohup HUP too: given back
    env --default-signal=INT,QUIT,HUP "$MARK" "$JOBBOX" run --config "$CONF" "$@" "$name.yaml" >"$name.out" 2>"$name.err" \
        </dev/null 3>&- &
    pid[$name]=$!
    started+=($!)
}

# ended NAME: waits for it. Sets `code`.
ended()
{
    code=0
    wait "${pid[$1]}" || code=$?
}

waits() { grep -q '^jobbox: waiting: ' "$1.err"; }
ready() { grep -q ready "$1.out"; }

# in_line NAME [OPTION...]: starts it and sees it in line.
in_line()
{
    go "$1" --wait "${@:2}"
    until_true 10 waits "$1" || fail "$(cat "$1.err")"
}

# holder [RESOURCES]: takes all CPUs, or RESOURCES, until it gets TERM.
holder()
{
    job holder "${1:-$ALL}" 'echo ready; sleep 100'
    go holder
    until_true 10 ready holder || fail "$(cat holder.err)"
}

let_go()
{
    kill -TERM "${pid[holder]}"
    ended holder
    exits 123
}

# Names of those who had to wait, in the order in which they came, and in that in which they got their CPUs.
by_time()
{
    "$HERE/record" --print "$(last_journal)" "' '.join(r['name'] for r in sorted((__import__('json').loads(l) for l in lines),
        key=lambda r: r['times']['$1']) if r['times']['wait_s'] > 0)"
}

nobody_in_line()
{
    [ "$(stat -c %s run/waitline)" = 0 ] || fail "tickets are left: $(stat -c %s run/waitline) bytes"
}

@test "CPUs go to those who wait in order of arrival, and the record says how long it took" {
    holder
    local name
    for name in a b c d; do
        job $name "$ONE" 'cat /proc/uptime >/dev/null'
        in_line $name
    done
    grep -q 'held by .*(holder, uid 0) CPUs' a.err || fail "$(cat a.err)"
    grep -q 'before it wait .*(a, uid 0) 1 thread; .*(b, uid 0) 1 thread' c.err || fail "$(cat c.err)"
    [ "$(wc -l <a.err)" = 1 ]
    let_go
    for name in a b c d; do
        ended $name
        exits 0
    done
    [ "$(by_time submitted)" = "a b c d" ] || fail "came: $(by_time submitted)"
    [ "$(by_time setup_started)" = "a b c d" ] || fail "served: $(by_time setup_started)"
    grep '"name":"d"' "$(last_journal)" >d.jsonl
    "$HERE/record" d.jsonl 'times.wait_s > 0' 'times.submitted == times.eligible' \
        'times.setup_started > times.submitted' || fail "the times of d"
    /usr/bin/python3 - d.jsonl <<'END' || fail "what it waited is not the time until it began: $(cat d.jsonl)"
import json, sys
from datetime import datetime as d
t = json.load(open(sys.argv[1]))["times"]
at = {k: d.fromisoformat(t[k].rstrip("Z")) for k in ("eligible", "setup_started")}
sys.exit(abs((at["setup_started"] - at["eligible"]).total_seconds() - t["wait_s"]) > 0.001)
END
    nobody_in_line
}

@test "--quiet waits without a word, and nothing is waited for when the CPUs are free" {
    script true "$ONE"
    code=0
    jobbox run --config "$CONF" --wait job.yaml >out 2>err || code=$?
    exits 0
    ! grep -q waiting err || fail "$(cat err)"
    record 'times.wait_s == 0' 'times.submitted == times.setup_started'
    [ ! -e run/waitline ]
    holder
    job w "$ONE" true
    go w --wait -q
    until_true 10 test -s run/waitline
    let_go
    ended w
    exits 0
    [ ! -s w.err ] || fail "$(cat w.err)"
}

@test "time is up: 124 and one line that names who holds what and how long it waited; 0 does not wait" {
    holder
    job w "$ONE" true
    code=0
    jobbox run -q --config "$CONF" --wait=300ms w.yaml >out 2>err || code=$?
    exits 124
    one_error '^jobbox: waited [34][0-9]*ms: .*w.yaml: cpus: 1 thread wanted, none free now; held by .*\(holder, uid 0\) CPUs '
    nobody_in_line
    code=0
    jobbox run -q --config "$CONF" --wait=0 w.yaml >out 2>err || code=$?
    exits 124
    one_error '^jobbox: [^ ]*w.yaml: cpus: 1 thread wanted'
    local bad
    for bad in soon -1 1x ""; do
        code=0
        jobbox run -q --config "$CONF" "--wait=$bad" w.yaml >out 2>err || code=$?
        exits 125
    done
    let_go
    [ "$(records)" = 1 ]
}

@test "what can never be had is refused at once, also behind others" {
    holder
    job w "$ONE" true
    in_line w
    job never "resources: { cpus: $(($(nproc) + 1)), cpu_unit: thread }" true
    go never --wait
    ended never
    exits 124
    grep -q 'jobs here may use' never.err || fail "$(cat never.err)"
    ! waits never
    let_go
    ended w
    exits 0
}

@test "nobody overtakes: one who does not wait is refused while others wait, and one who does comes after them" {
    holder "$ONE"
    job all "$ALL" true
    in_line all
    job late "$ONE" true
    go late
    ended late
    exits 124
    grep -q 'late.yaml: what it wants is free, but before it waits .*(all, uid 0) .* threads; get in line with --wait' \
        late.err || fail "$(cat late.err)"
    in_line late
    let_go
    ended all
    exits 0
    ended late
    exits 0
    [ "$(by_time setup_started)" = "all late" ]
}

@test "INT, TERM, HUP and QUIT while it waits: 123, no record, out of the line" {
    holder
    local sig
    for sig in INT TERM HUP QUIT; do
        job first "$ONE" true
        job second "$ONE" true
        in_line first
        in_line second
        kill -$sig "${pid[second]}"
        ended second
        exits 123
        grep -q "second.yaml: cancelled by SIG$sig while it waited; nothing was started" second.err ||
            fail "$(cat second.err)"
        kill -$sig "${pid[first]}"
        ended first
        exits 123
        [ "$(ls run/boxes | wc -l)" = 1 ]
        nobody_in_line
    done
    let_go
    [ "$(records)" = 1 ]
}

@test "USR1 and a signal that the starter ignores do not end the wait" {
    holder
    job w "$ONE" 'echo ran'
    env --ignore-signal=HUP "$MARK" "$JOBBOX" run --config "$CONF" --wait w.yaml >w.out 2>w.err </dev/null 3>&- &
    pid[w]=$!
    started+=($!)
    until_true 10 waits w
    kill -USR1 "${pid[w]}"
    kill -HUP "${pid[w]}"
    let_go
    ended w
    exits 0
    [ "$(cat w.out)" = ran ]
}

@test "kill -9 of those who wait, in front, in the middle and at the end: the others move up" {
    holder
    local name
    for name in a b c d e; do
        job $name "$ONE" true
        in_line $name
    done
    kill -9 "${pid[c]}" "${pid[a]}" "${pid[e]}"
    let_go
    for name in b d; do
        ended $name
        exits 0
    done
    [ "$(by_time setup_started)" = "b d" ]
    # tickets of the dead are no obstacle and go with the next look
    script true "$ONE"
    run_job
    exits 0
    nobody_in_line
    [ "$(records)" = 4 ]
}

# bats test_tags=slow
@test "kill -9 of the holder: the first in line clears its box away and then has the CPU for itself" {
    local round cpu
    cpu=$(awk '/^Cpus_allowed_list/ { print $2 + 0 }' /proc/self/status)
    for round in 1 2 3 4 5; do
        rm -f share/*
        # much memory takes a while to die, on that CPU
        job holder "resources: { cpu_set: \"$cpu\", cpu_unit: thread, memory: 512MiB }" \
            'exec /probe/probe alone 100 /share 400000000'
        go holder
        until_true 10 test -e "share/cpu$cpu"
        job w "resources: { cpu_set: \"$cpu\", cpu_unit: thread, memory: 32MiB }" '/probe/probe alone 0.05 /share'
        in_line w
        kill -9 "${pid[holder]}"
        # long before anybody would look without an event
        until_true 2 test ! -e "/proc/${pid[w]}"
        ended w
        [ ! -e "share/clash$cpu" ] || fail "the CPU was given away while a process of the dead box was on it"
        exits 0
        [ "$(records)" = $((round * 2)) ]
    done
    [ "$(grep -c supervisor_lost "$(last_journal)")" = 5 ]
}

@test "among two hundred live boxes a dead one is found when it is in the way" {
    local round
    holder
    mkfifo held
    env "$MARK" "$JOBBOX_BUILD/tests/functional/hold_boxes" "$T/run" 200 4000 <held >boxes.out 2>boxes.err 3>&- &
    pid[boxes]=$!
    started+=($!)
    exec 5>held
    until_true 20 grep -q ready boxes.out || fail "$(cat boxes.err)"
    for round in 1 2 3 4 5; do # which locks a start tests is by chance
        script 'echo ran' "$ONE"
        kill -9 "${pid[holder]}"
        ended holder
        run_job
        exits 0
      [ "$(cat out)" = ran ]
        [ "$(records)" = $((round * 2)) ]
        [ "$round" = 5 ] || holder
    done
    exec 5>&-
    ended boxes
    exits 0
}

@test "who waits sleeps: hardly a context switch in three seconds, first in line or behind" {
    holder
    local name before=() i
    for name in a b; do
        job $name "$ONE" true
        in_line $name
    done
    sleep 0.5 # what is left of its getting in line
    switches() { awk '/ctxt_switches/ { n += $2 } END { print n }' "/proc/${pid[$1]}"/task/*/status; }
    used() { awk '{ print $14 + $15 }' "/proc/${pid[$1]}/stat"; }
    before=("$(switches a)" "$(switches b)" "$(used a)" "$(used b)")
    sleep 3
    i=0
    for name in a b; do
        [ $(($(switches $name) - before[i])) -lt 10 ] || fail "$name: $(($(switches $name) - before[i])) context switches"
        [ $(($(used $name) - before[i + 2])) -le 1 ] || fail "$name used the CPU"
        i=$((i + 1))
    done
    let_go
    ended b
    exits 0
    ended a
}

@test "sixty at once, one core each: no two on a CPU, all finish, in order of arrival" {
    local i
    holder # until a line is there: a slow machine starts them no faster than they end
    for i in $(seq 60); do
        job "j$i" "resources: { cpus: 1, memory: 32MiB }" '/probe/probe alone 0.05 /share'
        go "j$i" --wait=50s
    done
    until_true 10 waits j50
    let_go
    for i in $(seq 60); do
        ended "j$i"
        [ "$code" = 0 ] || fail "j$i: exit code $code: $(cat "j$i.err")"
    done
    [ -z "$(find share -name 'clash*')" ] || fail "two on one CPU: $(ls share)"
    [ "$(records)" = 61 ]
    [ "$(by_time submitted)" = "$(by_time setup_started)" ] || fail "not in order"
    [ "$(by_time submitted | wc -w)" -ge 40 ] || fail "hardly anybody had to wait"
    nobody_in_line
}

@test "sixty at once and a third of them killed -9: no two on a CPU, the others finish in order" {
    local i seed=${JOBBOX_TEST_SEED:-$(date +%s)} killed=()
    RANDOM=$seed
    echo "# seed $seed (JOBBOX_TEST_SEED)" >&3
    holder # until a line is there; from then on the killed are in line or in their jobs
    for i in $(seq 60); do
        job "j$i" "resources: { cpus: 1, memory: 32MiB }" '(setsid /probe/probe alone 0.1 /share >/dev/null 2>&1 &)
/probe/probe burn 0.05'
        go "j$i" --wait=50s
        if [ $((i % 3)) = 0 ]; then
            { sleep "0.$((RANDOM % 6))$((RANDOM % 10))" && kill -9 "${pid[j$i]}"; } 2>/dev/null 3>&- &
            killed+=($!)
        fi
        [ "$i" != 20 ] || let_go
    done
    for i in $(seq 60); do
        ended "j$i"
        [ "$code" = 0 ] || [ "$code" = 137 ] || fail "j$i: exit code $code: $(cat "j$i.err")"
        [ "$code" = 0 ] || : >"share/lost$i"
    done
    wait "${killed[@]}" || true
    [ "$(find share -name 'lost*' | wc -l)" -ge 5 ] || fail "hardly anybody was killed in time"
    [ -z "$(find share -name 'clash*')" ] || fail "two on one CPU: $(ls share)"
    sweep >/dev/null
    [ "$(by_time submitted)" = "$(by_time setup_started)" ] || fail "not in order"
    # all CPUs are back
    script true "$ALL"
    run_job
    exits 0
    nobody_in_line
}

@test "an ordinary user waits in a line of his own" {
    user_setup
    holder
    script 'echo mine' "name: mine" "allow_degraded: [cpuset, memory, pids]" "$ALL"
    sed 's/echo mine/echo ready; sleep 100/' job.yaml >long.yaml
    chmod 644 ./*.yaml
    "${AS_USER[@]}" ./jobbox run -q long.yaml >long.out 2>long.err </dev/null 3>&- &
    pid[long]=$!
    started+=($!)
    until_true 10 ready long || fail "$(cat long.err)"
    "${AS_USER[@]}" ./jobbox run --wait job.yaml >w.out 2>w.err </dev/null 3>&- &
    pid[w]=$!
    started+=($!)
    until_true 10 waits w || fail "$(cat w.err)"
    grep -q "held by .*uid $ORDINARY" w.err || fail "$(cat w.err)"
    kill -TERM "${pid[long]}"
    ended w
    exits 0
    [ "$(cat w.out)" = mine ]
    let_go
}

# bats test_tags=slow
@test "on a terminal the line is written over and goes; with --tty the keys work while it waits" {
    command -v python3 >/dev/null || skip "needs python3"
    holder
    job w "$ONE" 'echo ran'
    cat >terminal.py <<'PY'
import os, pty, signal, sys, time
holder, keys, command = int(sys.argv[1]), sys.argv[2] == "keys", sys.argv[3:]
child, master = pty.fork()
if child == 0:
    os.execv(command[0], command)
seen, acted = b"", False
while True:
    try:
        got = os.read(master, 4096)
    except OSError:
        break
    if not got:
        break
    seen += got
    if not acted and b"waiting: " in seen:
        acted = True
        if keys:
            time.sleep(0.2)
            os.write(master, b"\x03")
        else:
            os.kill(holder, signal.SIGTERM)
sys.stdout.buffer.write(seen)
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
PY
    code=0
    env "$MARK" timeout 30 python3 terminal.py "${pid[holder]}" keys "$JOBBOX" run --config "$CONF" --tty --wait w.yaml \
        >out 2>err || code=$?
    exits 123
    code=0
    env "$MARK" timeout 30 python3 terminal.py "${pid[holder]}" end "$JOBBOX" run --config "$CONF" --wait w.yaml \
        >out 2>err || code=$?
    exits 0
    tr '\r' '\n' <out | grep -q $'^\033\[Kran\|^\033\[K$' || fail "the line stays: $(od -c out | head -40)"
    ended holder
    exits 123
}
