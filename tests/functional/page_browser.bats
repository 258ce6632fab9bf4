#!/usr/bin/env bats
# The page of jobbox report --html in a headless Chromium: it is drawn without an error, sorted, filtered, read by keyboard.
# JBT_SCREENSHOTS=FOLDER keeps the pictures, to be looked at.
# bats file_tags=slow

load lib

setup()
{
    command -v chromedriver >/dev/null && command -v chromium >/dev/null || skip "needs chromium and chromium-driver"
    T=$(mktemp -d "${TMPDIR:-/tmp}/jbt.XXXXXX")
    export XDG_CACHE_HOME=$T/cache TZ=UTC0
    GEN=$JOBBOX_BUILD/tests/bench/gen_records
    printf 'paths: { runtime: %s/run, state: %s/state }\n' "$T" "$T" >"$T/site.yaml"
    chmod 600 "$T/site.yaml"
    export JOBBOX_CONFIG=$T/site.yaml
    mkdir "$T/journals"
}

teardown()
{
    [ -z "${T-}" ] || rm -rf "${T:?}"
}

page()
{
    "$JOBBOX" report --journal "$T/journals" --html "$T/page.html"
}

@test "a year of jobs is drawn, sorted and filtered, by mouse and keyboard, in light and dark" {
    "$GEN" --count 20000 --users 40 "$T/journals"
    page
    "$HERE/page_browser.py" year "$T/page.html" "$T"
    [ -s "$T/light.png" ] && [ -s "$T/dark.png" ]
    [ -z "${JBT_SCREENSHOTS-}" ] || cp "$T"/*.png "$JBT_SCREENSHOTS"
}

@test "names that look like markup are texts" {
    /usr/bin/python3 - "$SOURCE_DIR/tests/data/report/clean.jsonl" "$T/journals/2026-10.jsonl" <<'END'
import json, sys
evil = ["</script><script>window.ran=1</script>", "<img src=x onerror=window.ran=1>", "<svg onload=window.ran=1>", "__proto__", "constructor",
        "\" onmouseover=\"window.ran=1", "javascript:window.ran=1", "{{ran}}${window.ran=1}"]
lines = open(sys.argv[1], encoding="utf-8").readlines()
with open(sys.argv[2], "w", encoding="utf-8") as out:
    for i, text in enumerate(evil):
        r = json.loads(lines[i])
        r["name"] = r["account"] = r["user"] = r["end"]["reason"] = text
        out.write(json.dumps(r) + "\n")
END
    page
    "$HERE/page_browser.py" hostile "$T/page.html"
}

@test "a page without records says so" {
    : >"$T/journals/2026-10.jsonl"
    page
    "$HERE/page_browser.py" empty "$T/page.html"
}
