#!/usr/bin/env bats
# Runs as: root, user
# What is kept of a box: keep, ps --kept, enter, commit, discard, the site's limits, and that nothing of it is ever half done.

# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the shells in the boxes expand those; bats runs each test in a shell of its own
load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    # his own: in a user namespace of one id nothing can be written to folders of others
    cp -a "$FILE_DIR/image" "$T/image"
    mkdir -p "$T/image/data/old"
    echo one >"$T/image/data/one"
    echo two >"$T/image/data/old/two"
    [ "$JBT_AS" = root ] || chown -R "$ORDINARY:$ORDINARY" "$T/image"
    IMAGE=$T/image
}

teardown() { test_teardown; }

# jb VERB ARGUMENT...: sets `code`; output in $T/out and $T/err.
jb()
{
    local verb=$1
    shift
    code=0
    jobbox "$verb" --config "$CONF" "$@" >"$T/out" 2>"$T/err" </dev/null || code=$?
}

# The ids of what is kept, the oldest first.
kept()
{
    ls "$T/state/kept" 2>/dev/null || true
}

# No name in the store but those of whole boxes.
nothing_half_done()
{
    local left dir
    left=$(find "$T/state/kept" -mindepth 1 -maxdepth 1 -name '.*' ! -name .lock)
    [ -z "$left" ] || fail "half done: $left"
    for dir in "$T"/state/kept/*; do
        [ ! -e "$dir" ] || { [ -s "$dir/about.json" ] && [ -s "$dir/spec.yaml" ] && [ -d "$dir/fs" ]; } || fail "$dir is not whole"
    done
}

CHANGES='cd /data
    echo new >added; mkdir -p dir/sub; echo n >dir/sub/file; ln -s added newlink; ln added hard; chmod 751 dir
    echo ONE >one; rm -r old; mkdir old; echo y >old/three; mkfifo pipe
    dd if=/dev/zero of=sparse bs=1 count=1 seek=1048576 2>/dev/null
    echo w >/work/w; echo t >/tmp/t; echo r >/run/r'

# What a look into such a box shows.
LOOK='cd /data; ls -d * old/*; cat one added dir/sub/file; [ hard -ef added ] && echo linked; stat -c %a dir
    [ -p pipe ] && echo fifo; stat -c %s sparse; cat /work/w /tmp/t; ls /run/r 2>&1 || true'

SEEN='added
dir
hard
newlink
old
old/three
one
pipe
sparse
ONE
new
n
linked
751
fifo
1048577
w
t
ls: /run/r: No such file or directory'

# keep_one [YAML-LINE...]: a failed job that did all that; sets `id`.
keep_one()
{
    script "$CHANGES
exit 3" 'keep: on_failure' "$@"
    run_job
    exits 3
    id=$(show rec.id)
    [ -d "state/kept/$id/fs" ] || fail "nothing is kept: $(show rec.kept)"
}

@test "keep: what a failed job wrote is kept, of one that succeeded only with always" {
    script 'echo x >/work/x' 'keep: on_failure'
    run_job
    exits 0
    record 'kept is None' 'entered is None'
    [ -z "$(kept)" ]
    script 'echo x >/work/x; exit 1'
    run_job
    exits 1
    record 'kept is None'
    [ -z "$(kept)" ]
    script 'echo x >/work/x; exit 1' 'keep: never'
    run_job
    record 'kept is None'
    script 'echo x >/work/x; exit 1' 'keep: on_failure'
    run_job
    exits 1
    id=$(show rec.id)
    record "kept.path == '$T/state/kept/$id/fs'" '0 < kept.bytes < 1 << 20' 'kept.files > 0' 'kept.left_out == 0' 'warnings == []'
    [ "$(cat "state/kept/$id/fs/work/x")" = x ]
    [ "$(stat -c %a state/kept)" = 700 ] || fail "others may look at it"
    script 'echo y >/work/y' 'keep: always' 'stdout: out.%j'
    run_job
    exits 0
    [ "$(cat "state/kept/$(show rec.id)/fs/work/y")" = y ]
    [ "$(kept | wc -l)" = 2 ]
    nothing_half_done
}

@test "the summary says where the files are, and ps --kept lists them until they are discarded" {
    keep_one 'name: lost'
    jb ps --kept
    exits 0
    out_has "^$id  [0-9T:-]*  .*  failed  .* KiB .*lost$"
    jb ps --kept --json
    python3 -c 'import json, sys
one, = json.load(open("out"))
assert one["id"] == sys.argv[1] and one["exit_code"] == 3 and one["image"]["kind"] == "directory", one' "$id" || fail "$(cat out)"
    jb run job.yaml
    err_has "its files are kept \([0-9.]* KiB\): jobbox enter [0-9A-Z]{26}$"
    jb discard "$id"
    exits 0
    jb discard "$(kept)"
    exits 0
    [ -z "$(kept)" ] || fail "still there: $(kept)"
    jb ps --kept
    out_is ""
    nothing_half_done
    jb discard "$id"
    exits 124
    one_error "no kept box has an id that begins so"
}

@test "the example says what it promises" {
    cp "$SOURCE_DIR/configs/examples/keep.yaml" job.yaml
    run_job
    exits 1
    jb enter -q "$(show rec.id)" cat log
    exits 0
    out_is "step 1 worked"
}

@test "enter: a new box over a copy of what was kept, with a record of its own" {
    keep_one
    jb enter -q "$id" -- sh -c "$LOOK; exit 5"
    exits 5
    out_is "$SEEN"
    record "entered == '$id'" "rec.id != '$id'" 'kept is None' 'end.exit_code == 5' 'isolation.seccomp' 'rec.requested.keep == "never"'
    local before
    before=$(cd state/kept && find . | sort)
    jb enter -q "${id:0:14}" rm -r /data/added /data/dir /work/w
    exits 0
    [ "$(cd state/kept && find . | sort)" = "$before" ] || fail "what is kept was changed"
    jb enter -q "$id" -- sh -c "$LOOK"
    out_is "$SEEN"
    jb enter -q "$id" nosuchthing
    exits 127
    jb enter --json "$id" true
    python3 -c 'import json; assert json.load(open("out"))["end"]["reason"] == "completed"'
}

@test "enter again with scratch on disk" {
    site_config "env: { JBT_MARK: $T }" 'scratch: { backend: disk }'
    keep_one 'allow_degraded: [scratch]'
    jb enter -q "$id" -- sh -c "$LOOK"
    exits 0
    out_is "$SEEN"
}

@test "enter with a cap: what was kept has to fit in, and it does" {
    script 'dd if=/dev/zero of=/work/x bs=1M count=20 2>/dev/null; exit 1' 'resources: { scratch: 24MiB }' 'keep: on_failure'
    run_job
    exits 1
    id=$(show rec.id)
    jb enter -q "$id" -- sh -c 'stat -c %s /work/x; dd if=/dev/zero of=/work/y bs=1M count=20 2>&1 | grep -o "No space.*"'
    out_is "20971520
No space left on device"
}

@test "enter: what the spec wants of queue, streams, artifacts and changes is not done again" {
    script 'echo out; exit 1' 'keep: always' 'stdout: job.out' 'artifacts: [ { path: /work/*, to: got/, when: always } ]' 'changes: list'
    run_job
    exits 1
    rm -r job.out list
    jb enter -q "$(show rec.id)" -- sh -c 'echo here; touch /work/z'
    exits 0
    out_is here
    [ ! -e job.out ] && [ ! -e list ] && [ ! -e got ] || fail "$(ls)"
}

@test "enter: a shell in a live box, and a terminal where this is one" {
    script 'while [ ! -e /work/go ]; do sleep 0.02; done; cat /work/go'
    start_job
    until_true 10 test -n "$(ls run/boxes 2>/dev/null || true)" || true
    until_true 10 sh -c "ls $T/run/boxes | grep -q ."
    id=$(ls run/boxes)
    until_true 10 jobbox enter --config "$CONF" "$id" -- true
    jobbox enter --config "$CONF" "$id" -- sh -c 'echo gone >/work/go'
    end_job
    out_is gone
    [ "$(records)" = 1 ]
}

@test "over the host, with all its layers" {
    script 'echo x >/etc/jbt-kept; rm -f /etc/hostname; echo w >/work/w; exit 1' 'image: host' 'keep: on_failure'
    [ "$JBT_AS" = root ] || script 'echo w >/work/w; exit 1' 'image: host' 'keep: on_failure'
    run_job
    exits 1
    id=$(show rec.id)
    jb enter -q "$id" -- sh -c 'cat /work/w; [ ! -e /etc/jbt-kept ] || { cat /etc/jbt-kept; ls /etc/hostname 2>&1 | grep -c "No such"; }'
    exits 0
    [ "$JBT_AS" = root ] && out_is "w
x
1" || out_is "w"
    [ ! -e /etc/jbt-kept ] && [ -e /etc/hostname ]
    jb commit "$id" --image x:1
    exits 124
    one_error "lay over the host itself, which is no image"
}

@test "commit: an image of what the box lay over and what it wrote" {
    jb image import "$IMAGE" --name base:1
    exits 0
    IMAGE=base:1 keep_one
    jb commit -q "$id" --image mine:1
    exits 0
    out_has '^mine:1 sha256:'
    # another name for the base, and then none: what is kept knows it by its digest
    jb enter -q "$id" -- sh -c "$LOOK"
    out_is "$SEEN"
    # and its base is not collected before it goes
    jb image rm mine:1 base:1
    exits 0
    out_has 'kept 1 without a name: boxes use them'
    jb enter -q "$id" -- sh -c "$LOOK"
    out_is "$SEEN"
    jb commit -q "$id" --image mine:1
    exits 0
    jb image inspect --json mine:1
    python3 -c 'import json; one, = json.load(open("out")); assert len(one["layers"]) == 2, one; assert one["source"].startswith("box "), one' || fail "$(cat out)"
    jb image verify
    exits 0
    jb discard "$id"
    exits 0
    # /work and /tmp of the box are in the image; a box has its own /tmp
    script "${LOOK/ \/tmp\/t/}
ls /bin/sh" 'image: mine:1' 'workdir: /data'
    run_job
    exits 0
    out_is "$(grep -vx t <<<"$SEEN")
/bin/sh"
}

@test "commit: a file that is called like a whiteout hides nothing of the image below" {
    jb image import "$IMAGE" --name base:1
    exits 0
    script 'echo y >/new; echo x 2>/dev/null >/.wh.bin || exit 9; exit 1' 'image: base:1' 'keep: on_failure'
    run_job
    if [ "$code" = 9 ]; then
        record 'isolation.root == "fuse"'
        skip "fuse-overlayfs lets no job make such names"
    fi
    exits 1
    jb commit "$(basename state/kept/0*)" --image mine:1
    exits 0
    one_error '1 files and folders left out, as their names begin with ".wh."'
    script 'cat /new; ls /bin/sh; ls -a / | grep -c wh || true' 'image: mine:1'
    run_job
    exits 0
    out_is "y
/bin/sh
0"
}

@test "commit of a box over a directory takes the directory as it is now for the layer below" {
    keep_one
    jb commit --image mine:2 -q "$id"
    exits 0
    jb image inspect --json mine:2
    python3 -c 'import json; one, = json.load(open("out")); assert len(one["layers"]) == 2, one' || fail "$(cat out)"
    script 'cd /data; cat one added; ls old' 'image: mine:2'
    run_job
    exits 0
    out_is "ONE
new
three"
    jb commit --image 'Not A Name' "$id"
    exits 125
    jb commit "$id"
    exits 125
    jb commit --image a:1 01NOSUCH
    exits 124
}

@test "attributes of a user's overlay that a job of root's sets hide nothing, neither in a kept box nor in an image of it" {
    needs_root "in an ordinary user's box its overlay reads them, and lets nobody set them"
    mkdir "$T/bin"
    install -m 755 "$FILE_DIR/probe" "$T/bin/probe"
    script 'set -e; touch /data/one
for d in /data /data/old; do /probe/probe setxattr $d user.overlay.opaque y; done
/probe/probe setxattr /data/old user.overlay.redirect /etc
/probe/probe setxattr /data/one user.overlay.metacopy x
/probe/probe setxattr /data/one user.note y
cat /data/one /data/old/two; exit 3' 'keep: on_failure' 'user: root-in-box' "mounts: [{ source: $T/bin, target: /probe }]"
    run_job --changes
    exits 3
    out_is "one
two"
    ! grep /data err || fail "changes that are none"
    id=$(show rec.id)
    jb enter -q "$id" -- sh -c 'cat /data/one /data/old/two'
    out_is "one
two"
    jb commit -q "$id" --image mine:3
    exits 0
    script 'cat /data/one /data/old/two' 'image: mine:3'
    run_job
    exits 0
    out_is "one
two"
}

@test "a box that stands is kept when it is destroyed" {
    printf '%s\n' 'keep: on_failure' "image: $IMAGE" 'resources: { cpus: 1, cpu_unit: thread, exclusive: false }' | spec
    jb create job.yaml
    exits 0
    id=$(cat out)
    jb exec "$id" -- sh -c 'echo stays >/work/x'
    exits 0
    jb destroy -q -x 4 "$id"
    exits 0
    record 'kept.files > 0'
    jb enter -q "$id" -- cat /work/x
    out_is stays
}

@test "the site's limits: the oldest of a user go, what is too much by itself is not kept, and the record says why" {
    site_config "env: { JBT_MARK: $T }" 'kept: { max_count: 2, max_bytes: 4MiB, max_files: 300 }'
    local ids=() i
    for i in 1 2 3; do
        script "echo $i >/work/x; exit 1" 'keep: on_failure'
        run_job
        ids+=("$(show rec.id)")
    done
    [ "$(kept)" = "${ids[1]}
${ids[2]}" ] || fail "kept: $(kept)"
    script 'dd if=/dev/zero of=/work/x bs=1M count=3 2>/dev/null; exit 1' 'keep: on_failure'
    run_job
    record '3 << 20 <= kept.bytes < 4 << 20'
    ids+=("$(show rec.id)")
    [ "$(kept)" = "${ids[2]}
${ids[3]}" ] || fail "kept: $(kept)"
    run_job
    [ "$(kept)" = "$(show rec.id)" ] || fail "two of 3 MiB are kept: $(kept)"
    id=$(kept)
    script 'dd if=/dev/zero of=/work/x bs=1M count=5 2>/dev/null; exit 1' 'keep: on_failure'
    run_job
    exits 1
    record '"more than 4.00 MiB" in kept.error' 'end.exit_code == 1'
    script 'mkdir /work/d; i=0; while [ $i -lt 400 ]; do : >/work/d/$i; i=$((i + 1)); done; exit 1' 'keep: on_failure'
    run_job
    record '"more than 300 files" in kept.error'
    [ "$(kept)" = "$id" ] || fail "kept: $(kept)"
    nothing_half_done
    site_config "env: { JBT_MARK: $T }" 'kept: { max_count: 0 }'
    run_job
    record '"keeps none" in kept.error'
}

@test "no kept box goes for one that has no room even then, and the limit is named" {
    site_config "env: { JBT_MARK: $T }" 'kept: { max_bytes: 10MiB, max_count: 3 }'
    local ids=() size
    for size in 6 1; do
        script "dd if=/dev/zero of=/work/x bs=1M count=$size 2>/dev/null; exit 1" 'keep: on_failure'
        run_job
        ids+=("$(show rec.id)")
    done
    "${AS[@]}" "$JOBBOX" enter -q --config "$CONF" "${ids[0]}" -- sh -c 'echo in; sleep 321' >in 2>&1 </dev/null 3>&- &
    local client=$!
    started+=("$client")
    until_true 10 grep -q in in
    script 'dd if=/dev/zero of=/work/x bs=1M count=8 2>/dev/null; exit 1' 'keep: on_failure'
    run_job
    exits 1
    record '"10.0 MiB of one user at most (kept.max_bytes)" in kept.error'
    [ "$(kept)" = "${ids[0]}
${ids[1]}" ] || fail "kept: $(kept)"
    site_config "env: { JBT_MARK: $T }" 'kept: { max_count: 1 }'
    run_job
    record '"1 boxes of one user at most (kept.max_count)" in kept.error'
    [ "$(kept)" = "${ids[0]}
${ids[1]}" ] || fail "kept: $(kept)"
    site_config "env: { JBT_MARK: $T }" 'kept: { max_bytes: 14848KiB }'
    run_job
    [ "$(kept)" = "${ids[0]}
$(show rec.id)" ] || fail "kept: $(kept)"
    kill -TERM "$client"
    wait "$client" || true
    nothing_half_done
}

@test "sweep: what is older than the site wants goes, and what somebody is in does not" {
    keep_one
    site_config "env: { JBT_MARK: $T }" 'kept: { max_age: 1h }'
    sweep
    [ "$(kept)" = "$id" ]
    touch -d '2 hours ago' "state/kept/$id"
    "${AS[@]}" "$JOBBOX" enter -q --config "$CONF" "$id" -- sh -c 'echo in; while [ -e /data/one ]; do sleep 0.05; done' >in 2>&1 </dev/null 3>&- &
    started+=($!)
    until_true 10 grep -q in in
    jb discard "$id"
    exits 124
    one_error "somebody is in it"
    sweep
    [ "$(kept)" = "$id" ] || fail "it went while somebody was in it"
    kill -9 "${started[@]}"
    wait "${started[@]}" 2>/dev/null || true
    started=()
    until_true 10 none_marked
    sweep
    [ -z "$(kept)" ] || fail "it is still there"
    nothing_half_done
}

@test "another user can neither see nor enter, commit nor discard it" {
    [ "$(id -u)" = 0 ] || skip "needs root, to become another one"
    keep_one
    local other=(env -i PATH="$PATH" HOME=/ setpriv --reuid 52799 --regid 52799 --clear-groups)
    [ -e "$FILE_DIR/jobbox" ] || install -m 755 "$JOBBOX" "$FILE_DIR/jobbox"
    local verb
    for verb in "enter $id true" "commit $id --image a:1" "discard $id" "ps --kept"; do
        # shellcheck disable=SC2086
        "${other[@]}" timeout 20 "$FILE_DIR/jobbox" ${verb%% *} --config "$CONF" ${verb#* } >out 2>err </dev/null && fail "$verb: it was let in"
        ! grep -q "$id  " out || fail "$verb: $(cat out)"
    done
    [ "$(kept)" = "$id" ]
}

@test "names, modes and attributes that only a hostile job makes come back as they were" {
    # shellcheck disable=SC2016
    script 'cd /work; : >"$(printf "a\nb\033[2J")"; mkdir -p d/e; : >d/e/f; chmod 0 d/e d; : >secret; chmod 0 secret
        ln -s /etc/passwd link; ln -s ../../../../../../etc up; i=0; p=.; while [ $i -lt 50 ]; do p=$p/d$i; i=$((i + 1)); done; mkdir -p $p; exit 1' 'keep: on_failure'
    run_job
    exits 1
    id=$(show rec.id)
    [ "$(stat -c %a "state/kept/$id/fs/work/d")" = 0 ]
    [ "$(readlink "state/kept/$id/fs/work/up")" = ../../../../../../etc ]
    jb enter -q "$id" -- sh -c 'cd /work; ls | wc -l; stat -c "%a %F" d secret; readlink link'
    out_is "6
0 directory
0 regular empty file
/etc/passwd"
    jb discard "$id"
    exits 0
    nothing_half_done
    [ -z "$(ls "$T/state/kept")" ]
}

@test "folders in folders without end are no reason to hang or to keep half" {
    # shellcheck disable=SC2016
    script 'cd /work; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i + 1)); done; exit 1' 'keep: on_failure'
    run_job
    exits 1
    record '"more than 200 deep" in kept.error'
    nothing_half_done
    [ -z "$(kept)" ]
}

@test "discard that cannot find out who asks says so once, and removes nothing" {
    keep_one
    mkdir gone
    code=0
    (cd gone && rmdir "$T/gone" && jobbox discard --config "$CONF" "$id" 01NOSUCH) >out 2>err || code=$?
    exits 124
    one_error 'finding out who and where we are'
    [ "$(kept)" = "$id" ]
}

@test "kill -9 of the supervisor while it keeps, or of whoever discards, leaves all or nothing" {
    # shellcheck disable=SC2016
    script 'mkdir /work/d; i=0; while [ $i -lt 1500 ]; do echo $i >/work/d/$i; i=$((i + 1)); done; echo written; exit 1' 'keep: on_failure'
    local i whole=0
    for i in 1 2 3 4 5 6 7 8; do
        start_job
        until_true 20 says written
        sleep "0.0$i"
        kill -9 "$supervisor" 2>/dev/null || true
        wait "$supervisor" 2>/dev/null || true
        started=()
        until_true 10 none_marked
        sweep
        nothing_half_done
        [ "$(records)" = "$i" ] || fail "$(records) records of $i"
        id=$(show rec.id)
        if [ -e "state/kept/$id" ]; then
            whole=$((whole + 1))
            record 'kept.files > 1500'
            [ "$(find "state/kept/$id/fs/work/d" -type f | wc -l)" = 1500 ] || fail "not all of it"
        else
            record 'kept is None'
        fi
    done
    run_job
    for id in $(kept); do
        "${AS[@]}" "$JOBBOX" discard --config "$CONF" "$id" 2>/dev/null 3>&- &
        sleep 0.00$((RANDOM % 9))
        kill -9 $! 2>/dev/null || true
        wait $! 2>/dev/null || true
        sweep
        nothing_half_done
        [ ! -e "state/kept/$id" ] || [ "$(find "state/kept/$id/fs/work/d" -type f | wc -l)" = 1500 ] || fail "half of it is gone"
    done
}

@test "as root in the box with ranges of ids: files of several owners are kept, entered and discarded" {
    [ "$JBT_AS" = user ] || skip "is about ordinary users"
    command -v newuidmap >/dev/null && [ -e /etc/subuid ] && [ -e /etc/subgid ] || skip "needs newuidmap, /etc/subuid and /etc/subgid"
    cp /etc/passwd "$T/passwd"
    echo "jbtranges:x:$ORDINARY:$ORDINARY::/:/bin/sh" >>"$T/passwd"
    echo "jbtranges:700000:5000" >"$T/subid"
    AS=(unshare -m sh -c 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/subid" /etc/subuid && mount --bind "$0/subid" /etc/subgid && exec "$@"' "$T" "${AS[@]}")
    script 'echo x >/work/x; chown 33:34 /work/x; mkdir /work/d; echo y >/work/d/y; chmod 600 /work/d/y; chown -R 7:8 /work/d; chmod 700 /work/d; exit 1' 'keep: on_failure' 'user: root-in-box'
    run_job
    exits 1
    id=$(show rec.id)
    record 'kept.files > 0'
    [ "$(stat -c %u:%g "state/kept/$id/fs/work/x")" = 700032:700033 ] || fail "$(stat -c %u:%g "state/kept/$id/fs/work/x")"
    jb enter -q "$id" -- sh -c 'stat -c %u:%g /work/x /work/d /work/d/y; cat /work/d/y'
    exits 0
    out_is "33:34
7:8
7:8
y"
    jb commit -q "$id" --image owned:1
    exits 0
    jb discard "$id"
    exits 0
    nothing_half_done
    [ -z "$(kept)" ] || fail "$(kept)"
}

# What differs from one run to the next, and for whom: ids, times, sizes, numbers.
same_words()
{
    sed -E '/^jobbox: without /d; s/^(jobbox: wall) .*/\1/; s/\b[0-9A-HJKMNP-TV-Z]{26}\b/ID/g; s/[0-9-]+T[0-9:]+/WHEN/g
        s/\b[0-9.]+( (B|[KM]iB)|m?s)?/N/g; s/\b(root|unknown)\b/N/g; s/ +/ /g; s/ $//'
}

