#!/usr/bin/env bats
# Signals, readers that go away or sleep, and terminals.
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

# Background processes of a shell ignore INT and QUIT, below nohup HUP too: give them back.
start_deliverable()
{
    : >"$T/out" # what an earlier one said is not this one's
    /usr/bin/python3 -IS -c 'import os, signal, sys
for s in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP): signal.signal(s, signal.SIG_DFL)
os.execv(sys.argv[1], sys.argv[1:])' /usr/bin/env "$MARK" "$JOBBOX" run --quiet --config "$CONF" "$T/job.yaml" \
        >"$T/out" 2>"$T/err" </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
}

@test "INT, TERM, HUP and QUIT cancel: 123, and the record names the signal and who sent it" {
    local sig
    for sig in INT TERM HUP QUIT; do
        script 'trap "echo asked; exit 7" TERM; echo ready; sleep 30 & wait' "limits: { grace: 5s }"
        start_deliverable
        until_true 10 says ready
        kill -$sig "$supervisor"
        end_job
        exits 123
        out_is $'ready\nasked'
        record 'end.reason == "cancelled"' "'SIG$sig' in end.killed_by" "'pid $BASHPID' in end.killed_by" \
            'end.exit_code == 7' 'end.limit is None'
    done
}

@test "a second signal kills at once" {
    script 'trap "echo no" TERM; echo ready; while :; do sleep 0.1 || true; done' "limits: { grace: 1m }"
    start_job
    until_true 10 says ready
    kill -TERM "$supervisor"
    until_true 10 says no
    kill -TERM "$supervisor"
    end_job
    exits 123
    record 'end.reason == "cancelled"' 'end.signal == 9' 'times.wall_s < 10 * slower'
}

@test "USR1 and USR2 reach the job and change nothing else" {
    script 'trap "echo one" USR1; trap "echo two; exit 0" USR2; echo ready; while :; do sleep 0.05 || true; done'
    start_job
    until_true 10 says ready
    kill -USR1 "$supervisor"
    until_true 10 says one
    kill -USR2 "$supervisor"
    end_job
    exits 0
    out_is $'ready\none\ntwo'
    record 'end.reason == "completed"' 'end.killed_by is None'
}

@test "under nohup a HUP is ignored" {
    script 'echo ready; sleep 1; echo finished'
    env "$MARK" nohup "$JOBBOX" run -q --config "$CONF" job.yaml >out 2>err </dev/null 3>&- &
    supervisor=$!
    started+=("$supervisor")
    until_true 10 says ready
    kill -HUP "$supervisor"
    end_job
    exits 0
    out_is $'ready\nfinished'
}

@test "a signal while the box is being built leaves nothing, and one record or none" {
    local i before
    script 'sleep 5'
    for i in 1 2 3 4 5 6 7 8 9; do
        before=$(records)
        start_job
        sleep 0.00$i
        kill -TERM "$supervisor"
        end_job
        case $code in
        123) [ "$(records)" = $((before + 1)) ] || fail "no record" ;;
        143) [ "$(records)" = "$before" ] || fail "a record, and yet not the exit code of one" ;;
        *) fail "exit code $code" ;;
        esac
    done
}

# Not merely waiting to be waited for, which the shell does only when it gets to it.
supervisor_lives()
{
    local stat
    { read -r stat <"/proc/$supervisor/stat"; } 2>/dev/null && [[ $stat != *') Z '* ]]
}

@test "signals that come while the box is taken down do not take the exit code away" {
    local i
    script 'trap "" TERM; echo ready; while :; do sleep 1 || true; done'
    for i in 1 2 3 4 5 6; do
        : >out
        start_job
        until_true 10 says ready
        # the first cancels, the second kills, the others find it at work on the record
        while supervisor_lives && kill -TERM "$supervisor" 2>/dev/null; do :; done
        end_job
        exits 123
        [ "$(records)" = "$i" ]
        record 'end.reason == "cancelled"'
    done
}

@test "a job that kills everything it can leaves the supervisor and the record in order" {
    script 'sleep 30 & trap "" TERM
for sig in TERM STOP KILL; do kill -$sig 1 || true; kill -$sig -1 || true; done 2>/dev/null
echo still here; exit 4'
    run_job
    exits 4
    out_is "still here"
    record 'end.reason == "failed"' 'end.exit_code == 4'
}

# --- readers -----------------------------------------------------------------------------------------------------

