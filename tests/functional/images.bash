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

# What gives the same answer in everything that has a shell and awk, also where most files are not the submitter's to change.
PLAIN_ANSWER='set -e
umask; id -u; hostname; pwd; echo "$ASKED $JOBBOX_CPUS"
mkdir -p /tmp/d/e; i=0; while [ $i -lt 100 ]; do i=$((i + 1)); echo $((i * i % 97)) >/tmp/d/e/$i; done
cat /tmp/d/e/* | sort -n | uniq -c | awk "{ n += \$1 * \$2; m = \$2 } END { print n, m }"
ln -s d/e/7 /tmp/link; cat /tmp/link; rm -r /tmp/d; test ! -e /tmp/link
echo kept >/work/file; wc -c </work/file
test -c /dev/null; test -d /proc/1; ls /sys/class/net; touch /usr/x 2>/dev/null && rm /usr/x || true
sh -c "exit 3" || echo "code $?"; exit 7'

plain_job()
{
    script "$PLAIN_ANSWER" "image: $1" "env: { ASKED: yes }" "name: same" \
        "resources: { cpus: 1, cpu_unit: thread, exclusive: false }"
}

# plain_is UID: the one answer.
plain_is()
{
    exits 7 && out_is "0022
$1
same
/work
yes 1
4670 96
49
5
lo
code 3"
}

# The ordinary user of JBT_AS=user is given ranges of ids from here on.
with_ranges()
{
    cp /etc/passwd passwd
    echo "jbtranges:x:$ORDINARY:$ORDINARY::/:/bin/sh" >>passwd
    echo "jbtranges:700000:65535" >subid
    AS=(unshare -m sh -c 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/subid" /etc/subuid && mount --bind "$0/subid" /etc/subgid && exec "$@"' "$T" "${AS[@]}")
}
