#!/usr/bin/env bats
# docs/platforms.md says nothing that no test stands behind, and every file of tests is run in a guest or says why not.

: "${SOURCE_DIR:=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}"

setup()
{
    cd "$SOURCE_DIR" || return
}

@test "every cell of docs/platforms.md has its line, every line a cell and a test that is there" {
    python3 - <<'X'
import re, sys
text = open("docs/platforms.md", encoding="utf-8").read()
joined = re.sub(r"\n  (?=\S)", " ", text)  # continued lines of the lists
lines = dict(re.findall(r"^- ([a-z]\d+): (.*)$", joined, re.M))
table = "\n".join(line for line in joined.split("\n") if line.startswith("|"))
cited = set(re.findall(r"\(([a-z]\d+)\)", table))
bad = ["(%s) has no line" % name for name in sorted(cited - set(lines))]
bad += ["%s is in no cell" % name for name in sorted(set(lines) - cited)]
for name, line in lines.items():
    found = re.match(r'`(tests/functional/\w+\.bats)`: "(.*?)"(?:$|;)', line)
    if not found:
        bad.append("%s names no test: %s" % (name, line))
    elif '@test "%s" {' % found[2] not in open(found[1], encoding="utf-8").read():
        bad.append("%s: %s has no test \"%s\"" % (name, found[1], found[2]))
words = re.compile(r"\b(works|refuses|degrades)\b(?!.*\(|.*tests/unit)")
for line in table.split("\n")[2:]:
    for cell in line.strip("|").split("|")[1:]:
        for part in cell.split(";"):
            if words.search(part) and "pressure" not in line and "| works |" not in line:
                bad.append("nothing stands behind: %s" % part.strip())
print("\n".join(bad))
sys.exit(bool(bad) or len(lines) < 30)
X
}

# Three times: as root, as an ordinary user with a delegation, as one without; or tests/vm/exceptions says, for each of them
# for whom it is not so, why the file ("| * |") is not for them.
@test "every functional test runs in a guest as root, delegated and user, or its exception says why not" {
    local file who bad=0 listed
    listed=$(sed 's/#.*//' tests/vm/suites)
    for file in tests/functional/*.bats; do
        file=$(basename "$file" .bats)
        for who in root delegated user; do
            grep -qE "^[a-z0-9-]+ +[0-9.]+ +[0-9x+]+ +$who +(ci|all) .*functional/$file\.bats( |\$)" <<<"$listed" ||
                grep -qE "^((host|root|user|delegated) )*(host|$who) ([a-z]+ )*\| $file \| \* \| ." tests/vm/exceptions ||
                { echo "$file: neither in tests/vm/suites for $who nor in tests/vm/exceptions" && bad=1; }
        done
    done
    for file in $(grep -oE '[a-z]+/[a-z0-9_]+\.bats' <<<"$listed" | sort -u); do
        [ -f "tests/$file" ] || { echo "tests/vm/suites: there is no $file" && bad=1; }
    done
    [ "$bad" -eq 0 ]
}

@test "every exception is of a test that is there, of somebody, and has a reason" {
    local who file name reason test found bad=0
    while IFS='|' read -r who file name reason; do
        [[ $who != \#* ]] || continue
        file=tests/functional/${file// /}.bats name=${name# } name=${name% } found=0
        [[ "$who" =~ ^((root|user|delegated|host)\ )+$ ]] && [ ${#reason} -gt 5 ] && [ -f "$file" ] ||
            { echo "not understood: $who|$file|$name|$reason" && bad=1 && continue; }
        while read -r test; do
            # shellcheck disable=SC2053 # a pattern
            [[ $test != $name ]] || found=1
        done < <(sed -n 's/^@test "\(.*\)" {$/\1/p' "$file")
        [ "$found" = 1 ] || { echo "$file has no test \"$name\"" && bad=1; }
    done <tests/vm/exceptions
    [ "$bad" -eq 0 ]
}
