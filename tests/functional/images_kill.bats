#!/usr/bin/env bats
# Whatever is killed, whenever: the store is right, and the next one goes on. KILL_SEED repeats a run.
# bats file_tags=slow

load lib
load images

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_programs python3
    test_setup
    RANDOM=${KILL_SEED:=$((RANDOM + 1))}
    echo "KILL_SEED=$KILL_SEED"
    python3 "$LAYOUT" layered lay
    python3 - "$LAYOUT" <<'END'
import runpy, sys
m = runpy.run_path(sys.argv[1])
def many(tag):
    l = m["Layer"]()
    for i in range(400):
        l.file("d%d/f%d" % (i % 20, i), "%s %d\n" % (tag, i) * 20)
    return l.bytes()
m["layout"]("many", [many("a"), many("b"), many("c")])
END
}

teardown() { test_teardown; }

# struck SECONDS/1000 VERB...: starts it, and kills it and all it started after that time.
struck()
{
    local after=$1 pid
    shift
    env "$MARK" setsid "$JOBBOX" image "$1" --quiet --config "$CONF" "${@:2}" >/dev/null 2>&1 3>&- &
    pid=$!
    started=("$pid")
    sleep "$(printf '0.%03d' "$after")"
    kill -9 "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    started=()
    # its children die with it
    until_true 20 none_marked
}

whole()
{
    run -0 image verify
}

@test "kill -9 at fifty random moments of pulling, unpacking and collecting" {
    local i span begun
    begun=$(date +%s%N)
    image pull oci:many --name whole:1 >/dev/null
    span=$((($(date +%s%N) - begun) / 1000000 + 20))
    [ "$span" -lt 900 ] || span=900
    image rm whole:1 >/dev/null
    for i in $(seq 50); do
        case $((i % 3)) in
        0) struck $((RANDOM % span)) pull oci:many --name m:1 ;;
        1) struck $((RANDOM % span)) pull oci:lay --name l:1 ;;
        2) struck $((RANDOM % 60)) gc ;;
        esac
        whole || fail "after blow $i (KILL_SEED=$KILL_SEED): $output" || return 1
        [ $((i % 5)) -ne 0 ] || struck $((RANDOM % 60)) rm m:1
    done
    whole
    image pull oci:many --name m:1
    image pull oci:lay --name l:1
    store_is_whole
    image rm m:1 l:1
    [ -z "$(find state/images/layers state/images/images state/images/tmp state/images/refs -mindepth 1)" ]
}

@test "a signal takes back what was begun" {
    local pid
    python3 - "$LAYOUT" <<'END'
import os, runpy, sys
m = runpy.run_path(sys.argv[1])
m["layout"]("large", [m["Layer"]().add("random", data=os.urandom(64 << 20)).bytes()], compress=False)
END
    env "$MARK" "$JOBBOX" image pull --quiet --config "$CONF" oci:large --name large:1 >out 2>err 3>&- &
    pid=$!
    started=("$pid")
    until_true 20 sh -c 'ls state/images/tmp/*/layer0/fs/random'
    kill -TERM "$pid"
    code=0
    wait "$pid" || code=$?
    started=()
    exits 123
    one_error stopped
    store_is_whole
    [ -z "$(ls state/images/layers)" ]
}

@test "two collections and four pulls at once do not get in each other's way" {
    local pids=() pid i
    for i in 1 2 3 4; do
        env "$MARK" "$JOBBOX" image pull --quiet --config "$CONF" oci:many --name "m:$i" >"out$i" 2>&1 3>&- &
        pids+=($!)
        [ $((i % 2)) -ne 0 ] || { env "$MARK" "$JOBBOX" image gc --quiet --config "$CONF" >/dev/null 2>&1 3>&- & pids+=($!); }
    done
    started=("${pids[@]}")
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "$(cat out?)" || return 1
    done
    started=()
    store_is_whole
    [ "$(image list --json | grep -c '"m:')" = 4 ]
    [ "$(ls state/images/layers | wc -l)" = 3 ]
}
