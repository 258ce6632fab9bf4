#!/usr/bin/env bats
# jobbox top: what live boxes use, once and in a terminal, which is afterwards as it was.
# Runs as: root, user

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
}

teardown()
{
    local pid
    for pid in ${started[@]+"${started[@]}"}; do
        kill -CONT "$pid" 2>/dev/null || true
        kill -TERM "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    started=()
    test_teardown
}

# top [OPTION...]: sets `code`, output in $T/top and $T/top.err
top()
{
    code=0
    jobbox top --config "$CONF" "$@" >"$T/top" 2>"$T/top.err" || code=$?
}

# holds EXPRESSION...: of the JSON that top wrote; b: by name, boxes: in order, limited: this user's jobs have limits of groups
holds()
{
    /usr/bin/python3 - "$T/top" "$JBT_AS" "$@" <<'END'
import json, sys
boxes = json.load(open(sys.argv[1]))
names = {"boxes": boxes, "b": {box["name"]: box for box in boxes}, "limited": sys.argv[2] == "root"}
for text in sys.argv[3:]:
    if not eval(text, names):
        sys.exit("not true: %s of %s" % (text, json.dumps(boxes, indent=1)))
END
}

# start_named NAME SCRIPT [YAML-LINE...]
start_named()
{
    local name=$1 text=$2
    shift 2
    script "$text" "name: $name" 'resources: { cpus: 1, cpu_unit: thread, memory: 64MiB, pids: 20 }' "$@"
    cp job.yaml "$name.yaml"
    "${AS[@]}" "$JOBBOX" run --quiet --config "$CONF" "$T/$name.yaml" >"$T/$name.out" 2>"$T/err" </dev/null 3>&- &
    started+=("$!")
    until_true 10 grep -q ready "$T/$name.out"
}

start_both()
{
    needs_cpus 2
    start_named busy 'echo ready; while :; do :; done'
    start_named idle 'head -c 20000000 /dev/zero >/tmp/x; sleep 900 & sleep 900 & echo ready; wait' 'limits: { wall_time: 10m }'
}

# in_terminal STEP...: jobbox top in a shell whose terminal must be the same before and after. `options`: of top
in_terminal()
{
    # shellcheck disable=SC2016 # the inner shell's
    timeout -k 5 $((90 * JBT_SLOWER)) "$HERE/terminal" "$@" -- "${AS[@]}" sh -c \
        'stty -a >"$1/before"; "$2" top --config "$3" -i 200ms $4; code=$?; stty -a >"$1/after"; echo "left:$code"; sleep 0.2; exit $code' \
        sh "$T" "$JOBBOX" "$CONF" "${options-}" >"$T/pty.out" 2>&1 || fail "$(cat -v "$T/pty.out")"
    [ ! -s "$T/after" ] || diff <(tail -n +2 "$T/before") <(tail -n +2 "$T/after")
}

@test "no box: nothing, and no error" {
    top --once
    exits 0
    [ ! -s top ]
    top --once --json
    exits 0
    [ "$(cat top)" = "[]" ]
}

# On a host with much else to do a loop may get no CPU for a while.
sees_it_busy()
{
    top --once --json -i 500ms
    [ "$code" = 0 ] && { [ "$JBT_AS" != root ] || holds 'b["busy"]["cpus_used"] > 0.02'; }
}

@test "what boxes use is what the kernel counts of them" {
    start_both
    until_true 30 sees_it_busy
    # of idle: its init, shell and sleep; for a user in a guest also what serves its root, as the kernel's overlay cannot
    local most=4
    ! below_user_manager || most=8
    holds 'set(b) == {"busy", "idle"}' 'b["busy"]["phase"] == b["idle"]["phase"] == "running"' \
        'b["busy"]["wall_time_s"] is None and b["idle"]["wall_time_s"] == 600' 'b["busy"]["wall_s"] > 0' \
        'b["busy"]["cpu_count"] == 1 and b["busy"]["cpus"] != b["idle"]["cpus"]' \
        'not limited or (b["busy"]["cpus_used"] < 1.5 and b["idle"]["cpus_used"] < b["busy"]["cpus_used"])' \
        'not limited or (b["idle"]["memory_bytes"] > 2e7 and b["idle"]["memory_max_bytes"] == 64 << 20)' \
        'not limited or 3 <= b["idle"]["pids"] <= '"$most" \
        'limited or all(b["busy"][k] is None for k in ("cpus_used", "memory_bytes", "pids", "memory_pressure_some"))'
    # 10 figures that may be unknown, each there as a number or null
    holds 'all(box[k] is None or box[k] >= 0 for box in boxes for k in ("cpu_s", "memory_pressure_some", "memory_pressure_full", "read_bytes", "written_bytes", "read_bytes_per_s", "written_bytes_per_s"))'
    top --once -i 200ms
    exits 0
    head -n 1 top | grep -qE '^ID +USER +PHASE +CPU% +MEMORY +OF +PRESS% +PIDS +READ/s +WRITE/s +CPUS +TIME +LIMIT +NAME$'
    [ "$(wc -l <top)" -eq 3 ]
    grep -qE '^01[0-9A-Z]{24}  [a-z0-9]+ +running .* 10m00s  idle$' top
}

@test "the order is the one that is asked for" {
    start_both
    top --once --json -i 300ms --sort name
    holds '[x["name"] for x in boxes] == ["busy", "idle"]'
    top --once --json -i 300ms --sort name --reverse
    holds '[x["name"] for x in boxes] == ["idle", "busy"]'
    top --once --json -i 300ms --sort time
    holds '[x["name"] for x in boxes] == ["busy", "idle"]'
    [ "$JBT_AS" = root ] || return 0
    until_true 30 sees_it_busy
    holds '[x["name"] for x in boxes] == ["busy", "idle"]'
    top --once --json -i 300ms --sort memory
    holds '[x["name"] for x in boxes] == ["idle", "busy"]'
    top --once --json -i 300ms --sort pids
    holds '[x["name"] for x in boxes] == ["idle", "busy"]'
}

