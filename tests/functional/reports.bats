#!/usr/bin/env bats
# Reports: the same bytes as the golden files, as their consumers would read them, whatever is in the journals.
# Runs as: root, user

load lib

setup()
{
    T=$(mktemp -d "${TMPDIR:-/tmp}/jbt.XXXXXX")
    export XDG_CACHE_HOME=$T/cache TZ=UTC0
    unset SLURM_TIME_FORMAT
    DATA=$SOURCE_DIR/tests/data/report
    printf 'paths: { runtime: %s/run, state: %s/state }\n' "$T" "$T" >"$T/site.yaml"
    chmod 600 "$T/site.yaml"
    export JOBBOX_CONFIG=$T/site.yaml
    mkdir "$T/journals"
    cp "$DATA/clean.jsonl" "$T/journals/2026-10.jsonl"
    FORMS=$SOURCE_DIR/tests/functional/report_forms.py
    [ "$JBT_AS" = root ] || be_user
}

# Whatever asks is an ordinary user, in a folder of his own.
be_user()
{
    [ "$(id -u)" -eq 0 ] || skip "needs root, to become an ordinary user"
    mkdir "$T/bin"
    chmod 755 "$T"
    install -m 755 "$JOBBOX" "$(dirname "$JOBBOX")/jobbox-report" "$T/bin"
    printf '#!/bin/sh\nexec setpriv --reuid %s --regid %s --clear-groups "%s" "$@"\n' "$ORDINARY" "$ORDINARY" "$T/bin/jobbox" >"$T/bin/as"
    chmod 755 "$T/bin/as"
    chown -R "$ORDINARY:$ORDINARY" "$T"
    JOBBOX=$T/bin/as
}

teardown()
{
    rm -rf "${T:?}"
}

# jb VERB ARGUMENT...: with the test's journals.
jb()
{
    local verb=$1
    shift
    "$JOBBOX" "$verb" --journal "$T/journals" "$@"
}

# golden NAME VERB ARGUMENT...: the output is that file. JBT_GOLDEN=write makes the files, to be looked at.
golden()
{
    local name=$1
    shift
    jb "$@" >"$T/out" 2>"$T/err"
    [ "${JBT_GOLDEN:-}" != write ] || cp "$T/out" "$DATA/$name"
    diff -u "$DATA/$name" "$T/out"
}

@test "tables, CSV and JSON are what they were" {
    golden user.table report --by user
    golden reason.csv report --by reason --csv --columns jobs,core_hours,core_hours_used,cpu_eff,mem_eff,wait,wait_p95,wall
    golden account-month.json report --by account,month --json --sort core_hours
    golden history.table history --width 0
    golden history.csv history --csv --all --columns id,job,attempt,name,user,account,labels,label:stage,reason,exit,signal,started,ended,wall,cpu_eff
    golden efficiency.csv efficiency --csv --from 2026
}

@test "JSON is JSON, with the same figures as CSV" {
    jb report --by user,reason --json >"$T/json"
    jb report --by user,reason --csv >"$T/csv"
    /usr/bin/python3 - "$T/json" "$T/csv" <<'END'
import csv, json, sys
rows = json.load(open(sys.argv[1]))["rows"]
for a, b in zip(rows, csv.DictReader(open(sys.argv[2])), strict=True):
    for key, value in b.items():
        if isinstance(a[key], (int, float)):
            assert abs(a[key] - float(value)) < 1e-9, (key, a, b)
        elif a[key] is None:
            assert value == "", (key, a, b)
END
}

@test "a spreadsheet is given no formula, a terminal no command" {
    jb history --csv --all --columns name,user,account,labels >"$T/csv"
    "$FORMS" csv "$T/csv" 14
    grep -qF "\"'=cmd" "$T/csv"
    jb history --all --width 0 --columns name,account >"$T/table"
    run ! env LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$T/table"
    run ! grep -q $'\u202e' "$T/table"
    [ "$(wc -l <"$T/table")" -eq 15 ]
    jb show 01M4SN00000000000000000010 >"$T/show"
    run ! env LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$T/show"
    jb efficiency --from 2026 --width 0 >"$T/efficiency"
    run ! env LC_ALL=C grep -q $'[\x01-\x08\x0b-\x1f\x7f]' "$T/efficiency"
}

