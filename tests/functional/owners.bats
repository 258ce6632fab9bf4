#!/usr/bin/env bats
# Files of several owners in the layers of an ordinary user who has ranges of ids: the same image as root's.

# shellcheck disable=SC2015,SC2016,SC2030,SC2031,SC2034 # the shells in the boxes expand those; lib.bash reads others
load lib

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_root # to become an ordinary user
    command -v newuidmap >/dev/null && [ -e /etc/subuid ] && [ -e /etc/subgid ] || skip "needs newuidmap, /etc/subuid and /etc/subgid"
    test_setup
    ROOT=("${AS[@]}") ROOT_JOBBOX=$JOBBOX ROOT_CONF=$T/root.yaml
    cp "$CONF" "$ROOT_CONF"
    sed -i "s|$T/run|$T/rootrun|; s|$T/state|$T/rootstate|" "$ROOT_CONF"
    JBT_AS=user
    become_user
    site_config "env: { JBT_MARK: $T }"
    PLAIN=("${AS[@]}")
    cp /etc/passwd passwd
    echo "jbtranges:x:$ORDINARY:$ORDINARY::/:/bin/sh" >>passwd
    echo "jbtranges:700000:5000" >subid
    RANGES=(unshare -m sh -c 'mount --bind "$0/passwd" /etc/passwd && mount --bind "$0/subid" /etc/subuid && mount --bind "$0/subid" /etc/subgid && exec "$@"' "$T" "${AS[@]}")
    AS=("${RANGES[@]}")
    mkdir tree
    cp -a "$FILE_DIR/image/." tree/
    mkdir -p tree/home/a/deep tree/var/mail
    echo private >tree/home/a/file
    echo deep >tree/home/a/deep/file
    echo tool >tree/usr/tool
    ln -s file tree/home/a/link
    chmod 2775 tree/var/mail
    chown -hR 0:0 tree
    chown 0:8 tree/var/mail
    chown -hR 1000:1001 tree/home/a
    chown 42:0 tree/usr/tool
    chmod 700 tree/home/a tree/home/a/deep
    chmod 600 tree/home/a/file
    chmod 4755 tree/usr/tool
    tar -C tree -cf image.tar .
    LOOK='find /home /var/mail /usr/tool /etc /bin/sh -exec stat -c "%n %F %u %g %a" {} + | sort; cat /home/a/file /home/a/deep/file'
}

# image_file FORMAT: the same as a file of that format.
image_file()
{
    case $1 in
    squashfs) mksquashfs tree image.squashfs -quiet -no-progress >/dev/null ;;
    erofs) mkfs.erofs image.erofs tree >/dev/null 2>&1 ;;
    esac
}

needs_tools_of()
{
    local program
    for program in mksquashfs unsquashfs mkfs.erofs fsck.erofs; do
        command -v "$program" >/dev/null || skip "needs $program: scripts/setup installs it"
    done
}

teardown()
{
    rm -rf rootrun rootstate
    test_teardown
}

as_root()
{
    "${ROOT[@]}" "$ROOT_JOBBOX" "$@"
}

# Files of the store that are nobody's, and nobody's to remove.
foreign()
{
    find state/images -not -uid "$ORDINARY" 2>/dev/null
}

# Layers, and what somebody is making or was.
in_store()
{
    find state/images/layers state/images/tmp -mindepth 1 -maxdepth 1
}

@test "the same script gives the same answer as root and as a user with ranges, and changes what it may" {
    jobbox image import --config "$CONF" image.tar --name owners:1 >/dev/null
    as_root image import --config "$ROOT_CONF" image.tar --name owners:1 >/dev/null
    [ -n "$(foreign)" ] || fail "all files are the user's"
    script "$LOOK
echo more >>/home/a/file; rm -r /home/a/deep; chown 7:9 /usr/tool; mv /home/a /home/b
$LOOK 2>&1 || true; find /home | sort; id -u" "image: owners:1" "user: root-in-box"
    run_job
    exits 0
    mv out out.user
    as_root run -q --config "$ROOT_CONF" job.yaml >out.root
    diff out.root out.user
    grep -q '^/home/a/file regular file 1000 1001 600$' out.user
    grep -q '^/usr/tool regular file 42 0 4755$' out.user
    jobbox image verify --config "$CONF"
    # and somebody else in the box is let in where he would be
    script 'cat /home/a/file 2>/dev/null || echo refused; cat /etc/passwd >/dev/null; echo read' "image: owners:1"
    run_job
    exits 0
    out_is $'refused\nread'
}

