#!/usr/bin/env bats
# What a job changed, as it is found in the upper layers: over an image, over the host, and for an ordinary user.
# Runs as: root, user

load lib

setup_file()
{
    file_setup
    mkdir -p "$FILE_DIR/image/data/old" "$FILE_DIR/image/data/moved"
    printf 'one\n' >"$FILE_DIR/image/data/edited"
    printf 'two\n' >"$FILE_DIR/image/data/touched"
    printf 'three\n' >"$FILE_DIR/image/data/same"
    printf 'four\n' >"$FILE_DIR/image/data/mode"
    printf 'five\n' >"$FILE_DIR/image/data/gone"
    printf 'six\n' >"$FILE_DIR/image/data/typed"
    printf 'x\n' >"$FILE_DIR/image/data/old/inside"
    printf 'y\n' >"$FILE_DIR/image/data/old/kept"
    printf 'z\n' >"$FILE_DIR/image/data/moved/inside"
    ln -s one "$FILE_DIR/image/data/link"
    chmod -R a+rwX "$FILE_DIR/image/data"
    to_submitter "$FILE_DIR/image/data"
}

teardown_file() { file_teardown; }

setup()
{
    test_setup
    needs_cgroups
}

teardown() { test_teardown; }

# Everything that can be done to a file, and things that are no change.
SCRIPT='cd /data
    echo new >added; mkdir -p dir/sub; echo n >dir/sub/file; ln -s added newlink
    echo ONE >edited; touch touched; cat same >/tmp/s; cat /tmp/s >same; rm /tmp/s; chmod 600 mode
    rm gone; rm typed; mkdir typed; rm link; ln -s other link
    rm -r old; mkdir -m 777 old; echo y >old/kept; chmod 666 old/kept; mv moved renamed
    echo w >/work/w'

EXPECTED='A /data/added
A /data/dir/
A /data/dir/sub/
A /data/dir/sub/file
M /data/edited
D /data/gone
M /data/link
M /data/mode
D /data/moved/
A /data/newlink
D /data/old/inside
R /data/typed/
A /work/w'

# How a renamed directory looks depends on the kernel: as a whole, or copied.
listed()
{
    local got
    got=$(grep -v '^A /data/renamed' "$1")
    [ "$got" = "$EXPECTED" ] || fail "not as expected: $got"
    grep -q '^A /data/renamed/' "$1" || fail "the renamed directory is not in it"
}

@test "--changes lists what was added, modified, deleted and replaced, and nothing that was only touched" {
    script "$SCRIPT"
    run_job --changes
    exits 0
    listed err
    record 'changes.deleted == 3' 'changes.replaced == 1' 'changes.modified == 3' 'changes.truncated is False' 'warnings == []'
}

@test "a node that an overlay would take for a deleted file is one that was added, where no overlay is; it is not kept" {
    script 'mknod /work/node c 0 0 && echo made; exit 3' 'keep: on_failure' # anybody may make it
    run_job --changes
    exits 3
    out_is made
    [ "$(grep -v '^jobbox: ' err)" = 'A /work/node' ] || fail "not as expected: $(cat err)"
    record 'changes.added == 1' 'kept.left_out == 1'
    [ ! -e "state/kept/$(show rec.id)/fs/work/node" ] || fail "it is kept"
}