@test "Open XDMoD takes it" {
    golden xdmod report --as xdmod --cluster test
    "$FORMS" xdmod "$T/out" 13
    # in UTC wherever it is made
    TZ=Asia/Kathmandu jb report --as xdmod --cluster test | diff "$DATA/xdmod" -
}

@test "APEL takes it" {
    golden apel report --as apel
    "$FORMS" apel "$T/out" 13
    grep -q "1 record is left out" "$T/err"
    TZ=Europe/Berlin jb report --as apel --name build | head -n 1 | grep -q '|2026-10-01T10:00:00|2026-10-01T10:10:00|'
}

@test "Usage Records are valid" {
    golden car.xml report --as car --site TEST-SITE --service-level hepscore23=12.5
    xmllint --noout --schema "$SOURCE_DIR/tests/data/report/car.xsd" "$T/out"
    [ "$(grep -c '<urf:UsageRecord>' "$T/out")" -eq 13 ]
    # the schema is no formality: what it wants is missed
    sed 's/<urf:Site>.*//' "$T/out" >"$T/bad"
    run ! xmllint --noout --schema "$SOURCE_DIR/tests/data/report/car.xsd" "$T/bad"
    run jb report --as car
    [ "$status" -eq 125 ]
    [[ $output = *"needs --site"* ]]
}

@test "sacct -P" {
    golden sacct report --as sacct
    golden sacct-fields report --as sacct --no-header --format JobID,JobIDRaw,JobName,User,UID,Group,Account,Submit,Start,End,Elapsed,ElapsedRaw,Planned,State,ExitCode,NCPUS,ReqCPUS,ReqMem,AllocTRES,Timelimit,NodeList,MaxRSS,TotalCPU,UserCPU,SystemCPU,CPUTime,CPUTimeRAW,MaxDiskRead,Restarts,Reason,Comment
    "$FORMS" sacct "$DATA/sacct" 14
    SLURM_TIME_FORMAT='%d.%m.%y' jb report --as sacct --format end%20,jobid | tail -n 1 | grep -q '^01.11.26|'
    run jb report --as sacct --format JobId,Stae
    [ "$status" -eq 125 ]
    [[ $output = *"did you mean State"* ]]
}

@test "a time that nobody saw is from start to end, or left out, and never 0" {
    # number 7 lost its supervisor; here nobody knows either when it ended
    sed -n 7p "$DATA/clean.jsonl" | sed 's/"ended":"[^"]*"/"ended":null/' >"$T/journals/2026-10.jsonl"
    grep -q '"wall_s":null' "$T/journals/2026-10.jsonl"
    for form in xdmod apel acct "car --site TEST"; do
        # shellcheck disable=SC2086 # two words
        jb report --as $form -o "$T/out" 2>"$T/err"
        run ! grep -q 01M4SN "$T/out"
        grep -q "1 record is left out, for this form has no place for them: .*nobody saw for how long" "$T/err"
    done
    [ "$(jb report --as sacct --no-header --format Elapsed,ElapsedRaw,CPUTime,CPUTimeRAW,State)" = "||||NODE_FAIL" ]
    sed -n 7p "$DATA/clean.jsonl" >"$T/journals/2026-10.jsonl"
    rm -rf "$T/cache"
    [ "$(jb report --as sacct --no-header --format Elapsed,ElapsedRaw,CPUTime,CPUTimeRAW,State)" = "00:20:00|1200|00:40:00|2400|NODE_FAIL" ]
    [ "$(jb report --as xdmod | cut -d'|' -f15)" = 00:20:00 ]
    # and of one whose CPUs are not known there is no number of them
    sed -n 7p "$DATA/clean.jsonl" | sed 's/"cpu_count":2,//; s/"resources":{"cpus":2,/"resources":{/' >"$T/journals/2026-10.jsonl"
    rm -rf "$T/cache"
    [ "$(jb report --as sacct --no-header --format NCPUS,ReqTRES,CPUTime)" = "|mem=2048M,node=1|" ]
}

@test "sa and lastcomm read it" {
    golden acct report --as acct
    "$FORMS" acct "$T/out" 13
    lastcomm -f "$T/out" >"$T/lastcomm"
    [ "$(wc -l <"$T/lastcomm")" -eq 13 ]
    grep -E '^build +.* +301\.50 secs' "$T/lastcomm"
    grep -E '^build +X ' "$T/lastcomm" # killed by a signal
    sa -u "$T/out" >"$T/sa"
    [ "$(wc -l <"$T/sa")" -eq 13 ]
    run jb report --as acct --by user
    [ "$status" -eq 125 ]
}

