#!/usr/bin/env bats
# jobbox in the foreground of a terminal with job control: what the keys, the window and its end do.
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

# in_shell STEP... [-- OPTION...]: jobbox run in the foreground of a shell; see terminal. Fails where a step does.
in_shell()
{
    local steps=()
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        steps+=("$1")
        shift
    done
    [ $# -eq 0 ] || shift
    timeout -k 5 $((90 * JBT_SLOWER)) "$HERE/terminal" "${steps[@]}" -- \
        env "$MARK" "$JOBBOX" run -q --config "$CONF" "$@" "$T/job.yaml" >"$T/pty.out" 2>&1 || fail "$(cat "$T/pty.out")"
}

events()
{
    cat "$T"/state/events/*.jsonl
}

recorded()
{
    [ "$(records)" = 1 ]
}

@test "Ctrl-C asks the job to end, a second one kills it: 123" {
    script 'trap "echo asked" TERM; echo ready; while :; do sleep 0.05 || true; done' 'limits: { grace: 1m }'
    in_shell 'expect ready' 'type \x03' 'expect asked' 'type \x03' 'exit 123'
    record 'end.reason == "cancelled"' 'end.signal == 9' '"SIGINT" in end.killed_by' 'times.wall_s < 30 * slower'
}

@test "Ctrl-\\ asks it too" {
    script 'trap "echo asked; exit 5" TERM; echo ready; while :; do sleep 0.05 || true; done' 'limits: { grace: 1m }'
    in_shell 'expect ready' 'type \x1c' 'expect asked' 'exit 123'
    record 'end.reason == "cancelled"' '"SIGQUIT" in end.killed_by'
}

@test "Ctrl-Z pauses the job and stops jobbox; fg lets both go on, and the time between counts for no limit" {
    script 'i=0; while [ $i -lt 40 ]; do i=$((i + 1)); echo tick; sleep 0.05; done; echo finished' 'limits: { wall_time: 30s }'
    # the second tick: at the first, jobbox need not have heard yet that the job runs
    in_shell 'expect tick' 'expect tick' 'type \x1a' 'stopped' 'quiet 2' 'fg' 'expect tick' 'expect finished' 'exit 0'
    record 'end.reason == "completed"' 'times.paused_s >= 2' 'times.wall_s >= times.paused_s + 1.5'
    events | grep -q '"from":"running","to":"paused","cause":"pause","by":{[^}]*"how":"SIGTSTP"}'
    events | grep -q '"from":"paused","to":"running"'
}

@test "Ctrl-Z twice, and Ctrl-C after fg" {
    script 'echo ready; while :; do echo tick; sleep 0.05; done'
    in_shell 'expect ready' 'type \x1a' 'stopped' 'fg' 'expect tick' 'type \x1a' 'stopped' 'quiet 1' 'fg' 'expect tick' \
        'type \x03' 'exit 123'
    [ "$(events | grep -c '"to":"paused"')" = 2 ]
    record 'end.reason == "cancelled"' 'times.paused_s >= 1'
}

@test "a terminal that goes away cancels the job" {
    script 'trap "exit 6" TERM; echo ready; while :; do sleep 0.05 || true; done' 'limits: { grace: 1m }'
    in_shell 'expect ready' 'hangup'
    until_true 20 recorded
    until_true 10 none_marked
    record 'end.reason == "cancelled"' 'end.exit_code == 6' '"SIGHUP" in end.killed_by'
}

@test "--tty: a window of another size is one for the job too, and it gets WINCH" {
    # the image's shell may have no stty: the size comes from the probe
    mkdir bin
    cp "$FILE_DIR/probe" bin/probe
    script 'trap "/probe/probe winsize" WINCH; echo ready
while :; do sleep 0.05; done' "mounts: [{ source: $T/bin, target: /probe }]"
    in_shell 'expect ready' 'size 41 101' 'expect 41x101' 'size 20 60' 'expect 20x60' 'type \x03' \
        'exit 130' -- --tty
    record 'end.signal == 2'
}

@test "--tty: Ctrl-C, Ctrl-Z and Ctrl-\\ are the job's, and jobbox is neither stopped nor asked to end" {
    script 'trap "echo int" INT; trap "echo quit" QUIT; trap "echo tstp" TSTP; echo ready
while :; do read -r line || continue; echo "line $line"; [ "$line" != end ] || exit 7; done'
    in_shell 'expect ready' 'type \x03' 'expect int' 'type \x1c' 'expect quit' 'type \x1a' 'expect tstp' 'type end\n' 'expect line end' 'exit 7' -- --tty
    record 'end.reason == "failed"' 'end.exit_code == 7'
    [ "$(events | grep -c paused)" = 0 ]
}
