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
    rm -rf tree
    LOOK='find /home /var/mail /usr/tool /etc /bin/sh -exec stat -c "%n %F %u %g %a" {} + | sort; cat /home/a/file /home/a/deep/file'
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