@test "Prometheus takes it, and a textfile is replaced as a whole" {
    golden prometheus report --as prometheus --by user,reason --columns jobs,wall,cpu_eff,mem_peak
    "$FORMS" prometheus "$T/out"
    jb report --as prometheus --by account --from 2026-10 --to 2026-10 --columns jobs,wait_p95 >"$T/gauges"
    "$FORMS" prometheus "$T/gauges"
    run ! grep -q counter "$T/gauges"
    echo old >"$T/textfile"
    exec 7<"$T/textfile"
    jb report --as prometheus -o "$T/textfile"
    [ "$(cat <&7)" = old ]
    grep -q '^jobbox_jobs_total 14$' "$T/textfile"
    [ "$(find "$T" -maxdepth 1 -name 'textfile*' | wc -l)" -eq 1 ]
}

@test "a month ends at the midnight of the zone, also when clocks change" {
    [ "$(TZ=Europe/Berlin jb report --by month --csv --columns jobs)" = $'month,jobs\n2026-10,12\n2026-11,2' ]
    [ "$(TZ=Europe/Berlin jb report --utc --by month --csv --columns jobs)" = $'month,jobs\n2026-10,13\n2026-11,1' ]
    [ "$(TZ=Europe/Berlin jb report --by hour --csv --columns jobs --from 2026-10-25 --to 2026-10-25 | tail -n 1)" = "2026-10-25 02:00+0100,1" ]
    [ "$(TZ=America/New_York jb report --by day --csv --columns jobs --from 2026-10-31 | tail -n 1)" = "2026-10-31,2" ]
}

@test "what is no record is counted, named, and in the way of nothing" {
    cp "$DATA/odd.jsonl" "$T/journals/2026-11.jsonl"
    jb report --csv --columns jobs >"$T/out" 2>"$T/err"
    [ "$(tail -n 1 "$T/out")" = 14 ]
    [ "$(wc -l <"$T/err")" -eq 1 ]
    grep -q "9 lines of the journals are not counted: 3 torn (first: .*2026-11.jsonl, byte .*), 1 foreign (.*), 1 of a later version (.*), 4 doubled" "$T/err"
    run -1 "$JOBBOX" journal verify "$T/journals/2026-11.jsonl"
    [[ $output = *"torn: "* && $output = *"foreign: "* ]]
    # random bytes, an archive that is cut off, a folder, a FIFO
    head -c 100000 /dev/urandom >"$T/journals/random.jsonl"
    gzip -c "$DATA/clean.jsonl" | head -c 400 >"$T/journals/cut.jsonl.gz"
    mkdir "$T/journals/folder.jsonl"
    mkfifo "$T/journals/fifo.jsonl"
    jb report --csv --columns jobs >"$T/out" 2>"$T/err"
    [ "$(tail -n 1 "$T/out")" = 14 ]
    grep -q "cut.jsonl.gz: gzip says that it is damaged" "$T/err" || grep -q "were not read to the end" "$T/err"
}

@test "journals of several hosts, rotated and compressed, are one report" {
    mkdir "$T/a" "$T/b"
    head -n 7 "$DATA/clean.jsonl" >"$T/a/2026-10.jsonl"
    tail -n 7 "$DATA/clean.jsonl" >"$T/b/2026-10.jsonl"
    local both=(--journal "$T/a" --journal "$T/b" --csv --columns "jobs,wall")
    "$JOBBOX" report "${both[@]}" >"$T/one"
    gzip "$T/a/2026-10.jsonl"
    mv "$T/b/2026-10.jsonl" "$T/b/2026-10.jsonl.1"
    "$JOBBOX" report "${both[@]}" | diff "$T/one" -
    rm -rf "$T/cache"
    "$JOBBOX" report "${both[@]}" | diff "$T/one" -
    jb report --csv --columns jobs,wall | diff "$T/one" -
}