# typed MARK COUNT: what docs/boxes.md has behind that comment, typed; each id that it shows stands for the last one here.
typed()
{
    local line command='' id='' n=0
    : >expected
    awk -v mark="<!-- $1 -->" '$0 == mark { on = 1; next } on == 2 && /^```$/ { print "# "; exit } on == 2 { print }
        on == 1 && /^```/ { on = 2 }' "$SOURCE_DIR/docs/boxes.md" >block
    while IFS= read -r line; do
        case $line in
        '> '*) command+=$'\n'${line#> } ;;
        '# '*)
            if [ -n "$command" ]; then
                n=$((n + 1))
                command=$(sed -E "s/\b[0-9A-HJKMNP-TV-Z]{26}\b/$id/g" <<<"$command")
                eval "$command" >out 2>&1 </dev/null || true
                [ -n "$id" ] || id=$(grep -oE '\b[0-9A-HJKMNP-TV-Z]{26}\b' out | head -n 1)
                diff <(same_words <expected) <(same_words <out) || fail "$command: $(cat out)" || return 1
            fi
            command=${line#\# }
            : >expected
            ;;
        *) echo "$line" >>expected ;;
        esac
    done <block
    [ $n = "$2" ] || fail "$n commands, and not $2"
}

@test "the examples of docs/boxes.md, typed" {
    [ -x /usr/bin/cc ] || skip "needs a C compiler"
    export JOBBOX_CONFIG=$CONF
    mkdir -p configs
    cp -r "$SOURCE_DIR/configs/examples" configs/
    typed 'the tests run this' 7
    typed 'the tests run this too' 4
    [ -z "$(kept)" ] || fail "still there: $(kept)"
}