@test "what only a group lets him read he imports all the same" {
    chown 0:54321 image.tar
    chmod 640 image.tar
    jobbox image import image.tar --name g:1 --config "$CONF" >out 2>err && fail "not in the group, and it was read"
    grep -q 'image.tar: Permission denied' err || fail "said something else"
    AS=("${AS[@]/--clear-groups/--groups=54321}")
    jobbox image import image.tar --name g:1 --config "$CONF" >out 2>err || fail "in the group"
    script "$LOOK" "image: 'g:1'" "user: root-in-box"
    run_job
    exits 0
    out_has '^/home/a/file regular file 1000 1001 600$'
    jobbox image rm g:1 --config "$CONF" && jobbox image gc --config "$CONF"
}

@test "such an image is exported as it was, committed with what a box wrote as others, and removed" {
    jobbox image import --config "$CONF" image.tar --name owners:1 >/dev/null
    jobbox image export --config "$CONF" owners:1 -o out.tar >/dev/null
    as_root image pull --config "$ROOT_CONF" oci-archive:out.tar --name back:1 >/dev/null
    script 'stat -c "%n %u %g %a" /home/a/file /usr/tool /var/mail' "image: back:1" "user: root-in-box"
    as_root run -q --config "$ROOT_CONF" job.yaml >out
    out_is $'/home/a/file 1000 1001 600\n/usr/tool 42 0 4755\n/var/mail 0 8 2775'
    script 'echo his >/home/a/new; chown 1000:1001 /home/a/new; chmod 600 /home/a/new; rm -r /home/a/deep; mkdir /home/a/deep' \
        "image: owners:1" "user: root-in-box" "keep: always"
    run_job
    exits 0
    jobbox commit --config "$CONF" "$(basename state/kept/0*)" --image owners:2 >/dev/null
    jobbox discard --config "$CONF" "$(basename state/kept/0*)"
    script 'stat -c "%n %u %g %a" /home/a/new /home/a/file; ls /home/a/deep | wc -l' "image: owners:2" "user: root-in-box"
    run_job
    exits 0
    out_is $'/home/a/new 1000 1001 600\n/home/a/file 1000 1001 600\n0'
    jobbox image verify --config "$CONF"
    jobbox image rm --config "$CONF" owners:1 owners:2 >/dev/null
    jobbox image gc --config "$CONF" >/dev/null
    [ -z "$(ls state/images/layers)" ] || fail "left behind: $(ls state/images/layers)"
    [ -z "$(foreign)" ] || fail "left behind: $(foreign)"
}

@test "layers from before he had ranges are sound, and removed, and what has no id in them is his own" {
    AS=("${PLAIN[@]}")
    jobbox image import --config "$CONF" image.tar --name before:1 >/dev/null
    [ -z "$(foreign)" ]
    AS=("${RANGES[@]}")
    jobbox image verify --config "$CONF"
    script 'stat -c "%u %g" /home/a/file; cat /home/a/file' "image: before:1" "user: root-in-box"
    run_job
    exits 0
    out_is $'0 0\nprivate'
    jobbox image rm --config "$CONF" before:1 >/dev/null
    jobbox image gc --config "$CONF" >/dev/null
    [ -z "$(ls state/images/layers)" ]
    mkdir far
    echo x >far/file
    chown 3000000:3 far/file
    tar -C far -rf image.tar ./file
    jobbox image import --config "$CONF" image.tar --name far:1 >/dev/null
    script 'stat -c "%u %g" /file; echo y >>/file' "image: far:1" "user: root-in-box"
    run_job
    exits 0
    out_is "0 3"
    # without the ranges the image can be used, and the store says what is the matter
    AS=("${PLAIN[@]}")
    code=0
    jobbox image verify --config "$CONF" >out 2>err || code=$?
    [ "$code" != 0 ]
    cat out err | grep -q 'do not give you any more' || fail "$(cat out err)"
    AS=("${RANGES[@]}")
    jobbox image rm --config "$CONF" far:1 >/dev/null
    jobbox image gc --config "$CONF" >/dev/null
    [ -z "$(foreign)" ]
}