@test "modes of the root, and of folders that jobbox had copied or made before the job, are changes too" {
    # an ordinary user's root is not his in every kind of box
    [ "$JBT_AS" = root ] || skip "changes what is root's"
    script 'chmod 711 / /etc /bin /work /data/old; chmod 755 /data' 'user: root-in-box'
    chmod 755 "$IMAGE" "$IMAGE/etc" "$IMAGE/bin" "$IMAGE/data"
    run_job --changes
    exits 0
    [ "$(cat err)" = 'M /
M /bin/
M /data/old/
M /etc/
M /work/' ] || fail "not as expected: $(cat err)"
}

@test "with scratch on disk too" {
    site_config "env: { JBT_MARK: $T }" 'scratch: { backend: disk }'
    script "$SCRIPT" 'allow_degraded: [scratch]'
    run_job --changes
    exits 0
    listed err
}

ordinary_user()
{
    needs_root # to become another one
    setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups unshare -Ur true 2>/dev/null ||
        skip "this host does not let ordinary users have a user namespace"
    user_setup
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
}

# A tmpfs of Linux before 6.6 has no user attributes, and an overlay in a user namespace marks such directories with them.
doctor_knows() { as_user ./jobbox doctor --config site.user 2>&1 | grep -q '^degraded *overlay .*fails with EIO'; }

@test "an ordinary user's directory in place of what he removed, or what doctor says of it" {
    ordinary_user
    cp -a "$FILE_DIR/image" "$T/image"
    chown -R "$ORDINARY:$ORDINARY" "$T/image/data"
    IMAGE=$T/image script 'cd /data; rm typed; mkdir typed || exit 9; echo made' 'allow_degraded: [cpuset, memory, pids]'
    code=0
    as_user timeout -k 5 $((60 * JBT_SLOWER)) ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
    if doctor_knows; then
        exits 9
        err_has 'Input/output error'
    else
        exits 0
        out_is made
    fi
}

@test "for an ordinary user" {
    ordinary_user
    ! doctor_knows || skip "no user attributes in a tmpfs of this kernel"
    # the image's files are another user's: he may write to them, and copies belong to whoever he is in the box
    cp -a "$FILE_DIR/image" "$T/image"
    chown -R "$ORDINARY:$ORDINARY" "$T/image/data"
    IMAGE=$T/image script "$SCRIPT" 'allow_degraded: [cpuset, memory, pids]'
    code=0
    as_user timeout -k 5 $((60 * JBT_SLOWER)) ./jobbox run -q --config site.user --changes job.yaml >out 2>err </dev/null || code=$?
    exits 0
    listed err
}

@test "changes in the spec writes a file, as text or as JSON, also when the job failed" {
    script 'echo x >/work/x; exit 3' 'changes: got/%n.txt' 'name: c'
    run_job
    exits 3
    [ "$(cat got/c.txt)" = "A /work/x" ] || fail "$(cat got/c.txt)"
    script 'echo x >/work/x; rm /data/gone' 'changes: got/c.json'
    run_job
    exits 0
    python3 -c 'import json, sys
all = json.load(open("got/c.json"))
assert all["summary"]["added"] == 1 and all["summary"]["deleted"] == 1, all
assert {"path": "/work/x", "change": "added", "type": "file", "mode": "0644", "size": 2} in all["changes"], all
assert {"path": "/data/gone", "change": "deleted", "type": "file", "mode": all["changes"][0]["mode"], "size": 5} in all["changes"], all' || fail "$(cat got/c.json)"
    [ ! -s err ] || fail "$(cat err)"
}

@test "over the host: its several layers, and nothing of what jobbox itself makes" {
    needs_root "changes what is root's"
    script 'true' 'image: host'
    run_job --changes
    exits 0
    [ ! -s err ] || fail "a job that did nothing changed: $(cat err)"
    script 'echo x >/etc/jbt-new; rm /etc/hostname; chmod 700 /opt; echo y >/usr/local/jbt' 'image: host'
    run_job --changes
    exits 0
    local got
    got=$(sort err)
    [ "$got" = "A /etc/jbt-new
A /usr/local/jbt
D /etc/hostname
M /opt/" ] || fail "$got"
    [ -e /etc/hostname ] && [ ! -e /etc/jbt-new ] || fail "the host was changed"
}

@test "names of the job neither speak to the terminal nor make lines of their own" {
    # shellcheck disable=SC2016
    script 'cd /work; : >"$(printf "a\nA etc")"; : >"$(printf "b\033[2Jc")"'
    run_job --changes=list
    exits 0
    [ "$(wc -l <list)" = 2 ] || fail "$(cat -v list)"
    grep -qxF 'A /work/a\012A etc' list || fail "$(cat -v list)"
    ! grep -q "$(printf '\033')" list || fail "an escape came through"
}

@test "nobody asked: there is no list, and the record says null" {
    script 'echo x >/work/x'
    run_job
    exits 0
    record 'changes is None'
}

@test "a file that cannot be written is a warning of the record, not the job's failure" {
    script 'echo x >/work/x'
    run_job --changes=/proc/nosuch/x
    exits 0
    record 'any(w.startswith("changes: ") for w in warnings)' 'changes.added == 1'
}