@test "who may not write reads all the same" {
    needs_root
    mkdir -p "$T/state/journal"
    cp "$DATA/clean.jsonl" "$T/state/journal/2026-10.jsonl"
    chmod 755 "$T" "$T/state" "$T/state/journal"
    chmod 644 "$T/state/journal/2026-10.jsonl" "$T/site.yaml"
    mkdir "$T/home"
    chown "$ORDINARY:$ORDINARY" "$T/home" "$T/site.yaml"
    local as=(setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups env -u XDG_CACHE_HOME HOME="$T/home")
    "${as[@]}" "$JOBBOX" report --csv --columns jobs >"$T/out"
    [ "$(tail -n 1 "$T/out")" = 14 ]
    chown 0:0 "$T/site.yaml"
    "$JOBBOX" report >/dev/null
    chmod 644 "$T/state/index.db"
    rm -rf "$T/home/.cache"
    chown "$ORDINARY" "$T/site.yaml"
    "${as[@]}" "$JOBBOX" report --csv --columns jobs >"$T/out"
    [ "$(tail -n 1 "$T/out")" = 14 ]
    [ ! -e "$T/home/.cache" ] # the shared one had all
}

@test "show: the record, by a beginning of its id, also from a compressed journal" {
    [ "$(jb show --json 01m4sn00000000000000000005)" = "$(sed -n 5p "$DATA/clean.jsonl")" ]
    gzip "$T/journals/2026-10.jsonl"
    [ "$(jb show --json 01m4sn00000000000000000005)" = "$(sed -n 5p "$DATA/clean.jsonl")" ]
    jb show 01m4sn00000000000000000005 >"$T/out"
    grep -qE '^  memory_peak_bytes +50.0 GiB$' "$T/out"
    grep -qE '^  energy_j +unknown$' "$T/out"
    run jb show 01M4SN
    [ "$status" -eq 1 ]
    [[ $output = *"several records' ids begin with"* ]]
}

@test "efficiency suggests less of what is idle and more of what ran out" {
    run jb efficiency 01M4SN00000000000000000002
    [[ $output = *"CPUs     0.19 used of 2 granted"* && $output = *"cpus: 1, memory: 832MiB"* ]]
    run jb efficiency 01M4SN00000000000000000004
    [[ $output = *"It ran out of memory"* && $output = *"memory: 3GiB"* ]]
    run jb efficiency 01M4SN00000000000000000003
    [[ $output = *"Its time was up"* && $output = *"wall_time: 2h"* ]]
    run jb efficiency 01M4SN00000000000000000005
    [[ $output = *"Nothing better to ask for."* ]]
    run jb efficiency 01M4SN00000000000000000006
    [[ $output = *"CPUs     unknown of 2"* ]]
}

@test "prices and budgets" {
    cat >>"$T/site.yaml" <<'END'
currency: EUR
prices: [ { core_hour: 1 }, { account: physics, core_hour: 0.5, gib_hour: 0.001, device_hour: 2 } ]
budgets: [ { account: "physics", of: core_hours, soft: 100, hard: 200 }, { account: "*", of: cost, hard: 1000.5 } ]
END
    # 36 hours of 8 cores, 64 GiB and a device
    [ "$(jb report --by account --account physics --csv --columns cost)" = $'account,cost\nphysics,218.304' ]
    jb report | head -n 1 | grep -q 'cost EUR$'
    jb budget --from 2026-10 --csv >"$T/out"
    grep -q '^physics,core-hours,288,100,200,1.44,used up$' "$T/out"
    grep -q '^physics,cost,218.304,,1000.5,0.2' "$T/out"
    grep -q '^physics,core-hours,0,100,200,0,ok$' <(jb budget --from 2026-09 --csv)
}

@test "what is wrong in a question is said, with what could be meant" {
    run jb report --by usr
    [ "$status" -eq 125 ]
    [[ $output = *"did you mean user"* ]]
    run jb report --columns cpu_ef
    [ "$status" -eq 125 ]
    [[ $output = *"did you mean cpu_eff"* ]]
    run jb report --from soon
    [ "$status" -eq 125 ]
    run jb report --as pdf
    [ "$status" -eq 125 ]
    run "$JOBBOX" report --journal "$T/nowhere"
    [ "$status" -eq 1 ]
    [[ $output = *"nowhere: No such file or directory"* ]]
    run jb report -o "$T/no/such/folder"
    [ "$status" -eq 1 ]
}
