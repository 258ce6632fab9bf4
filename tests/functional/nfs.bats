#!/usr/bin/env bats
# An image on NFS, and what jobbox writes on NFS. The server and the client are this host, so it is for guests alone.

# shellcheck disable=SC2016,SC2030,SC2031,SC2034,SC2154 # the shells in the boxes expand those; lib.bash sets and reads others
load lib

setup_file()
{
    file_setup
    [ "${JBT_GUEST:-0}" = 1 ] && [ "$EUID" = 0 ] || return 0
    serve >"$FILE_DIR/nfs.log" 2>&1 || echo "no NFS here: $(tail -n 1 "$FILE_DIR/nfs.log")" >"$FILE_DIR/nfs.why"
}

teardown_file()
{
    if [ -d "$FILE_DIR/mnt" ]; then
        umount "$FILE_DIR/mnt" || true
        exportfs -au
        rpc.nfsd 0
        kill "$(cat "$FILE_DIR/mountd.pid")"
    fi
    file_teardown
}

# Version 4 alone, which needs no port mapper, and whose locks and user attributes are those that local file systems have.
serve()
{
    modprobe nfsd || return 1
    mkdir "$FILE_DIR/exported" "$FILE_DIR/mnt"
    cp -a "$FILE_DIR/image" "$FILE_DIR/exported/image"
    mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd || return 1
    # nobody was here before that might claim locks, so nobody is waited for
    echo 10 >/proc/fs/nfsd/nfsv4gracetime
    echo 10 >/proc/fs/nfsd/nfsv4leasetime
    rpc.nfsd --no-nfs-version 3 --host 127.0.0.1 2 || return 1
    rpc.mountd --foreground --no-nfs-version 3 3>&- &
    echo $! >"$FILE_DIR/mountd.pid"
    exportfs -o rw,no_root_squash,no_subtree_check,insecure,fsid=0 "127.0.0.1:$FILE_DIR/exported" || return 1
    echo Y >/proc/fs/nfsd/v4_end_grace || true
    timeout 60 mount -t nfs4 -o vers=4.2 127.0.0.1:/ "$FILE_DIR/mnt"
}

setup()
{
    needs_root
    [ "${JBT_GUEST:-0}" = 1 ] || skip "changes the machine: only in a guest of scripts/vm"
    [ ! -s "$FILE_DIR/nfs.why" ] || fail "$(cat "$FILE_DIR/nfs.why")"
    NFS=$FILE_DIR/mnt
}

teardown()
{
    test_teardown
}

# as WHO: root, or an ordinary user; both meet the same file system.
as()
{
    [ "$1" = root ] || JBT_AS=user
    test_setup
    [ "$(stat -f -c %T "$NFS")" = nfs ] || fail "$NFS is on $(stat -f -c %T "$NFS")"
}

# state_on_nfs [LINE...]: the state directory of this test is there.
state_on_nfs()
{
    mkdir "$NFS/state$BATS_TEST_NUMBER"
    to_submitter "$NFS/state$BATS_TEST_NUMBER"
    site_config "$@"
    sed -i "s#$T/state#$NFS/state$BATS_TEST_NUMBER#" "$CONF"
    ln -s "$NFS/state$BATS_TEST_NUMBER" state
}

DEGRADED='allow_degraded: [cpuset, cpu, memory, pids, io, scratch]'
CHANGE='echo x >/etc/new; rm -r /usr; mkdir /usr; ls /usr; cat /etc/new'

image_on_nfs()
{
    script "$CHANGE" "user: root-in-box" "image: $NFS/image"
    run_job
    exits 0
    out_is x
    [ ! -e "$NFS/image/etc/new" ] || fail "the job has written into the image"
    [ -d "$NFS/image/usr" ] || fail "the job has removed a folder of the image"
}

@test "root: an image on NFS is below an overlay as one on a disk is" {
    as root
    image_on_nfs
    record 'isolation.root == "overlay"'
}

@test "a user: an image on NFS can be changed by the job and is the same afterwards" {
    as user
    chown -R "$ORDINARY:$ORDINARY" "$NFS/image"
    image_on_nfs
    record 'isolation.root in ("overlay", "fuse")'
}

@test "root: a scratch on NFS is refused with what to do, and in memory the journal may be there" {
    as root
    state_on_nfs "scratch: { backend: disk }" "$DEGRADED"
    script "$CHANGE"
    run_job
    exits 124
    one_error 'the scratch is on NFS, where an overlay cannot write; let paths.state be on a local file system'
    site_config "scratch: { backend: tmpfs }"
    sed -i "s#$T/state#$NFS/state$BATS_TEST_NUMBER#" "$CONF"
    run_job
    exits 0
    out_is x
    record 'isolation.root == "overlay"'
}

@test "a user: a scratch on NFS is served by fuse-overlayfs, or refused where the site does not want that" {
    as user
    own_image
    state_on_nfs "overlay: kernel" "scratch: { backend: disk }" "$DEGRADED"
    script "$CHANGE" "user: root-in-box"
    run_job
    exits 124
    one_error 'the scratch is on NFS, where an overlay cannot write; let paths.state be on a local file system'
    sed -i 's/overlay: kernel/overlay: auto/' "$CONF"
    run_job
    exits 0
    out_is x
    record 'isolation.root == "fuse"' '"the scratch is on NFS" in isolation.root_why'
}

@test "root: images come into a store on NFS and run from it" {
    as root
    state_on_nfs "scratch: { backend: tmpfs }"
    jobbox image import "$FILE_DIR/image" --name on-nfs:1 --config "$CONF"
    script "$CHANGE" "image: on-nfs:1"
    run_job
    exits 0
    out_is x
    jobbox image verify --config "$CONF"
    jobbox image rm on-nfs:1 --config "$CONF"
    jobbox image gc --config "$CONF"
    [ -z "$(ls "state/images/layers")" ] || fail "left in the store: $(ls state/images/layers)"
}
