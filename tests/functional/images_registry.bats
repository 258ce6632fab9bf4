#!/usr/bin/env bats
# A real registry on the loopback interface, of this test alone: Debian's docker-registry.
# Runs as: root, user

load lib
load images

setup_file()
{
    file_setup
    command -v docker-registry >/dev/null && command -v skopeo >/dev/null || return 0
    local port try
    for try in 1 2 3 4 5; do
        port=$((20000 + RANDOM % 20000))
        cat >"$FILE_DIR/registry.yml" <<END
version: 0.1
storage: { filesystem: { rootdirectory: $FILE_DIR/registry } }
http: { addr: "127.0.0.1:$port" }
log: { level: info }
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
}

teardown_file()
{
    [ -z "${REGISTRY_PID-}" ] || { kill "$REGISTRY_PID" && wait "$REGISTRY_PID" 2>/dev/null || true; }
    file_teardown
}

setup()
{
    needs_programs docker-registry skopeo
    test_setup
}

teardown() { test_teardown; }

# push LAYOUT NAME:TAG [FORMAT]
push()
{
    skopeo copy -q --dest-tls-verify=false ${3:+--format "$3"} "oci:$1" "docker://$REGISTRY/$2"
}

pull()
{
    image pull --insecure "docker://$REGISTRY/$1" "${@:2}"
}

# How often blobs of layers were asked for.
fetches()
{
    grep -c 'GET /v2/.*/blobs/' "$FILE_DIR/registry.log" || true
}

@test "pulled, listed and run; the digest is the registry's, in both kinds of manifest" {
    needs_cgroups
    tar -C "$IMAGE" -cf bb.tar .
    python3 "$LAYOUT" plain bb bb.tar
    local format digest
    for format in oci v2s2; do
        push bb:latest "team/app:$format" "$format"
        digest=$(skopeo inspect --tls-verify=false --format '{{.Digest}}' "docker://$REGISTRY/team/app:$format")
        [ "$(pull "team/app:$format" 2>/dev/null)" = "team/app:$format $digest" ] || fail "$format" || return 1
        script "$SAME_ANSWER" "image: team/app:$format" "env: { ASKED: yes }" \
            "resources: { cpus: 1, cpu_unit: thread, exclusive: false }"
        run_job
        exits 7
        record "image.digest == \"$digest\""
        pull "team/app@$digest" --name "by/digest:$format"
    done
    [ "$(ls state/images/layers | wc -l)" = 1 ] # both have the same layer
    store_is_whole
}

@test "an image of the registry, a squashfs file and a directory of the same, and the host: one answer" {
    needs_cgroups
    needs_programs mksquashfs unsquashfs
    local each
    tar -C "$IMAGE" -cf bb.tar .
    python3 "$LAYOUT" plain bb bb.tar
    push bb:latest one/answer:1
    pull one/answer:1
    mksquashfs "$IMAGE" bb.sqfs -quiet -no-progress
    for each in one/answer:1 "$T/bb.sqfs" "$IMAGE" host; do
        plain_job "$each"
        run_job
        plain_is "$SUBMITTER" || fail "$each" || return 1
    done
    store_is_whole
}

