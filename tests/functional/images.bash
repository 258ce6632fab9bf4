# shellcheck shell=bash
# shellcheck disable=SC2034,SC2016 # for the tests that load this; expanded by the inner shell
# What the tests of images share, on top of lib.bash. LAYOUT makes OCI layouts, TREELIST lists trees to compare.

LAYOUT=$HERE/layout.py
TREELIST=$HERE/treelist.py

needs_programs()
{
    local program
    for program in "$@"; do
        command -v "$program" >/dev/null || skip "needs $program: scripts/setup installs it"
    done
}

# image VERB...: jobbox image with this test's site.
image()
{
    jobbox image "$1" --config "$CONF" "${@:2}"
}

# The store is whole and nothing is left half done.
store_is_whole()
{
    image verify >/dev/null || fail "the store is damaged" || return 1
    [ -z "$(ls -A "$T/state/images/tmp")" ] || fail "left in tmp: $(ls "$T/state/images/tmp")"
}

# The layers of an image as one tree, with the kernel's own idea of what whiteouts mean. For root.
list_image()
{
    local lowers
    lowers=$(image inspect --json "$1" | python3 -c 'import json, sys
print(":".join(l["path"] for l in json.load(sys.stdin)[0]["layers"][::-1]))') || return 1
    mkdir -p "$T/empty" "$T/merged"
    unshare -m sh -c 'mount -t overlay -o "ro,lowerdir=$1" none "$2" && exec python3 "$3" "$2"' sh \
        "$lowers:$T/empty$([ "$JBT_AS" = root ] || echo ,userxattr)" "$T/merged" "$TREELIST"
}

# A shell script that gives the same answer in every image with a shell.
SAME_ANSWER='set -e
echo one >/tmp/a; mkdir -p /opt/new; echo two >/opt/new/b
rm -f /etc/group; cat /tmp/a /opt/new/b
test ! -e /etc/group; test -d /proc/1; test -c /dev/null
id -u; pwd; echo "$ASKED"; echo "$JOBBOX_CPUS"; exit 7'