@test "a paused box uses nothing; of one whose supervisor does not answer the kernel's figures are known" {
    start_named busy 'echo ready; while :; do :; done'
    jobbox pause --config "$CONF" "$(jobbox ps --config "$CONF" | awk 'NR == 2 { print $1 }')"
    top --once --json -i 300ms
    holds 'b["busy"]["phase"] == "paused"' 'not limited or b["busy"]["cpus_used"] < 0.02'
    kill -STOP "${started[0]}"
    top --once --json -i 300ms
    exits 0
    holds 'b["busy"]["phase"] is None and b["busy"]["wall_s"] is None and b["busy"]["memory_max_bytes"] is None' \
        'not limited or (b["busy"]["memory_bytes"] > 0 and b["busy"]["pids"] > 0)'
    kill -CONT "${started[0]}"
}

# The supervisor has written what there is to write of a start.
settled()
{
    local size
    size=$(stat -c %s "$1")
    sleep 0.3
    [ "$(stat -c %s "$1")" = "$size" ]
}

@test "the box's folder is looked at and nothing in it changed; what is damaged there the supervisor knows, or nobody" {
    start_named idle 'echo ready; sleep 900'
    local file
    file=$(find "$T" -path '*/boxes/*/box.jsonl')
    until_true 10 settled "$file"
    cp -p "$file" kept
    printf '{"half of a line' >>"$file"
    local size
    size=$(stat -c %s "$file")
    top --once --json -i 200ms
    exits 0
    holds 'b["idle"]["phase"] == "running"' 'not limited or b["idle"]["pids"] > 0'
    [ "$(stat -c %s "$file")" = "$size" ]
    printf 'no JSON at all\n' >"$file"
    top --once --json -i 200ms
    exits 0
    holds 'not limited or (b["idle"]["pids"] > 0 and b["idle"]["memory_bytes"] > 0)'
    # where the supervisor does not say it either, it is not known
    kill -STOP "${started[0]}"
    top --once --json -i 200ms
    kill -CONT "${started[0]}"
    exits 0
    holds 'b["idle"]["pids"] is None and b["idle"]["memory_bytes"] is None and b["idle"]["cpus_used"] is None'
    cat kept >"$file"
}

@test "others' boxes are not shown, as ps does not show them" {
    needs_root
    start_named idle 'echo ready; sleep 900'
    setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups env HOME="$T" "$JOBBOX" top --once --json --config "$CONF" >seen
    [ "$(cat seen)" = "[]" ]
}

@test "in a terminal: the table comes again, keys sort it, q leaves all as it was" {
    start_both
    in_terminal 'size 30 140' 'expect 2 boxes' 'expect CPU%' 'expect busy' 'expect q quit' 'type n' 'expect \x1b[7mNAME' 'expect busy' 'expect idle' \
        'type r' 'expect idle' 'expect busy' 'type m' 'expect \x1b[7mMEMORY' 'type q' 'expect \x1b[?25h\x1b[?1049l' 'expect left:0' 'exit 0'
    [ -s after ]
}

@test "in a narrow terminal columns are left out and no line wraps; the window may change" {
    start_both
    in_terminal 'size 10 44' 'expect 2 boxes' 'expect NAME' 'size 10 200' 'expect WRITE/s' 'expect q quit' 'type q' 'exit 0'
    options='--sort name' in_terminal 'size 4 64' 'expect from 1 on' 'expect busy' 'type \x1b[B' 'expect from 2 on' 'expect idle' \
        'type \x1b[A' 'expect from 1 on' 'type q' 'exit 0'
}

@test "Ctrl-Z gives the terminal back and fg takes it again; Ctrl-C leaves it as it was" {
    start_named idle 'echo ready; sleep 900'
    in_terminal 'expect idle' 'type \x1a' 'expect \x1b[?1049l' 'stopped' 'fg' 'expect \x1b[?1049h' 'expect idle' 'type q' 'expect left:0' 'exit 0'
    rm after
    # the shell is told of Ctrl-C too, and ends when its command has
    in_terminal 'expect idle' 'type \x03' 'expect \x1b[?25h\x1b[?1049l'
}

@test "a signal ends it, with the terminal as it was, and so does a terminal that goes away" {
    start_named idle 'echo ready; sleep 900'
    (
        until_true 20 test -e "$T/before"
        until_true 20 pids_of_top
        sleep 0.3
        kill -TERM "$(pids_of_top)"
    ) 3>&- &
    local helper=$!
    in_terminal 'expect idle' 'expect \x1b[?25h\x1b[?1049l' 'expect left:143' 'exit 143'
    wait "$helper"
    [ -s after ]
    rm after
    in_terminal 'expect idle' 'hangup'
    until_true 10 no_top
}

# The processes of this test that are jobbox top.
pids_of_top()
{
    local pid found=1
    for pid in $(marked_processes); do
        if tr '\0' ' ' <"/proc/$pid/cmdline" 2>/dev/null | grep -q '^[^ ]*jobbox top '; then
            echo "$pid"
            found=0
        fi
    done
    return $found
}

no_top()
{
    ! pids_of_top
}

@test "what it cannot do is said" {
    top
    exits 125
    grep -q 'no terminal: write --once' top.err
    top --json
    exits 125
    grep -q 'needs --once' top.err
    top --once --sort size
    exits 125
    grep -q 'sort is cpu, memory' top.err
    top --once -i 1ms
    exits 125
    grep -q 'from 100ms to 1h' top.err
    top --once more
    exits 125
}
