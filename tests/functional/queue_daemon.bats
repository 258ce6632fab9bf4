#!/usr/bin/env bats
# The daemon of the queue: clients that it has to bear, metrics, its configuration and its program replaced.

load lib
load queue

setup_file() { file_setup; }
teardown_file() { file_teardown; }

@test "hostile and clumsy clients: half a request, too long ones, nonsense, none who reads; the others do not notice" {
    site_config "env: { JBT_MARK: $T }"
    start_daemon
    /usr/bin/python3 "$HERE/queue_clients.py" "$T/run/jobboxd.sock" || fail "see above"
    job fine 'echo fine'
    q submit --wait -q fine.yaml >out
    out_is 1
}

@test "metrics: over the socket by HTTP and as a file" {
    start_daemon --exporter "$T/metrics.prom"
    job fine true
    q submit --wait -q fine.yaml >/dev/null
    /usr/bin/python3 -c '
import socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); s.sendall(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
print(b"".join(iter(lambda: s.recv(65536), b"")).decode())' "$T/run/jobboxd.sock" >out
    out_has '^HTTP/1.0 200 OK'
    out_has '^jobbox_queue_started_total 1$'
    out_has '^jobbox_queue_ended_total\{reason="completed"\} 1$'
    [ -s metrics.prom ]
}

file_has() { grep -qE -- "$2" "$1"; }
drop_gate() { touch gate/stop; }

# begin_long: job 1 runs until drop_gate, under this test's daemon.
begin_long()
{
    mkdir -m 777 gate
    job long 'echo begun; while [ ! -e /work/stop ]; do sleep 0.1; done' "mounts: [{ source: $T/gate, target: /work, mode: rw }]"
    q submit -q long.yaml >/dev/null
    until_true 20 log_has begun
}

@test "HUP: a site config with faults is told and not taken, the one before goes on to hold; a good one is taken" {
    needs_root "asks as another user"
    site_config "env: { JBT_MARK: $T }" "queue: { private: true }"
    start_daemon
    begin_long
    local pid before
    pid=$(daemon_pid)
    before=$(cat "$CONF")
    install -m 755 "$JOBBOX" jobbox
    site_config "env: { JBT_MARK: $T }" "queue: { private: perhaps }"
    kill -HUP "$pid"
    until_true 20 file_has daemon.out 'site.yaml:[0-9]+:[0-9]+: queue.private'
    until_true 20 file_has daemon.out 'the one before goes on to hold'
    [ "$(daemon_pid)" = "$pid" ]
    printf '%s\n' "$before" >"$CONF" # what clients read
    state_is 1 running
    [ -z "$(as 1 ./jobbox ps --all --config "$CONF")" ] || fail "it is not private any more"
    site_config "env: { JBT_MARK: $T }" "queue: { private: false }"
    kill -HUP "$pid"
    until_true 20 shown_to_others
    [ "$(daemon_pid)" = "$pid" ] || fail "another process"
    state_is 1 running
    drop_gate
    q wait -q 1
    [ "$(records)" = 1 ]
}

shown_to_others() { [ -n "$(as 1 ./jobbox ps --all --config "$CONF")" ]; }

@test "HUP after an upgrade begins the new program, by the name that it was started as; what runs is adopted" {
    mkdir bin
    cp "$JOBBOX_BUILD/jobboxd" bin/jobboxd
    (cd bin && env "$MARK" ./jobboxd --config ../site.yaml >../daemon.out 2>&1 </dev/null 3>&- & )
    until_true 20 listens || fail "$(cat daemon.out)"
    begin_long
    local pid
    pid=$(daemon_pid)
    rm bin/jobboxd
    kill -HUP "$pid" # it has only itself
    until_true 20 file_has daemon.out 'the program that ran so far goes on'
    until_true 20 listens || fail "$(cat daemon.out)"
    state_is 1 running
    printf '#!/bin/sh\necho upgraded >>"%s"\nexec "%s" "$@"\n' "$T/upgraded" "$JOBBOX_BUILD/jobboxd" >bin/new
    chmod 755 bin/new
    mv bin/new bin/jobboxd
    kill -HUP "$pid"
    until_true 20 [ -s upgraded ]
    until_true 20 listens || fail "$(cat daemon.out)"
    [ "$(daemon_pid)" = "$pid" ] || fail "another process"
    state_is 1 running
    drop_gate
    q wait -q 1
    [ "$(records)" = 1 ]
}

# counts N FILE: what is there so far ends with that number.
counts() { [ "$(tail -n 1 "$2")" = "$1" ]; }