@test "jobbox run | head -1 ends, and the record is there" {
    script 'while :; do echo line; done' "limits: { wall_time: 20s, grace: 1s }"
    SECONDS=0
    [ "$(jobbox run -q --config "$CONF" job.yaml 2>err | head -n 1)" = line ]
    [ $SECONDS -lt $((10 * JBT_SLOWER)) ] || fail "took $SECONDS s"
    [ "$(records)" = 1 ]
    record 'end.reason in ("failed", "signaled")'
}

@test "closed standard output and error do not matter to the job's end or record" {
    script 'echo out || true; echo err >&2 || true; exit 5'
    code=0
    jobbox run -q --config "$CONF" job.yaml >&- 2>&- || code=$?
    exits 5
    record 'end.exit_code == 5'
    # and what jobbox opens must not become the job's output
    script 'echo OUTPUT; exit 0'
    jobbox run --config "$CONF" job.yaml <&- >&- 2>&- || true
    ! grep -rl OUTPUT run state 2>/dev/null | grep -v journal || fail "output landed in a file of jobbox"
}

@test "a reader that sleeps holds up neither the wall_time nor a signal" {
    script 'while :; do echo 0123456789012345678901234567890123456789; done' "limits: { wall_time: 1s, grace: 1s }"
    mkfifo pipe
    sleep 30 <pipe 3>&- &
    local reader=$!
    started+=("$reader")
    code=0
    SECONDS=0
    jobbox run -q --config "$CONF" job.yaml >pipe 2>err || code=$?
    kill $reader
    exits 120
    [ $SECONDS -lt $((12 * JBT_SLOWER)) ] || fail "took $SECONDS s"
    record 'end.reason == "timeout"' 'times.wall_s < 4 * slower' 'output.truncated is True'
}

@test "a slow reader gets everything" {
    script 'head -c 3m /dev/zero'
    [ "$(jobbox run -q --config "$CONF" job.yaml 2>err | (sleep 0.5; dd bs=1k 2>/dev/null | wc -c))" = 3145728 ]
    record 'output.stdout_bytes == 3 << 20' 'output.truncated is False'
}

@test "output is there as it is written, not at the end" {
    script 'echo early; sleep 20'
    start_job
    until_true 5 says early
    kill -TERM "$supervisor"
    end_job
    exits 123
}

# --- terminals ---------------------------------------------------------------------------------------------------

# in_terminal COMMAND: with a terminal of its own, of 33 rows and 77 columns; input from this function's.
in_terminal()
{
    local command="stty rows 33 cols 77; exec env '$MARK' '$JOBBOX' run -q --tty --config '$CONF' '$T/job.yaml'"
    code=0
    timeout --foreground -k 5 $((15 * JBT_SLOWER)) script -qec "$command" /dev/null >"$T/out" 2>"$T/err" || code=$?
    tr -d '\r' <"$T/out" >"$T/out.new" && mv "$T/out.new" "$T/out"
}

@test "--tty: the job has a terminal of its own with the size of ours" {
    spec <<<"script: |
  tty
  /probe/probe winsize
  test -t 0 && test -t 1 && test -t 2 && echo all three
  echo \$TERM
$PROBE_MOUNT"
    TERM=vt220 in_terminal </dev/null
    exits 0
    out_has '/dev/pts/0$' # script(1) shows the end of its input before it
    out_has '33x77$'
    out_has '^all three$'
    out_has '^vt220$'
    record 'end.reason == "completed"'
}

@test "--tty: what is typed reaches the job, Ctrl-C as an interrupt" {
    script 'trap "echo interrupted; exit 9" INT
echo ready
read line
echo "got $line"
while :; do sleep 0.1; done'
    (
        # no helper that prints: this is what is typed
        wait_for_text() { for _ in $(seq 300); do grep -qs "$1" "$T/out" && return; sleep 0.02; done; }
        wait_for_text ready
        echo typed
        wait_for_text "got typed"
        printf '\003'
        sleep 1
    ) | in_terminal_piped
    exits_in_file 9
    out_has '^got typed'
    out_has 'interrupted'
    record 'end.reason == "failed"' 'end.exit_code == 9'
}

# The end of a pipeline is a subshell: the code goes through a file.
in_terminal_piped()
{
    local command="exec env '$MARK' '$JOBBOX' run -q --tty --config '$CONF' '$T/job.yaml'"
    code=0
    timeout --foreground -k 5 $((15 * JBT_SLOWER)) script -qefc "$command" /dev/null >"$T/out" 2>"$T/err" || code=$?
    echo $code >"$T/code"
}

exits_in_file()
{
    code=$(cat "$T/code")
    exits "$1"
}

@test "--tty without a terminal, and with --json, is a usage error" {
    script true
    run_job --tty
    exits 125
    one_error 'not a terminal'
    run_job --tty --json
    exits 125
    [ "$(records)" = 0 ]
}
