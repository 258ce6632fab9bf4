#!/usr/bin/env bats
# The page of jobbox report --html: its figures are those of the other reports, and nothing in a record gets out of its place.

load lib

setup()
{
    T=$(mktemp -d "${TMPDIR:-/tmp}/jbt.XXXXXX")
    export XDG_CACHE_HOME=$T/cache TZ=UTC0
    DATA=$SOURCE_DIR/tests/data/report
    GEN=$JOBBOX_BUILD/tests/bench/gen_records
    printf 'paths: { runtime: %s/run, state: %s/state }\n' "$T" "$T" >"$T/site.yaml"
    chmod 600 "$T/site.yaml"
    export JOBBOX_CONFIG=$T/site.yaml
    mkdir "$T/journals"
    PAGE=$T/page.html
}

teardown()
{
    rm -rf "${T:?}"
}

page()
{
    "$JOBBOX" report --journal "$T/journals" --html "$PAGE" "$@"
}

# data CHECK [ARGUMENT...]: see page_data.py
data()
{
    "$HERE/page_data.py" "$PAGE" "$@"
}

golden()
{
    cp "$DATA/clean.jsonl" "$T/journals/2026-10.jsonl"
}

@test "the page is one file that loads nothing, and allows its own script alone" {
    golden
    page
    data frame
    data is 'd["jobs"] == 14 and sum(d["jobs_of"]) == 14 and d["period"] == ["2026-10-01", "2026-11-01"]'
    [ "$(wc -c <"$PAGE")" -lt 200000 ]
}

@test "its sums are those of the report" {
    golden
    page
    "$JOBBOX" report --journal "$T/journals" --by user,account,reason --json >"$T/json"
    data sums "$T/json"
    "$GEN" --count 6000 --users 20 "$T/journals"
    page --from 2025 --to 2025
    data frame
    # more accounts than can be told apart are put together
    data is 'd["account_others"] > 1 and len(d["account"]) == 9'
    "$JOBBOX" report --journal "$T/journals" --by account --json --from 2025 --to 2025 >"$T/accounts"
    /usr/bin/python3 - "$T/accounts" "$(data get '[d["account"], [sum(c for c, a in zip(d["core_hours"], d["account_of"]) if a == i) for i in range(10)]]')" <<'END'
import ast, json, sys
report = {r["account"]: r["core_hours"] for r in json.load(open(sys.argv[1]))["rows"]}
names, sums = ast.literal_eval(sys.argv[2])
assert names == sorted(report, key=report.get, reverse=True)[:9]
rest = sum(v for k, v in report.items() if k not in names)
for value, wanted in zip(sums, [report[n] for n in names] + [rest], strict=True):
    assert abs(value - wanted) <= 1e-4 * wanted, (value, wanted)
END
}

@test "core-hours by day and account are those of the report" {
    "$GEN" --count 3000 --users 8 "$T/journals"
    page
    "$JOBBOX" report --journal "$T/journals" --by day,account --json --columns core_hours >"$T/json"
    [ "$(data get 'd["fine"]["span"]')" = day ]
    data get '[(d["fine"]["names"][sum(r[2:k+1:2])], d["account"][r[0]] if r[0] < len(d["account"]) else "", r[k+1]) for r in d["series"] for k in range(2, len(r), 2)]' >"$T/series"
    /usr/bin/python3 - "$T/json" "$T/series" <<'END'
import ast, collections, json, sys
page = collections.Counter()
for day, account, value in ast.literal_eval(open(sys.argv[2]).read()):
    page[day, account] += value
known = {a for _, a in page}
report = collections.Counter()
for r in json.load(open(sys.argv[1]))["rows"]:
    report[r["day"], r["account"] if r["account"] in known else ""] += r["core_hours"]
assert len(report) > 300 and {k for k, v in report.items() if v > 0} == set(page)
for key, value in page.items():
    assert abs(value - report[key]) <= 1e-3 * report[key], (key, value, report[key])
END
}

