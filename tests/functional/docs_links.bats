#!/usr/bin/env bats
# What the documentation points at is there: relative links and their headings, paths of the source tree, manual pages.

: "${SOURCE_DIR:=$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}"
: "${JOBBOX:=${JOBBOX_BUILD:-$SOURCE_DIR/build}/jobbox}"

setup()
{
    cd "$SOURCE_DIR" || return
    mapfile -t pages < <(find . \( -name .git -o -name 'build*' -o -name images -o -name results \) -prune -o \
        -name '*.md' -print | sort)
    [ ${#pages[@]} -ge 10 ]
}

# The anchor of each heading of a page, as the usual renderers make it.
anchors()
{
    sed -n 's/^#\{1,6\} //p' "$1" | tr '[:upper:]' '[:lower:]' | sed 's/[^a-z0-9 _-]//g; s/ /-/g'
}

@test "every relative link leads to a file, and to a heading where it names one" {
    local page target file anchor bad=0 seen=0
    for page in "${pages[@]}"; do
        while read -r target; do
            case $target in
            *://* | mailto:*) continue ;;
            esac
            seen=$((seen + 1))
            file=${target%%#*} anchor=
            [[ $target != *"#"* ]] || anchor=${target#*#}
            file=${file:+$(dirname "$page")/$file}
            file=${file:-$page}
            if [ ! -e "$file" ]; then
                echo "$page: link to $target: no such file" && bad=1
            elif [ -n "$anchor" ] && ! anchors "$file" | grep -qxF -- "$anchor"; then
                echo "$page: link to $target: no such heading" && bad=1
            fi
        done < <(grep -oE '\]\([^) ]+\)' "$page" | sed 's/^](//; s/)$//')
    done
    [ "$seen" -ge 20 ]
    [ "$bad" -eq 0 ]
}

@test "every path of the source tree that a page names is there" {
    local page path bad=0 seen=0
    for page in "${pages[@]}"; do
        while read -r path; do
            seen=$((seen + 1))
            path=${path%[.,:;]}
            [ -e "$path" ] || { echo "$page: $path is not there" && bad=1; }
        done < <(grep -oE '(^|[^[:alnum:]_./-])(configs|scripts|docs|tests|runner)/[[:alnum:]_./-]+' "$page" |
            grep -oE '(configs|scripts|docs|tests|runner)/[[:alnum:]_./-]+' | grep -v '/NAME\.' | sort -u)
    done
    [ "$seen" -ge 30 ]
    [ "$bad" -eq 0 ]
}

# The page itself, where the file of that name only sends to it.
page_of()
{
    local target
    target=$(sed -n 's/^\.so man[0-9]\///p' "$1")
    echo "docs/man/${target:-$(basename "$1")}"
}

@test "manual pages format without a warning and refer to pages that are there" {
    command -v groff >/dev/null || skip "needs groff"
    local page name section bad=0
    for page in docs/man/*.[15]; do
        [ -e "$(page_of "$page")" ] || { echo "$page sends to a page that is not there" && bad=1 && continue; }
        run groff -ww -mandoc -Tascii -z "$(page_of "$page")"
        [ "$status" -eq 0 ] && [ -z "$output" ] || { echo "$page: $output" && bad=1; }
        while read -r name section; do
            [ -e "docs/man/$name.$section" ] || { echo "$page: there is no $name($section)" && bad=1; }
        done < <(sed -n 's/^\.Xr \(jobbox[^ ]*\) \([0-9]\).*/\1 \2/p' "$page")
    done
    [ "$bad" -eq 0 ]
}

@test "every verb has a manual page, and every option of its usage is in it" {
    local verb option page bad=0 verbs=0
    while read -r verb; do
        verbs=$((verbs + 1))
        [ -e "docs/man/jobbox-$verb.1" ] || { echo "jobbox $verb has no page" && bad=1 && continue; }
        page=$(page_of "docs/man/jobbox-$verb.1")
        for option in $("$JOBBOX" "$verb" --help | grep -oE '^ .*--[a-z-]+' | grep -oE -- '--[a-z-]+$'); do
            grep -qE "Fl -${option#--}( |\$)" "$page" ||
                { echo "jobbox-$verb(1) does not tell of $option" && bad=1; }
        done
    done < <("$JOBBOX" --help | sed -n 's/^  \([a-z][a-z]*\) .*/\1/p')
    [ "$verbs" -ge 4 ]
    [ "$bad" -eq 0 ]
}

@test "every key of the site config and of the job spec is in its manual page" {
    local key bad=0 seen=0
    while read -r key; do
        seen=$((seen + 1))
        grep -qE "^\.(It )?.*Ic $key([. ]|\$)" docs/man/jobbox.conf.5 ||
            { echo "jobbox.conf(5) does not tell of $key" && bad=1; }
    done < <(sed -n 's/^\([a-z_]*\):.*/\1/p' configs/jobbox.conf.yaml)
    while read -r key; do
        seen=$((seen + 1))
        grep -qE "^\.(It|Ss) .*\b$key\b" docs/man/jobbox-job.5 ||
            { echo "jobbox-job(5) does not tell of $key" && bad=1; }
    done < <(/usr/bin/python3 -c 'import json, sys; print("\n".join(json.load(open(sys.argv[1]))["properties"]))' \
        configs/jobspec.schema.json)
    [ "$seen" -ge 35 ]
    [ "$bad" -eq 0 ]
}