@test "what is here is not fetched again: the image, a layer of another image, a fetched blob" {
    local before
    python3 - "$LAYOUT" <<'END'
import os, runpy, sys
m = runpy.run_path(sys.argv[1])
base = m["Layer"]().add("base", data=os.urandom(200000)).bytes()
for i in "12":
    m["layout"]("s" + i, [base, m["Layer"]().file("own" + i).bytes()])
END
    push s1:latest shared:1
    push s2:latest shared:2
    pull shared:1
    before=$(fetches)
    pull shared:1
    [ "$(fetches)" -le $((before + 1)) ] || fail "asked for more than the config"
    before=$(fetches)
    pull shared:2 2>err
    err_has 'fetching 1 of 2 layers'
    [ "$(find state/images/blobs -type f | wc -l)" = 0 ]
    [ "$(ls state/images/layers | wc -l)" = 3 ]
    # as an interrupted pull leaves it: fetched, not unpacked
    image rm shared:1 shared:2
    skopeo copy -q --src-tls-verify=false --dest-shared-blob-dir state/images/blobs "docker://$REGISTRY/shared:1" oci:x:1
    to_submitter state/images/blobs
    before=$(grep 'GET' "$FILE_DIR/registry.log" | grep -c "$(python3 -c 'import json
m = json.load(open("s1/index.json"))["manifests"][0]["digest"][7:]
print(json.load(open("s1/blobs/sha256/" + m))["layers"][0]["digest"])')")
    pull shared:1
    [ "$before" = "$(grep 'GET' "$FILE_DIR/registry.log" | grep -c "$(python3 -c 'import json
m = json.load(open("s1/index.json"))["manifests"][0]["digest"][7:]
print(json.load(open("s1/blobs/sha256/" + m))["layers"][0]["digest"])')")" ] || fail "the base was fetched again"
    store_is_whole
}

# Layouts ax and axbx; x, the same bytes wherever it is, is a layer twice in the second.
repeated_layers()
{
    python3 - "$LAYOUT" <<'END'
import os, runpy, sys
m = runpy.run_path(sys.argv[1])
a, b = (m["Layer"]().add(name, data=os.urandom(50000)).bytes() for name in "ab")
x = m["Layer"]().file("x", "the same\n").bytes()
m["layout"]("ax", [a, x])
m["layout"]("axbx", [a, x, b, x])
END
}

@test "an image with one layer twice is fetched when the store has it from another image" {
    repeated_layers
    push ax:latest repeated:1
    push axbx:latest repeated:2
    pull repeated:1
    pull repeated:2 2>err
    err_has 'fetching 2 of 4 layers'
    [ "$(grep -c fetching err)" = 1 ] || fail "fetched more than once: $(cat err)"
    [ "$(ls state/images/layers | wc -l)" = 4 ]
    [ "$(find state/images/blobs -type f | wc -l)" = 0 ] || fail "blobs were left"
    store_is_whole
}

@test "an image with one layer twice is fetched once, and leaves no blob" {
    repeated_layers
    push axbx:latest repeated:3
    pull repeated:3 2>err
    [ "$(grep -c fetching err)" = 1 ] || fail "fetched more than once: $(cat err)"
    [ "$(find state/images/blobs -type f | wc -l)" = 0 ] || fail "blobs were left"
    store_is_whole
}

@test "a fetched blob that was damaged is fetched anew" {
    python3 "$LAYOUT" layered lay
    push lay:latest damaged:1
    pull damaged:1
    image rm damaged:1
    skopeo copy -q --src-tls-verify=false --dest-shared-blob-dir state/images/blobs "docker://$REGISTRY/damaged:1" oci:x:1
    to_submitter state/images/blobs
    local blob
    for blob in state/images/blobs/sha256/*; do
        printf 'xx' | dd of="$blob" bs=1 seek=30 conv=notrunc 2>/dev/null
    done
    pull damaged:1
    store_is_whole
}

@test "several pulls of one image at once do the work once" {
    local pids=() pid i
    python3 - "$LAYOUT" <<'END'
import os, runpy, sys
m = runpy.run_path(sys.argv[1])
m["layout"]("big", [m["Layer"]().add("r", data=os.urandom(20 << 20)).bytes()], compress=False)
END
    push big:latest big:1
    local before
    before=$(fetches)
    for i in 1 2 3 4; do
        "${AS[@]}" "$JOBBOX" image pull --insecure --config "$CONF" "docker://$REGISTRY/big:1" --name "big:$i" \
            >"out$i" 2>"err$i" 3>&- &
        pids+=($!)
    done
    started=("${pids[@]}")
    for pid in "${pids[@]}"; do
        wait "$pid" || fail "$(cat err?)" || return 1
    done
    started=()
    [ "$(cat err? | grep -c '^jobbox: fetching')" = 1 ] || fail "$(cat err?)"
    [ "$(ls state/images/layers | wc -l)" = 1 ]
    store_is_whole
}

@test "layers as umoci unpacks them, file by file" {
    needs_root
    needs_programs umoci
    python3 "$LAYOUT" layered lay
    push lay:latest layered:1
    pull layered:1
    umoci unpack --image lay:latest bundle
    python3 "$TREELIST" bundle/rootfs >theirs
    list_image layered:1 >ours
    diff theirs ours
    [ "$(wc -l <ours)" -ge 30 ]
    # without privilege the same files with the same content
    needs_programs setpriv
    user_setup
    as_user ./jobbox image pull --insecure "docker://$REGISTRY/layered:1"
    as_user ./jobbox image verify
    as_user ./jobbox image export layered:1 --format tar -o - >user.tar
    mkdir user && tar -C user -xf user.tar
    diff <(cd bundle/rootfs && find . | sort) <(cd user && find . | sort)
    diff <(cd bundle/rootfs && find . -type f -exec sha256sum {} + | sort) \
        <(cd user && find . -type f -exec sha256sum {} + | sort)
}

@test "docker-archive and oci-archive" {
    python3 "$LAYOUT" layered lay
    skopeo copy -q oci:lay:latest docker-archive:d.tar:some/name:1
    skopeo copy -q oci:lay:latest oci-archive:o.tar
    image pull docker-archive:d.tar --name d:1
    image pull oci-archive:o.tar --name o:1
    image pull oci:lay --name l:1
    [ "$(ls state/images/layers | wc -l)" = 3 ]
    store_is_whole
}

# skopeo in $PATH of a test, which writes down what credentials each call has and then does without.
watched_skopeo()
{
    mkdir bin
    cat >bin/skopeo <<'END'
#!/bin/bash
found=${REGISTRY_AUTH_FILE-} args=()
unset REGISTRY_AUTH_FILE
while [ $# -gt 0 ]; do
    case $1 in
    --authfile | --src-authfile) found=$2 && shift ;;
    *) args+=("$1") ;;
    esac
    shift
done
echo "${args[0]} $(cat "$found" 2>&1)" >>"$WATCHED"
PATH=${PATH#*:} exec skopeo "${args[@]}"
END
    chmod +x bin/skopeo
    AS+=(env "PATH=$T/bin:$PATH" "WATCHED=$T/watched")
    : >watched
    to_submitter watched
}

@test "credentials are found from where jobbox was started, for the layers too" {
    python3 "$LAYOUT" tiny lay 2
    push lay/0:latest auth:1
    push lay/1:latest auth:2
    echo '{"auths": {}}' >auth.json
    chmod 644 auth.json
    watched_skopeo
    pull auth:1 --authfile auth.json
    AS+=(REGISTRY_AUTH_FILE=auth.json)
    pull auth:2
    [ "$(sort -u watched)" = 'copy {"auths": {}}
inspect {"auths": {}}' ] || fail "$(cat watched)"
    [ "$(wc -l <watched)" = 6 ]
}

@test "a layer that cannot fit is not fetched, and no more is taken than the manifest says" {
    site_config 'images: { max_size: 20MiB }'
    python3 - "$LAYOUT" <<'END'
import os, runpy, sys
m = runpy.run_path(sys.argv[1])
m["layout"]("big", [m["Layer"]().add("big", data=os.urandom(70 << 20)).bytes()], compress=False)
m["layout"]("small", [m["Layer"]().file("small").bytes()])
END
    push big:latest big:1
    push small:latest small:1
    run -124 image pull --insecure "docker://$REGISTRY/big:1"
    [[ $output == *"layer 1 of 1 (sha256:"*"the layer's bytes are more than 20971520 (images.max_size of the site)"* ]] || fail "$output"
    [[ $output != *fetching* ]] || fail "it was fetched"
    mkdir bin
    cat >bin/skopeo <<'END'
#!/bin/sh
[ "$1" != copy ] || { mkdir layout && truncate -s 1G layout/oci-put-blob1 && exec sleep 60; }
PATH=${PATH#*:} exec skopeo "$@"
END
    chmod +x bin/skopeo
    AS+=(env "PATH=$T/bin:$PATH")
    run -124 image pull --insecure "docker://$REGISTRY/small:1"
    [[ $output == *"more comes than the "*" that the manifest says; the image was refused"* ]] || fail "$output"
    store_is_whole
}

@test "what the registry refuses is said in one line" {
    code=0
    pull nothing:1 >out 2>err || code=$?
    exits 124
    one_error 'skopeo: .*(unknown|not found)'
    code=0
    image pull docker://127.0.0.1:1/x:1 >out 2>err || code=$?
    exits 124
    one_error 'skopeo: .*refused'
    store_is_whole
}
