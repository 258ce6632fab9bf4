#!/usr/bin/env bats
# A hundred runs, two at a time, a third of them killed -9 at random moments: exactly one record each, nothing left.

load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    needs_cpus 2
    test_setup
}

teardown()
{
    [ ! -e "${T-}/watching" ] || rm -f "$T/watching"
    test_teardown
}

# Notes every box that has got as far as a plan.
watch_boxes()
{
    local path
    while [ -e "$T/watching" ]; do
        for path in "$T"/run/boxes/*/plan.json; do
            [ ! -e "$path" ] || basename "$(dirname "$path")"
        done
        sleep 0.01
    done >>"$T/planned"
}

# one_run NUMBER DELAY: DELAY in ms, then kill -9; empty: to the end. Its record's id goes to ended/, or killed/ is made.
one_run()
{
    local pid
    env "$MARK" "$JOBBOX" run -q --json --config "$CONF" job.yaml >"json/$1" 2>"err.d/$1" </dev/null &
    pid=$!
    if [ -z "$2" ]; then
        wait $pid && : >"ended/$1"
    else
        sleep "0.$(printf '%03d' "$2")"
        # one that was too late has ended by itself
        if kill -9 $pid 2>/dev/null && { wait $pid 2>/dev/null; [ $? = 137 ]; }; then : >"killed/$1"; else : >"ended/$1"; fi
    fi
    true
}

@test "a hundred runs, a third killed at random moments" {
    local seed=${JOBBOX_TEST_SEED:-$(date +%s)} n delay watcher ended killed total
    RANDOM=$seed
    echo "# seed $seed (JOBBOX_TEST_SEED)" >&3
    mkdir json err.d ended killed
    : >planned
    : >watching
    watch_boxes 3>&- &
    watcher=$!
    script '(setsid sleep 50 &)
head -c 1m /dev/zero >/tmp/x
sleep 0.1' "resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }"
    for n in $(seq 1 100); do
        delay=
        [ $((n % 3)) -ne 0 ] || delay=$((RANDOM % 110))
        one_run "$n" "$delay" 3>&- &
        # two at a time
        while [ "$(jobs -rp | wc -l)" -gt 2 ]; do wait -n || true; done
    done
    rm watching
    wait
    sweep 3>&- >/dev/null

    [ -z "$(ls -A run/boxes)" ] || fail "boxes are left"
    ended=$(ls ended | wc -l) killed=$(ls killed | wc -l)
    [ $((ended + killed)) = 100 ] || fail "$ended ended, $killed were killed: $(cat err.d/* | sort | uniq -c | head)"
    [ "$killed" -ge 20 ] || fail "only $killed were killed in time"
    grep -ho '"id":"[0-9A-Z]*"' state/journal/*.jsonl | cut -d'"' -f4 | sort >recorded
    [ -z "$(uniq -d recorded)" ] || fail "more than one record: $(uniq -d recorded)"
    # whoever ended by himself has the record that he printed
    (cd json && cat $(ls ../ended)) | grep -o '"id":"[0-9A-Z]*"' | cut -d'"' -f4 | sort >printed
    [ "$(wc -l <printed)" = "$ended" ]
    [ -z "$(comm -23 printed recorded)" ] || fail "no record: $(comm -23 printed recorded)"
    # every box that had a plan has a record, and nobody else
    sort -u planned >planned.sorted
    [ -z "$(comm -23 planned.sorted recorded)" ] || fail "seen with a plan, and no record: $(comm -23 planned.sorted recorded)"
    total=$(wc -l <recorded)
    [ "$total" -ge "$ended" ] && [ "$total" -le 100 ] || fail "$total records of $ended ended and $killed killed"
    [ "$(grep -c supervisor_lost state/journal/*.jsonl)" -ge 1 ] || fail "no run was lost: the kills came too early or late"
    echo "# $ended ended, $killed killed, of which $((total - ended)) had a plan and a record" >&3
}

@test "a thousand runs of the same" {
    slow
    local round
    for round in 1 2 3 4 5 6 7 8 9 10; do
        mkdir "round$round"
        JOBBOX_TEST_SEED=$((${JOBBOX_TEST_SEED:-$(date +%s)} + round)) bats -f '^a hundred' \
            "$BATS_TEST_FILENAME" >"round$round/out" 2>&1 || fail "$(cat "round$round/out")"
    done
}