@test "who has his ranges no more is told what he cannot remove, and each gc leaves it as it is" {
    jobbox image import --config "$CONF" image.tar --name owners:1 >/dev/null
    AS=("${PLAIN[@]}")
    jobbox image rm --config "$CONF" owners:1 >/dev/null
    local i
    for i in 1 2 3; do
        jobbox image gc --config "$CONF" >out 2>err
        [ "$(wc -l <err)" = 1 ] && err_has '^jobbox: .*/tmp/\.stuck\.\* \(1\) cannot be removed: .* root can$'
        [ -z "$(ls state/images/tmp state/images/layers | grep -v :)" ] || fail "in the way: $(in_store)"
        [ "$(find state/images/tmp -mindepth 1 -maxdepth 1 | wc -l)" = 1 ]
    done
    jobbox image import --config "$CONF" image.tar --name owners:1 >/dev/null
    jobbox image verify --config "$CONF"
    AS=("${RANGES[@]}") # given back
    jobbox image rm --config "$CONF" owners:1 >/dev/null
    jobbox image gc --config "$CONF" >out 2>err
    [ ! -s err ]
    [ -z "$(foreign)" ] && [ -z "$(in_store)" ] || fail "left behind: $(foreign) $(in_store)"
}

@test "an image file that run unpacks has the owners that root sees in it, and those that import gives it" {
    needs_tools_of
    local format
    for format in squashfs erofs; do
        image_file $format
        script "$LOOK" "image: $T/image.$format" "user: root-in-box"
        run_job
        exits 0
        mv out out.user
        as_root run -q --config "$ROOT_CONF" job.yaml >out.root
        # fsck.erofs sets the mode before the owner, by which the kernel takes set-user-id away
        [ $format = squashfs ] || sed -i 's/ 4755$/ 755/' out.root
        sed "s/ 4755$/ $([ $format = squashfs ] && echo 4)755/" out.user | diff out.root -
        grep -q '^/home/a/file regular file 1000 1001 600$' out.user || fail "$format: $(cat out.user)"
        # the next job finds it, and an import of the same file is the same image
        jobbox image list --config "$CONF" --json >list
        [ "$(grep -c unpacked/ list)" = 1 ]
        jobbox image import --config "$CONF" "image.$format" --name "same:$format" >/dev/null
        run_job
        exits 0
        diff out.user out
        [ "$(ls state/images/layers | wc -l)" = 1 ] || fail "unpacked twice"
        jobbox image verify --config "$CONF"
        rm "image.$format"
        jobbox image rm --config "$CONF" "same:$format" >/dev/null
        jobbox image gc --config "$CONF" >/dev/null
        [ -z "$(in_store)" ] || fail "left behind: $(in_store)"
        [ -z "$(foreign)" ]
    done
    # without ranges all is his own, as ever
    AS=("${PLAIN[@]}")
    image_file squashfs
    script 'stat -c "%u %g" /home/a/file; cat /home/a/file' "image: $T/image.squashfs" "user: root-in-box"
    run_job
    exits 0
    out_is $'0 0\nprivate'
    [ -z "$(foreign)" ]
}

@test "ids that cannot be mapped are said, and the file is unpacked as the user's own" {
    needs_tools_of
    image_file squashfs
    printf '#!/bin/sh\necho "no ids today" >&2\nexit 1\n' >newuidmap
    chmod 755 newuidmap
    AS=(unshare -m sh -c 'mount --bind "$0/newuidmap" "$(command -v newuidmap)" && exec "$@"' "$T" "${RANGES[@]}")
    script 'cat /home/a/file; id -u' "image: $T/image.squashfs"
    code=0
    jobbox run --config "$CONF" job.yaml >out 2>err </dev/null || code=$?
    exits 0
    out_is "private"$'\n'"$ORDINARY"
    grep -q 'all files of the image will be your own: .*no ids today' err || fail "$(cat err)"
    [ -z "$(foreign)" ]
}

# An image that takes a while, of files of several owners.
large()
{
    local i
    for i in $(seq 40); do
        mkdir -p "tree/lots/$i"
        (cd "tree/lots/$i" && split -b 1000 -a 3 - f) < <(head -c 30000 /dev/urandom)
        chown -R "$((1000 + i)):$((2000 + i))" "tree/lots/$i"
        chmod 700 "tree/lots/$i"
    done
    tar -C tree -cf image.tar .
    python3 "$HERE/layout.py" plain layout image.tar
    image_file squashfs
    chmod -R a+rX layout
}