@test "logs -f and submit --watch go on with the next daemon: every line once" {
    mkdir -m 777 gate
    start_daemon
    job count 'i=0; while [ ! -e /work/stop ]; do i=$((i + 1)); echo $i; echo e$i >&2; until [ -e /work/$i ]; do sleep 0.05; done; done' \
        "mounts: [{ source: $T/gate, target: /work, mode: rw }]"
    q submit --watch count.yaml >watched 2>watched.err 3>&- &
    started+=("$!")
    until_true 20 counts 1 watched
    q logs -f 1 >followed 2>followed.err 3>&- &
    started+=("$!")
    until_true 20 counts 1 followed
    local i pid
    for i in 1 2; do
        if [ "$i" = 1 ]; then kill_daemon; else stop_daemon; fi
        touch "gate/$i" # written while there is nobody to read it
        start_daemon
        until_true 20 counts $((i + 1)) followed
        until_true 20 counts $((i + 1)) watched
    done
    drop_gate
    touch gate/3
    for pid in "${started[@]}"; do
        code=0
        wait "$pid" || code=$?
        exits 0
    done
    started=()
    diff <(seq 3) followed
    diff <(seq 3) <(grep -x '[0-9]*' watched)
    diff <(printf 'e%s\n' 1 2 3) <(grep '^e' followed.err)
}

full() { cat /dev/zero >state/fill 2>/dev/null || true; }
goes_on() { q submit -q --wait fine.yaml >out 2>err; }

@test "a full disk: whoever asks is told, the daemon stays, and goes on when there is room" {
    needs_root "mounts a small file system"
    mkdir -m 700 state
    mount -t tmpfs -o size=4m,mode=700 small state
    start_daemon
    local pid
    pid=$(daemon_pid)
    job fine true
    begin_long
    q wait -q 1 2>wait.err 3>&- &
    local waiter=$!
    started+=("$waiter")
    full
    code=0
    q submit fine.yaml >out 2>err || code=$?
    exits 124
    err_has 'nothing was done: .*full'
    code=0
    q submit fine.yaml >out 2>err || code=$?
    exits 124
    err_has '(cannot go on|nothing was done): .*full'
    rm state/fill
    until_true 30 goes_on
    [ "$(daemon_pid)" = "$pid" ] || fail "another process"
    state_is 1 running
    drop_gate
    code=0
    wait "$waiter" || code=$?
    [ "$code" = 0 ] || fail "who waited ends with $code: $(cat wait.err)"
    stop_daemon
    umount state
}

@test "a store that cannot be read: the daemon tries again, whoever sends or signals what; who waits is told once and goes on" {
    start_daemon
    begin_long
    local pid feeder waiter
    pid=$(daemon_pid)
    mkdir kept
    mv state/queue.db* kept/
    echo 'this is no database, and there is enough of it to be told from an empty file' >state/queue.db
    kill -HUP "$pid"
    until_true 20 file_has daemon.out 'queue.db'
    code=0
    q ps >out 2>err || code=$?
    exits 124
    one_error 'jobboxd cannot go on: .*queue.db.*tries again every few seconds'
    (sleep 3 && kill -HUP "$pid") & # in the midst of its waiting
    started+=("$!")
    # one that sends and sends
    /usr/bin/python3 -c '
import socket, sys, time
while True:
    s = socket.socket(socket.AF_UNIX)
    try:
        s.connect(sys.argv[1])
        for _ in range(10000):
            s.sendall(b"x" * 4096)
            time.sleep(0.01)
    except OSError:
        time.sleep(0.01)' "$T/run/jobboxd.sock" 3>&- &
    feeder=$!
    started+=("$feeder")
    q wait -q 1 2>wait.err 3>&- &
    waiter=$!
    started+=("$waiter")
    until_true 20 file_has wait.err 'cannot go on'
    mv kept/queue.db* state/
    until_true 20 listens
    kill "$feeder"
    [ "$(daemon_pid)" = "$pid" ] || fail "another process"
    state_is 1 running
    drop_gate
    code=0
    wait "$waiter" || code=$?
    [ "$code" = 0 ] || fail "who waited ends with $code: $(cat wait.err)"
    [ "$(wc -l <wait.err)" = 1 ] || fail "$(cat wait.err)"
}