@test "busy cores are those that the journals say" {
    "$GEN" --count 3000 --users 8 "$T/journals"
    page
    data busy "$T"/journals/*.jsonl
}

@test "names are texts, whatever they say" {
    golden
    /usr/bin/python3 - "$T/journals/2026-10.jsonl" "$T/journals/2026-09.jsonl" <<'END'
import json, sys
evil = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(1)>", "\x1b]0;title\x07\x1b[2J\u202eevil", "<!--<script>", "]]>&lt;&amp;",
        "\"};alert(1);//", "\u2028x\u2029", "__proto__", "@DATA@@SCRIPT@"]
lines = open(sys.argv[1], encoding="utf-8").readlines()
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for i, text in enumerate(evil):
        r = json.loads(lines[i])
        r["id"] = r["job"] = "01M4SN000000000000000001" + "%02d" % i
        r["name"] = r["account"] = r["user"] = r["end"]["reason"] = text
        r["labels"] = {text: text}
        out.write(json.dumps(r) + "\n")
END
    page
    data frame
    data is 'd["jobs"] == 23'
    data is "{'</script><script>alert(1)</script>', '<img src=x onerror=alert(1)>', '__proto__', '@DATA@@SCRIPT@'} <= set(d['user']) & set(d['reason'])"
    data is "any('title' in (n or '') for n in d['user'])"
    data is "'</script><script>alert(1)</script>' in [p[1] for p in d['sample']]"
    run ! grep -qE '<img|<!--' "$PAGE"
    page --user '</script>*' --label '<img src=x onerror=alert(1)>'
    data frame
    page --user '</script>*'
    data frame
    data is 'd["jobs"] == 1 and d["asked"] == [["user", "</script>*"]]'
}

@test "names of any length make no large page" {
    golden
    /usr/bin/python3 - "$T/journals/2026-10.jsonl" "$T/journals/2026-09.jsonl" <<'END'
import json, sys
line = json.loads(open(sys.argv[1], encoding="utf-8").readline())
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for i in range(400):
        line["id"] = line["job"] = "01M4SN00000000000000001%03d" % i
        line["name"] = line["user"] = "%03d" % i + "ä€" * 800
        out.write(json.dumps(line) + "\n")
END
    page
    data frame
    data is 'd["jobs"] == 414 and all(len(n) < 162 and (len(n) < 60 or n.endswith("…")) for n in d["user"] if n)'
    [ "$(wc -c <"$PAGE")" -lt 600000 ]
}

@test "what is not known is left out and counted, never 0" {
    golden
    /usr/bin/python3 - "$T/journals/2026-10.jsonl" <<'END'
import json, sys
lines = open(sys.argv[1], encoding="utf-8").readlines()
r = json.loads(lines[0])
r["id"] = r["job"] = "01M4SN00000000000000000100"
r["user"] = r["account"] = r["name"] = None
r["used"] = r["granted"] = None
r["times"] = dict.fromkeys(r["times"])
r["times"]["submitted"] = "2026-10-03T00:00:00Z"
open(sys.argv[1], "w", encoding="utf-8").write(json.dumps(r) + "\n")
END
    page
    data frame
    data is 'd["jobs"] == 1 and d["user"] == [None] and d["account"] == [None]'
    # core-hours, used, both efficiencies and the wait are unknown of the one job; it has no busy cores and is no point
    data is 'd["unknown"] == [0, 0, 1, 0, 1, 1, 0, 2, 1, 0, 3, 1, 0, 4, 1]'
    data is 'd["eff_bins"] == [] and d["wait_bins"] == [] and d["series"] == [] and d["sample"] == [] and d["top"] == []'
    data is 'd["no_memory"] == 1 and d["busy_unknown"] == 1'
}

@test "no records, and times that are none" {
    : >"$T/journals/2026-10.jsonl"
    page
    data frame
    data is 'd["jobs"] == 0 and d["jobs_of"] == [] and d["period"] == []'
    golden
    sed -n 2,3p "$DATA/clean.jsonl" | sed -e '1s/2026-10-01/1970-01-02/g' -e '2s/2026-10-02/9999-10-02/g' \
        -e 's/01M4SN0000000000000000000\([23]\)/01M4SN0000000000000000020\1/g' >"$T/journals/2026-11.jsonl"
    page
    data is 'd["jobs"] == 14 and d["outside"] == 2 and d["period"] == ["2026-10-01", "2026-11-01"]'
}

@test "days are those of the zone, also the one with 25 hours" {
    golden
    TZ=Europe/Berlin page --from 2026-10-25 --to 2026-10-25
    data is 'd["bounds"] == ["2026-10-25 00:00:00", "2026-10-26 00:00:00"]'
    data is 'd["fine"]["span"] == "hour" and all(n.startswith("2026-10-25") for n in d["fine"]["names"])'
    TZ=Europe/Berlin page
    data is '[n for n in d["fine"]["names"] if n.startswith("2026-10-2")] == ["2026-10-%d" % i for i in range(20, 30)]'
    TZ=Europe/Berlin page --utc
    data is 'd["zone"] == "UTC"'
}

@test "filters choose records" {
    golden
    page --account astro --reason completed,failed
    data is 'd["account"] == ["astro"] and set(d["reason"]) <= {"completed", "failed"} and 0 < d["jobs"] < 14'
    [ "$(data get 'd["jobs"]')" = "$("$JOBBOX" report --journal "$T/journals" --account astro --reason completed,failed --csv --columns jobs | tail -n 1)" ]
    page --user nobody-at-all
    data is 'd["jobs"] == 0'
}

@test "the sample is the same each time, and of real jobs" {
    "$GEN" --count 5000 "$T/journals"
    page
    data get 'd["sample"]' >"$T/one"
    data is 'len(d["sample"]) == 2000 and len({p[0] for p in d["sample"]}) == 2000 and len(d["top"]) == 300'
    "$JOBBOX" history --journal "$T/journals" --all --csv --columns id,core_hours | tail -n +2 | sort >"$T/ids"
    data get '"\n".join(sorted(p[0] for p in d["sample"]))' | comm -23 - <(cut -d, -f1 "$T/ids") | diff /dev/null -
    # the greatest by core-hours
    sort -t, -k2,2gr "$T/ids" | head -n 300 | cut -d, -f1 | sort >"$T/greatest"
    data get '"\n".join(sorted(j[0] for j in d["top"]))' | diff "$T/greatest" -
    rm -rf "$T/cache"
    page
    data get 'd["sample"]' | diff "$T/one" -
}

@test "prices are a figure of the page" {
    golden
    printf 'currency: "EUR"\nprices: [ { core_hour: 1 }, { account: physics, core_hour: 0.5, gib_hour: 0.001, device_hour: 2 } ]\n' >>"$T/site.yaml"
    page
    data frame
    data is 'd["currency"] == "EUR"'
    data is 'abs(sum(c for c, a in zip(d["cost"], d["account_of"]) if d["account"][a] == "physics") - 218.304) < 0.01'
}

@test "the file is replaced as a whole; - is standard output" {
    golden
    echo old >"$PAGE"
    exec 7<"$PAGE"
    page
    [ "$(cat <&7)" = old ]
    [ "$(find "$T" -maxdepth 1 -name 'page*' | wc -l)" -eq 1 ]
    "$JOBBOX" report --journal "$T/journals" --html - >"$T/out.html"
    [ "$(head -n 1 "$T/out.html")" = "<!DOCTYPE html>" ]
    diff <(sed 's/"made":"[^"]*"//' "$PAGE") <(sed 's/"made":"[^"]*"//' "$T/out.html")
    run "$JOBBOX" report --journal "$T/journals" --html "$T/no/such/folder/page.html"
    [ "$status" -eq 1 ]
    [[ $output = *"no/such/folder/page.html: No such file or directory"* ]]
    run -1 "$JOBBOX" report --journal "$T/journals" --html /dev/full/page
    "$JOBBOX" report --journal "$T/journals" --html - >/dev/full 2>"$T/err" && fail "a full disk was not noticed"
    grep -q "writing the page: No space left on device" "$T/err"
    for other in "--by user" "--as json" "--columns wait" "--top 3" "-o $T/x"; do
        # shellcheck disable=SC2086 # two words
        run page $other
        [ "$status" -eq 125 ]
        [[ $output = *"--html has its own groups and columns"* ]]
    done
}
