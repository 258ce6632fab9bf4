#!/usr/bin/env bats
# Journals as they lie about: compressed in every way, of last month, altered by somebody.

load lib

setup_file()
{
    file_setup
    needs_cgroups
    # five records of one writer; each test has a copy
    SEED=$FILE_DIR/seed
    mkdir "$SEED"
    T=$SEED CONF=$SEED/site.yaml site_config
    printf 'version: 1\nname: seed\nimage: %s\ncommand: ["true"]\n' "$FILE_DIR/image" >"$SEED/job.yaml"
    for _ in 1 2 3 4 5; do
        "$JOBBOX" run -q --config "$SEED/site.yaml" "$SEED/job.yaml"
    done
}

teardown_file() { file_teardown; }

setup()
{
    T=$(mktemp -d "${TMPDIR:-/tmp}/jbt.XXXXXX")
    export XDG_CACHE_HOME=$T/cache TZ=UTC0
    cp -a "$FILE_DIR/seed/state/journal" "$T/journal"
    FILE=$(find "$T/journal" -name '*.jsonl')
    [ "$(wc -l <"$FILE")" -eq 5 ]
    printf 'paths: { runtime: %s/run, state: %s }\n' "$T" "$T" >"$T/site.yaml"
    chmod 600 "$T/site.yaml"
    export JOBBOX_CONFIG=$T/site.yaml
}

teardown()
{
    [ -z "${T-}" ] || rm -rf "${T:?}"
}

# verify STATUS [LINE...]: of this journal; each is a pattern of one line
verify()
{
    local line
    run "-$1" "$JOBBOX" journal verify
    shift
    for line in "$@"; do
        grep -qxE "$line" <<<"$output" || { echo "no line $line" && return 1; }
    done
    "$JOBBOX" journal verify --json >"$T/json" || [ $? -eq 1 ]
}

# counts EXPRESSION of v, what verify --json says
counts()
{
    /usr/bin/python3 -c 'import json, sys
v = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else "not true: %s of %s" % (sys.argv[2], v))' "$T/json" "$1"
}

@test "a journal that nobody touched is whole" {
    verify 0 '5 records of 1 writer in 1 file'
    counts 'v["records"] == 5 and v["writers"] == 1 and v["findings"] == [] and not any(v[k] for k in ("missing", "altered", "doubled", "torn", "foreign", "unread"))'
}

@test "a record that was taken out is missed, in the middle and at the end" {
    sed -i '2,3d' "$FILE"
    verify 1 'missing: 2 records of [^ ]+, from 2 to 3, before .*, byte [0-9]+' '3 records of 1 writer in 1 file, 2 missing'
    counts 'v["missing"] == 2'
    cp "$FILE_DIR/seed/state/journal/${FILE##*/}" "$FILE"
    sed -i '5d' "$FILE"
    verify 1 'missing: the last 1 record of [^ ]+, up to 5, in .*' '4 records of 1 writer in 1 file, 1 missing'
    # the beginning may have been moved away with older journals: that is told, and no fault
    cp "$FILE_DIR/seed/state/journal/${FILE##*/}" "$FILE"
    sed -i '1d' "$FILE"
    verify 0 'note: the chain of [^ ]+ begins here with record 2; earlier ones are in other journals' '4 records of 1 writer in 1 file'
}

@test "a record that was changed is told, whatever was changed" {
    local change
    for change in 's/"name":"seed"/"name":"sead"/' 's/"exit_code":0/"exit_code":1/' 's/"cpu_user_s":[0-9.]*/"cpu_user_s":12345.5/' 's/"uid":[0-9]*/"uid":1/'; do
        cp "$FILE_DIR/seed/state/journal/${FILE##*/}" "$FILE"
        sed -i "3$change" "$FILE"
        run ! cmp -s "$FILE" "$FILE_DIR/seed/state/journal/${FILE##*/}"
        verify 1 'altered: .*'
        counts 'v["altered"] >= 1 and v["missing"] == 0'
    done
    # also when its own digest was made anew: the next one does not follow it
    /usr/bin/python3 - "$FILE" <<'END'
import sys
lines = open(sys.argv[1]).read().splitlines()
lines[1], lines[2] = lines[2], lines[1]
open(sys.argv[1], "w").write("\n".join(lines) + "\n")
END
    verify 1
}

@test "a record that is there twice is told, and counted once" {
    cp "$FILE_DIR/seed/state/journal/${FILE##*/}" "$FILE"
    sed -n 2p "$FILE_DIR/seed/state/journal/${FILE##*/}" >>"$FILE"
    verify 1 'doubled: record 2 of [^ ]+ is in .*' '6 records of 1 writer in 1 file, 1 doubled'
    [ "$("$JOBBOX" report --csv --columns jobs 2>"$T/err" | tail -n 1)" = 5 ]
    grep -q '1 doubled' "$T/err"
}

