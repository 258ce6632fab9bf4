#!/usr/bin/env bats
# A Debian made by mmdebstrap, through a registry, as a squashfs file and as a directory, a busybox, and the host: the same
# answer each time, for root and for an ordinary user; and the same tree as umoci's. It is made once for this file of tests;
# without a mirror they are skipped.
# bats file_tags=slow

load lib
load images

setup_file()
{
    file_setup
    local program port
    for program in mmdebstrap docker-registry skopeo umoci mksquashfs unsquashfs; do
        command -v "$program" >/dev/null || { echo "needs $program: scripts/setup installs it" >"$FILE_DIR/why" && return; }
    done
    [ "$(id -u)" -eq 0 ] || { echo "needs root" >"$FILE_DIR/why" && return; }
    timeout $((400 * JBT_SLOWER)) mmdebstrap --quiet --variant=minbase --aptopt='Acquire::Languages "none"' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        bookworm "$FILE_DIR/debian.tar" >"$FILE_DIR/mmdebstrap.log" 2>&1 ||
        { echo "mmdebstrap found no mirror: $(tail -n 1 "$FILE_DIR/mmdebstrap.log")" >"$FILE_DIR/why" && return; }
    python3 "$BATS_TEST_DIRNAME/layout.py" plain "$FILE_DIR/debian" "$FILE_DIR/debian.tar"
    chmod -R a+rX "$FILE_DIR/debian"
    for _ in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        cat >"$FILE_DIR/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $FILE_DIR/registry } }
http: { addr: "127.0.0.1:$port" }
log: { level: error }
END
        docker-registry serve "$FILE_DIR/registry.yml" >"$FILE_DIR/registry.log" 2>&1 3>&- &
        REGISTRY_PID=$!
        for _ in $(seq 100); do
            kill -0 "$REGISTRY_PID" 2>/dev/null || break
            ! (exec 9<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || break 2
            sleep 0.1
        done
    done
    export REGISTRY_PID REGISTRY=127.0.0.1:$port
    skopeo copy -q --dest-tls-verify=false "oci:$FILE_DIR/debian:latest" "docker://$REGISTRY/debian:12"
}

teardown_file()
{
    [ -z "${REGISTRY_PID-}" ] || { kill "$REGISTRY_PID" && wait "$REGISTRY_PID" 2>/dev/null || true; }
    file_teardown
}

setup()
{
    [ ! -s "$FILE_DIR/why" ] || skip "$(cat "$FILE_DIR/why")"
    test_setup
}

teardown() { test_teardown; }

debian_job()
{
    script "$SAME_ANSWER" "image: $1" "env: { ASKED: yes }" "resources: { cpus: 1, cpu_unit: thread, exclusive: false }"
}

@test "from the registry, as a squashfs and as a directory: the same answer, and umoci's tree" {
    needs_cgroups
    local each
    image pull --insecure "docker://$REGISTRY/debian:12"
    umoci unpack --image "$FILE_DIR/debian:latest" bundle
    python3 "$TREELIST" bundle/rootfs >theirs
    list_image debian:12 >ours
    # umoci makes the devices that jobbox leaves out
    diff <(grep -v "^b'dev/" theirs) <(grep -v "^b'dev/" ours) | head -n 40
    [ "$(wc -l <ours)" -gt 3000 ]
    mksquashfs bundle/rootfs debian.sqfs -quiet -no-progress -comp zstd
    for each in debian:12 ./debian.sqfs ./bundle/rootfs; do
        debian_job "$each"
        run_job
        exits 7 && out_is "one
two
0
/work
yes
1" || fail "$each" || return 1
    done
    script 'dpkg --verify; . /etc/os-release; echo $ID $VERSION_ID' "image: debian:12"
    run_job
    exits 0
    out_has 'debian 12'
    store_is_whole
}

@test "an ordinary user pulls and runs it, and his squashfs of it" {
    needs_programs setpriv
    user_setup
    local each
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    as_user ./jobbox image pull --insecure "docker://$REGISTRY/debian:12"
    mkdir tree
    tar -C tree -xf "$FILE_DIR/debian.tar"
    mksquashfs tree debian.sqfs -quiet -no-progress
    for each in debian:12 "$T/debian.sqfs"; do
        debian_job "$each"
        echo 'allow_degraded: [cpuset, memory, pids]' >>job.yaml
        code=0
        as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
        exits 7 && out_is "one
two
$ORDINARY
/work
yes
1" || fail "$each" || return 1
    done
    as_user ./jobbox image verify
}

@test "a busybox image, a Debian from the registry, a squashfs of it and the host: one answer, as root and as a user" {
    needs_cgroups
    needs_programs setpriv
    user_setup
    local each
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    umoci unpack --image "$FILE_DIR/debian:latest" bundle
    mksquashfs bundle/rootfs debian.sqfs -quiet -no-progress
    chmod -R a+rX bundle
    cp -a "$IMAGE" busybox
    chown -R $ORDINARY:$ORDINARY busybox
    image import "$IMAGE" --name busybox:1
    image pull --insecure "docker://$REGISTRY/debian:12"
    as_user ./jobbox image import busybox --name busybox:1
    as_user ./jobbox image pull --insecure "docker://$REGISTRY/debian:12"
    for each in busybox:1 debian:12 "$T/debian.sqfs" "$T/bundle/rootfs" host; do
        plain_job "$each"
        echo 'allow_degraded: [cpuset, memory, pids]' >>job.yaml # for him, who has no groups
        run_job
        plain_is 0 || fail "$each as root" || return 1
        code=0
        as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
        plain_is $ORDINARY || fail "$each as a user" || return 1
    done
}

@test "a user who has ranges of ids gets the same answer of all of them, and root in his box has root's files" {
    needs_programs setpriv newuidmap
    local each
    # shellcheck disable=SC2034 # image() reads it
    JBT_AS=user
    become_user
    site_config "env: { JBT_MARK: $T }"
    with_ranges
    umoci unpack --image "$FILE_DIR/debian:latest" bundle
    mksquashfs bundle/rootfs debian.sqfs -quiet -no-progress
    rm -rf bundle
    cp -a "$IMAGE" busybox
    chown -R $ORDINARY:$ORDINARY busybox
    image import busybox --name busybox:1
    image pull --insecure "docker://$REGISTRY/debian:12"
    for each in busybox:1 debian:12 "$T/debian.sqfs" host; do
        plain_job "$each"
        run_job
        plain_is $ORDINARY || fail "$each" || return 1
    done
    for each in debian:12 "$T/debian.sqfs"; do
        script 'stat -c "%U %G %a" /etc/shadow /var/mail; chown 33 /etc/shadow; stat -c %u /etc/shadow; grep -c . /etc/shadow' \
            "image: $each" "user: root-in-box"
        run_job
        exits 0
        [ "$(head -n 3 out)" = $'root shadow 640\nroot mail 2775\n33' ] || fail "$each: $(cat out)" || return 1
    done
    image verify
}