# begun VERB...: in the background, as the user; `pid` is its leader.
begun()
{
    setsid "${AS[@]}" "$JOBBOX" "$@" >struck.out 2>struck.err </dev/null 3>&- &
    pid=$!
    started+=("$pid")
}

# struck SIGNAL WHEN: sends it when that is so, or after some time.
struck()
{
    case $2 in
    [0-9]*) sleep "$2" ;;
    *) until_true 60 eval "$2 || ! kill -0 $pid 2>/dev/null" ;;
    esac
    kill "-$1" "$pid" 2>/dev/null || true
    wait "$pid" 2>/dev/null || true
    until_true 20 none_marked
}

# bats test_tags=slow
@test "killed in the middle, import, pull and run leave nothing that the next one cannot remove" {
    needs_tools_of
    local what when next left=0
    large
    script 'true' "image: $T/image.squashfs"
    local points=('[ -n "$(foreign)" ]' 'ls state/images/tmp/*/tar' 'ls state/images/tmp/*/layer*/layer.json' 0.3)
    for what in "image import image.tar --name x:1" "image import image.squashfs --name x:1" "image pull oci:layout --name x:1" run; do
        for when in "${points[@]}"; do
            next="gc"
            if [ "$what" = run ]; then
                begun run -q --config "$CONF" job.yaml
            else
                # shellcheck disable=SC2086 # words
                begun $what --config "$CONF"
            fi
            struck KILL "$when" >/dev/null 2>&1
            [ -z "$(foreign)" ] || left=$((left + 1))
            jobbox image verify --config "$CONF" || fail "$what, $when"
            case $left in
            1) # the next import
                echo x >y && tar -cf y.tar y
                jobbox image import --config "$CONF" y.tar --name y:1 >/dev/null
                ;;
            2) # what run unpacks
                mkdir -p small && echo x >small/y && rm -f small.sq && mksquashfs small small.sq -quiet -no-progress >/dev/null
                script 'true' "image: $T/small.sq" && jobbox run -q --config "$CONF" job.yaml 2>/dev/null || true
                script 'true' "image: $T/image.squashfs"
                ;;
            esac
            [ -z "$(ls state/images/tmp)" ] || [ $left -gt 2 ] || [ $left -eq 0 ] || fail "$what, $when: left by the next one: $(ls -R state/images/tmp | head)"
            jobbox image gc --config "$CONF" >/dev/null
            [ -z "$(ls state/images/tmp)" ] || fail "$what, $when: left: $(ls -R state/images/tmp | head)"
            jobbox image rm --config "$CONF" x:1 y:1 >/dev/null 2>&1 || true
            rm -rf state/images/refs/unpacked*
            jobbox image gc --config "$CONF" >/dev/null
            [ -z "$(foreign)" ] || fail "$what, $when: $(foreign | head)"
            [ -z "$(in_store)" ] || fail "$what, $when: $(in_store)"
        done
    done
    [ $left -ge 3 ] || fail "only $left were killed while files of others were there"
}

@test "a run that is stopped while it unpacks takes back what it began" {
    needs_tools_of
    local signal
    large
    script 'true' "image: $T/image.squashfs"
    for signal in TERM INT; do
        begun run --config "$CONF" job.yaml
        until_true 60 eval '[ -n "$(foreign)" ]'
        kill -$signal "$pid"
        code=0
        wait "$pid" || code=$?
        [ "$code" = 123 ] || [ "$code" = 124 ] || fail "$code: $(cat struck.err)"
        grep -q stopped struck.err || fail "$(cat struck.err)"
        until_true 20 none_marked
        [ -z "$(in_store)" ] || fail "left: $(in_store)"
        [ -z "$(foreign)" ]
    done
}

@test "an image file with an owner whom the user has no id for: that file is his own, and the others are as they are" {
    needs_tools_of
    local format
    echo x >tree/far
    chown 3000000:3000000 tree/far
    for format in squashfs erofs; do
        image_file $format
        script 'stat -c "%n %u %g" /far /usr/tool; cat /far' "image: $T/image.$format" "user: root-in-box"
        run_job
        exits 0
        out_is $'/far 0 0\n/usr/tool 42 0\nx' || fail "$format"
    done
}