@test "a full disk when a job is due: the daemon waits between its tries, and TERM ends it at once" {
    needs_root "mounts a small file system"
    mkdir -m 700 state
    mount -t tmpfs -o size=4m,mode=700 small state
    start_daemon
    local pid tries
    pid=$(daemon_pid)
    job fine true "begin: now+2s"
    q submit -q fine.yaml >/dev/null
    full
    until_true 20 file_has daemon.out full
    sleep 6
    tries=$(grep -c full daemon.out)
    [ "$tries" -le 5 ] || fail "it tried $tries times"
    kill "$pid"
    until_true 3 no_daemon
    rm state/fill
    start_daemon
    until_true 20 state_is 1 done
    stop_daemon
    umount state
}

@test "a job that is being ended keeps its grace when the daemon begins anew; a second cancel takes it" {
    start_daemon
    job stubborn 'trap "echo asked" TERM; echo begun; while :; do sleep 0.1 || :; done' "limits: { grace: 5m }"
    q submit -q stubborn.yaml >/dev/null
    until_true 20 log_has begun
    q cancel 1
    until_true 20 log_has asked
    kill -HUP "$daemon"
    sleep 2
    listens || fail "$(cat daemon.out)"
    kill_daemon
    start_daemon
    sleep 2
    state_is 1 running || fail "its grace was taken from it"
    [ "$(q logs 1 | grep -c asked)" = 1 ] || fail "it was asked twice"
    q cancel 1
    until_true 20 state_is 1 done
    record "rec['end']['reason'] == 'cancelled'"
}

@test "a limit of open files is raised for the daemon, never lowered, and jobs keep what they had" {
    (ulimit -Hn 100000) 2>/dev/null || skip "needs a hard limit of 100000 open files"
    local soft
    for soft in 70000 1024; do
        ulimit -Hn 100000 # one by one: together each would set both
        ulimit -Sn "$soft"
        start_daemon
        awk '/^Max open files/ { print $4 }' "/proc/$(daemon_pid)/limits" >soft.now
        [ "$(cat soft.now)" = "$((soft > 65536 ? soft : 65536))" ] || fail "$soft became $(cat soft.now)"
        q submit --watch --threads 1 --image "$IMAGE" -- sh -c 'ulimit -Sn' >out
        out_has "^$soft\$"
        stop_daemon
    done
}

# --- the machine -------------------------------------------------------------------------------------------------------

has_cpus() { q stats --json | tee stats | /usr/bin/python3 -c 'import json, sys; sys.exit(json.load(sys.stdin)["cpus"] != '"$1"')'; }

@test "CPUs that the site reserves are not there for the queue: who waits for the others is not tried in vain" {
    needs_cpus 2
    local first
    first=$(/usr/bin/python3 -c 'import os; print(min(os.sched_getaffinity(0)))')
    site_config "env: { JBT_MARK: $T }" "reserved_cpus: \"$first\""
    q submit -q --threads "$(($(nproc) - 1))" --image "$IMAGE" -- sleep 1000 >/dev/null

    until_true 20 state_is 1 running
    has_cpus $(($(nproc) - 1))
    job second true
    q submit -q second.yaml >/dev/null
    sleep 0.5
    q explain --job 2 >out
    out_has 'not enough CPUs are free'
    q show --json 2 >out
    ! grep -q refused out || fail "it was tried: $(cat out)"
    q cancel 1 >/dev/null
    q wait -q 2
}

@test "the CPUs of the place of jobs change: the daemon sees it when somebody waits" {
    needs_root "makes a cpuset"
    needs_v1 cpuset
    needs_cpus 2
    local own parent all only
    own=$(own_cgroup cpuset)
    parent=$own/jbt-parent
    PLACE=$parent
    mkdir "$parent"
    all=$(cat "$own/cpuset.cpus")
    only=$(/usr/bin/python3 -c 'import os; print(max(os.sched_getaffinity(0)))')
    echo "$only" >"$parent/cpuset.cpus"
    cat "$own/cpuset.mems" >"$parent/cpuset.mems"
    site_config "env: { JBT_MARK: $T }"
    sed -i "s|cgroup_parent: [^ }]*|cgroup_parent: ${parent#"$(awk '$3 == "cgroup" && ("," $4 ",") ~ ",cpuset," { print $2; exit }' /proc/mounts)"}|" "$CONF"
    job waits true 'allow_degraded: [memory, pids, cpu, io]'
    q submit -q --hold waits.yaml >/dev/null
    has_cpus 1 || fail "$(cat stats)"
    echo "$all" >"$parent/cpuset.cpus"
    until_true 30 has_cpus "$(nproc)"
    sed "s|cpus: 1|cpus: $(nproc)|" waits.yaml >all.yaml
    q submit -q --wait all.yaml
}