@test "half a line is torn and no fault; what is no record is foreign and one" {
    printf '{"record_version":1,"id":"01' >>"$FILE"
    verify 0 'torn: .*: the last line has no end'
    printf '\n{"hello":"world"}\n' >>"$FILE"
    verify 1 'foreign: .*: a line that is no record'
    counts 'v["foreign"] == 1 and v["torn"] == 1 and v["records"] == 5'
}

@test "compressed by any of four programs it is the same journal, for verify and for reports" {
    "$JOBBOX" report --csv --columns jobs,wall,cpu_time >"$T/before"
    local kind program
    for kind in gz:gzip zst:zstd xz:xz bz2:bzip2; do
        program=${kind#*:}
        command -v "$program" >/dev/null || skip "needs $program"
        rm -rf "$T/journal" "$T"/index.db*
        cp -a "$FILE_DIR/seed/state/journal" "$T/journal"
        "$program" -c "$FILE" >"$FILE.${kind%:*}"
        rm "$FILE"
        verify 0 '5 records of 1 writer in 1 file'
        "$JOBBOX" report --csv --columns jobs,wall,cpu_time 2>"$T/err" | diff "$T/before" -
        [ ! -s "$T/err" ]
        id=$("$JOBBOX" history --csv --columns id | tail -n 1)
        [ "$("$JOBBOX" show --json "$id")" = "$(grep "\"id\":\"$id\"" "$FILE_DIR/seed/state/journal/${FILE##*/}")" ]
        # damaged in its middle: named, and the exit status says so (at its beginning bzip2 has tables that it may not need)
        printf 'XXXXXXXX' | dd of="$FILE.${kind%:*}" bs=1 seek="$(($(stat -c %s "$FILE.${kind%:*}") / 2))" conv=notrunc status=none
        verify 1 'unread: .*'
    done
}

@test "a journal that is compressed after it was indexed is not counted again; what comes later is" {
    [ "$("$JOBBOX" report --csv --columns jobs | tail -n 1)" = 5 ]
    zstd -q --rm "$FILE"
    [ "$("$JOBBOX" report --csv --columns jobs | tail -n 1)" = 5 ]
    mv "$FILE.zst" "$T/journal/2020-01.jsonl.zst"
    [ "$("$JOBBOX" report --csv --columns jobs | tail -n 1)" = 5 ]
    sed 's/"id":"01/"id":"02/; s/"job":"01/"job":"02/' "$FILE_DIR/seed/state/journal/${FILE##*/}" >"$FILE"
    [ "$("$JOBBOX" report --csv --columns jobs | tail -n 1)" = 10 ]
}

@test "last month is from its first moment to its last, by the clock on the wall" {
    export TZ=Europe/Berlin
    [ -e /usr/share/zoneinfo/Europe/Berlin ] || skip "needs the zone Europe/Berlin"
    /usr/bin/python3 - "$SOURCE_DIR/tests/data/report/clean.jsonl" "$FILE" <<'END'
import datetime, json, sys, zoneinfo
zone = zoneinfo.ZoneInfo("Europe/Berlin")
now = datetime.datetime.now(zone)
this = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
last = (this - datetime.timedelta(days=1)).replace(day=1)
second = datetime.timedelta(seconds=1)
times = {"before": last.astimezone(datetime.timezone.utc) - second, "first": last, "middle": last + datetime.timedelta(days=14),
         "end": this.astimezone(datetime.timezone.utc) - second, "after": this}
line = json.loads(open(sys.argv[1]).readline())
with open(sys.argv[2], "w") as out:
    for i, (name, at) in enumerate(times.items()):
        text = at.astimezone(datetime.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
        line["id"] = line["job"] = "01M4SN000000000000000003" + "%02d" % i
        line["name"] = name
        for key in ("submitted", "eligible", "setup_started", "started", "ended", "destroyed"):
            line["times"][key] = text
        out.write(json.dumps(line) + "\n")
END
    names() { "$JOBBOX" history --all --csv --columns name "$@" 2>/dev/null | tail -n +2 | tr '\n' ' '; }
    [ "$(names --from 'last month')" = "first middle end " ]
    [ "$(names --from 'last month' --to now)" = "first middle end after " ]
    [ "$(names --from 'this month')" = "after " ]
    [ "$("$JOBBOX" report --from 'last month' --csv --columns jobs | tail -n 1)" = 3 ]
    "$JOBBOX" report --from 'last month' --html "$T/page.html"
    "$HERE/page_data.py" "$T/page.html" is 'd["jobs"] == 3'
}
