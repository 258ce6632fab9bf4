#!/usr/bin/env bats
# Images: the store, image files, what an image asks for, who uses what. Registries are in images_registry.bats.
# Runs as: root, user

load lib
load images

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_cgroups
    test_setup
    [ "$JBT_AS" = root ] || own_image
}

teardown() { test_teardown; }

answer_is_same()
{
    exits 7 || return 1
    out_is "one
two
${1:-0}
/work
yes
1"
}

job_in()
{
    script "$SAME_ANSWER" "image: $1" "env: { ASKED: yes }" "resources: { cpus: 1, cpu_unit: thread, exclusive: false }"
}

@test "a directory, the store, a tar, squashfs, erofs and the host give the same answer" {
    needs_programs mksquashfs mkfs.erofs
    image import "$IMAGE" --name busybox:1
    tar -C "$IMAGE" --zstd -cf bb.tar.zst . 2>/dev/null || tar -C "$IMAGE" -czf bb.tar.zst .
    image import bb.tar.zst --name busybox:tar
    mksquashfs "$IMAGE" bb.sqfs -quiet -no-progress
    mkfs.erofs bb.erofs "$IMAGE" >/dev/null
    image import bb.sqfs --name busybox:sqfs
    image import bb.erofs --name busybox:erofs
    local each
    for each in "$IMAGE" busybox:1 busybox:tar busybox:sqfs busybox:erofs ./bb.sqfs ./bb.erofs host; do
        job_in "$each"
        run_job
        answer_is_same "$SUBMITTER" || fail "$each"
    done
    store_is_whole
    ! losetup -a 2>/dev/null | grep -F "$T/" || fail "a loop device is left"
}

@test "an ordinary user gets the same answer, and unpacks an image file once" {
    needs_programs mksquashfs unsquashfs setpriv
    user_setup
    cp -a "$IMAGE" mine
    chown -R $ORDINARY:$ORDINARY mine
    mksquashfs "$IMAGE" bb.sqfs -quiet -no-progress
    as_user ./jobbox image import mine --name busybox:1
    printf 'env: { JBT_MARK: %s }\n' "$T" >site.user
    local each
    for each in busybox:1 "$T/mine" "$T/bb.sqfs" "$T/bb.sqfs"; do
        job_in "$each"
        echo 'allow_degraded: [cpuset, memory, pids]' >>job.yaml
        code=0
        as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
        answer_is_same $ORDINARY || fail "$each"
    done
    [ ! -s err ] || fail "unpacked a second time"
    [ "$(as_user ./jobbox image list | grep -c unpacked/)" = 1 ]
    as_user ./jobbox image verify
    # another file of the same, which is one image with it: each goes when its own file does
    cp bb.sqfs same.sqfs
    sed -i 's/bb.sqfs/same.sqfs/' job.yaml
    code=0
    as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
    answer_is_same $ORDINARY
    as_user ./jobbox image gc
    [ "$(as_user ./jobbox image list | grep -c unpacked/)" = 2 ] || fail "one is gone whose file is here"
    rm bb.sqfs
    as_user ./jobbox image gc
    [ "$(as_user ./jobbox image list | grep -c unpacked/)" = 1 ]
    rm same.sqfs
    as_user ./jobbox image gc
    [ "$(as_user ./jobbox image list | grep -c unpacked/)" = 0 ]
}

@test "the record has the image's digest, and a digest is a name" {
    local digest
    digest=$(image import "$IMAGE" --name a/b:1 | cut -d' ' -f2)
    script 'true' "image: a/b:1"
    run_job
    exits 0
    record "image.digest == \"$digest\"" 'image.kind == "store"' 'image.ref == "a/b:1"'
    script 'true' "image: a/b@$digest"
    run_job
    exits 0
    record "image.digest == \"$digest\""
    script 'true' "image: $IMAGE"
    run_job
    record 'image.digest is None' 'image.kind == "directory"'
}

@test "what the image asks for is used, and the spec wins" {
    needs_root "the image wants another id"
    cat >asks.json <<END
{"Entrypoint": ["/bin/echo", "from"], "Cmd": ["the", "image"], "Env": ["COLOR=blue", "SHAPE=round", "JOBBOX_ID=forged"],
 "WorkingDir": "/srv/app", "User": "nobody"}
END
    tar -C "$IMAGE" -cf bb.tar .
    python3 "$LAYOUT" plain asks bb.tar
    image pull oci:asks --name asks:1
    spec <<<"image: asks:1"
    run_job
    exits 0
    out_is "from the image"
    script 'echo $COLOR $SHAPE; pwd; id -u; id -g; echo $JOBBOX_ID | wc -c; echo $USER $LOGNAME' "image: asks:1" "env: { SHAPE: square }"
    run_job
    out_is "blue square
/srv/app
65534
65534
27
nobody nobody"
    script 'pwd; id -u' "image: asks:1" "workdir: /tmp" "user: submitter"
    run_job
    out_is "/tmp
0"
    spec <<<"image: asks:1
command: [/bin/echo, mine]"
    run_job
    out_is mine
    spec <<<"image: asks:1
user: submitter"
    site_config "policy: { any_ids: false }" "env: { JBT_MARK: $T }"
    run_job
    exits 0
    spec <<<"image: asks:1"
    run_job
    exits 125
    one_error 'the image wants to be run as "nobody", and this site does not allow other ids'
}

@test "the user an image names is in the groups that the image has him in, and with a group in no other" {
    needs_root "the image wants another id"
    cp -a "$IMAGE" tree
    printf '%s\n' 'ann:x:1234:100::/:/bin/sh' 'bob:x:1235:100::/:/bin/sh' >>tree/etc/passwd
    printf '%s\n' 'users:x:100:ann' 'disk:x:601:bob,ann' 'video:x:602:annie,bob' 'odd:x' 'none:x:603:' 'audio:x:604:ann' \
        'again:x:601:ann' 'minus:x:-1:ann' >tree/etc/group
    tar -C tree -cf bb.tar .
    local user groups
    while read -r user groups; do
        echo "{\"User\": \"$user\"}" >groups.json
        rm -rf groups && python3 "$LAYOUT" plain groups bb.tar
        image pull oci:groups --name groups:1
        script "sed -n 's/^Groups:[[:space:]]*//p' /proc/self/status; id -u; id -g" "image: groups:1"
        run_job
        exits 0
        [ "$(head -n 1 out | xargs)" = "$(cut -d' ' -f3- <<<"$groups")" ] || fail "groups of $user" || return 1
        [ "$(tail -n 2 out | xargs)" = "$(cut -d' ' -f1,2 <<<"$groups")" ] || fail "ids of $user" || return 1
    done <<END
ann 1234 100 601 604
1234 1234 100 601 604
bob 1235 100 601 602
ann:users 1234 100
1234:602 1234 602
4321 4321 0
END
    seq 1000 2100 | sed 's/.*/g&:x:&:ann/' >>tree/etc/group
    tar -C tree -cf bb.tar .
    echo '{"User": "ann"}' >groups.json
    rm -rf groups && python3 "$LAYOUT" plain groups bb.tar
    image pull oci:groups --name groups:1
    run_job
    exits 125
    one_error 'has "ann" in more than 1024 groups'
}

@test "what is no variable in an image's Env is left out and said" {
    echo '{"Env": ["COLOR=blue", "ALONE", "=nameless"]}' >odd.json
    tar -C "$IMAGE" -cf bb.tar .
    python3 "$LAYOUT" plain odd bb.tar
    image pull oci:odd --name odd:1 2>err
    err_has "left out: 2 items of the image's Env that are no KEY=value"
    script 'echo $COLOR; env | grep -c -e ALONE -e nameless || true' "image: odd:1"
    run_job
    exits 0
    out_is "blue
0"
}

@test "an image that names no program needs one from the spec" {
    image import "$IMAGE" --name plain:1
    spec <<<"image: plain:1"
    run_job
    exits 125
    one_error 'script: is missing, and the image plain:1 names no program to start'
}

@test "an image that is not there is said to be fetched" {
    script 'true' "image: nothing:1"
    run_job
    exits 124
    one_error 'there is no image "nothing:1" in the store and no file or directory of that name here'
    echo text >file
    script 'true' "image: ./file"
    run_job
    exits 125
    one_error 'neither a squashfs nor an erofs file'
}

@test "forty layers" {
    python3 "$LAYOUT" many forty 40
    image pull oci:forty --name forty:1
    spec <<<"image: forty:1
command: [/nothing]"
    run_job
    exits 127
    record 'isolation.root in ("overlay", "fuse")'
    [ "$(image inspect --json forty:1 | grep -c '"chain"')" = 40 ]
    jobbox plan --json --config "$CONF" job.yaml | python3 -c 'import json, sys
ops = json.load(sys.stdin)["operations"]
lowers = [o["lowers"] for o in ops if o["op"] == "root-overlay"][0]
assert len(lowers) == 40, lowers
assert open(lowers[0] + "/all").read() == "39\n"
assert open(lowers[39] + "/own0").read() == "0\n"'
}

@test "names with separators, spaces and UTF-8" {
    local name
    for name in 'a:b' 'c,d' 'e\f' 'g h' 'ä€' 'lowerdir=x'; do
        cp -a "$IMAGE" "$name"
        { echo 'version: 1'; printf "image: './%s'\n" "$name"; echo 'script: echo ok'; } >job.yaml
        run_job
        exits 0
        out_is ok
    done
    needs_programs mksquashfs
    mksquashfs "$IMAGE" 'odd: ä,\ name.sqfs' -quiet -no-progress
    { echo 'version: 1'; echo "image: './odd: ä,\\ name.sqfs'"; echo 'script: echo ok'; } >job.yaml
    run_job
    exits 0
    out_is ok
}

@test "what a box uses is not removed under it" {
    image import "$IMAGE" --name used:1
    script 'echo up; while [ ! -e /tmp/never ]; do sleep 0.1; done' "image: used:1"
    start_job
    until_true 20 says up
    image rm used:1 | tee rm.out
    grep -q 'kept 1 without a name' rm.out
    [ "$(image list --json | grep -c '"digest"')" = 1 ]
    store_is_whole
    kill "$supervisor"
    end_job
    image gc | grep -q 'removed 1 images, 1 layers'
    [ -z "$(ls "$T/state/images/layers")" ]
}

@test "a supervisor that is killed leaves no loop device" {
    needs_root "is about mounts of root"
    needs_programs mksquashfs
    mksquashfs "$IMAGE" bb.sqfs -quiet -no-progress
    script 'echo up; while :; do sleep 0.1; done' "image: ./bb.sqfs"
    start_job
    until_true 20 says up
    losetup -a | grep -qF "$T/bb.sqfs" || fail "the kernel does not mount it"
    kill -9 "$supervisor"
    end_job
    sweep
    until_true 20 sh -c "! losetup -a | grep -qF '$T/bb.sqfs'"
}

@test "which image files the kernel mounts is the site's decision" {
    needs_root "is about mounts of root"
    needs_programs mksquashfs unsquashfs
    mksquashfs "$IMAGE" bb.sqfs -quiet -no-progress
    kind_with()
    {
        site_config "env: { JBT_MARK: $T }" "images: { kernel_mount: $1 }"
        script 'echo ok' "image: ./bb.sqfs"
        run_job
        exits 0
        record "image.kind == \"$2\""
    }
    kind_with owned file
    kind_with never store
    chown $ORDINARY bb.sqfs
    kind_with owned store
    kind_with any file
    chown 0 bb.sqfs
    chmod 666 bb.sqfs
    kind_with owned store
}

@test "root's store for everybody: no harm outside of a box, and a user runs from it" {
    needs_root
    needs_programs setpriv
    mkdir tree "$T/all"
    cp -a "$IMAGE/." tree
    cp tree/bin/busybox tree/bin/harm
    chmod 4755 tree/bin/harm
    local path
    site_config "env: { JBT_MARK: $T }" "images: { shared: $T/all/images }"
    image import tree --name shared:1 2>err
    err_has 'lost set-user-id'
    path=$(image inspect --json shared:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    [ "$(stat -c %a "$path/bin/harm")" = 755 ]
    user_setup
    printf 'images: { shared: %s }\nenv: { JBT_MARK: %s }\n' "$T/all/images" "$T" >site.user
    { echo 'version: 1'; echo 'image: shared:1'; echo 'script: "id -u; ls -l /bin/harm | cut -c1-10"'
      echo 'allow_degraded: [cpuset, memory, pids]'; } >job.yaml
    code=0
    as_user ./jobbox run -q --config site.user job.yaml >out 2>err </dev/null || code=$?
    exits 0
    out_is "$ORDINARY
-rwxr-xr-x"
}

@test "root's store for everybody: nobody else can change what is in it, whatever the image's modes and owners are" {
    needs_root
    needs_programs setpriv
    mkdir tree "$T/all"
    cp -a "$IMAGE/." tree
    mkdir -m 777 tree/open
    mkdir -m 700 tree/closed
    for f in open-to-all of-somebody secret closed/f open/f; do echo image >"tree/$f"; done
    chmod 666 tree/open-to-all tree/open/f
    chmod 640 tree/secret
    chown -R $ORDINARY:$ORDINARY tree/of-somebody tree/closed
    local path
    site_config "env: { JBT_MARK: $T }" "images: { shared: $T/all/images }"
    image import tree --name open:1 2>err
    err_has 'can be changed by root alone'
    path=$(image inspect --json open:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    chmod 755 "$T" # he reaches the store, as on a host
    setpriv --reuid=$ORDINARY --regid=$ORDINARY --clear-groups sh -c 'cd "$1" || exit 0
        for f in open-to-all of-somebody closed/f open/f; do echo his >>$f; rm -f $f; chmod 777 $f; done
        echo his >open/new; mv open opened; rm -rf closed; cat of-somebody closed/f' sh "$path" >out 2>err || true
    out_is "image
image" # what was his to read still is
    image verify
    [ "$(find "$path" ! -type l \( ! -uid 0 -o -perm /022 \))" = "" ]
    [ "$(stat -c %a "$path/secret")" = 640 ]
    script 'ls /open; cat /open-to-all /of-somebody /closed/f' "image: open:1" "user: \"$ORDINARY:$ORDINARY\""
    run_job
    exits 0
    out_is "f
image
image
image"
}

@test "in root's own store modes, owners and capabilities are kept, and nobody else gets there" {
    needs_root
    needs_programs setfattr getfattr setpriv
    mkdir tree
    echo x >tree/f
    chown 1234:567 tree/f
    chmod 6755 tree/f
    python3 -c 'import os; os.setxattr("tree/f", "security.capability", bytes.fromhex("0100000200040000000000000000000000000000"))'
    setfattr -n user.color -v blue tree/f
    mknod tree/null c 1 3
    image import tree --name modes:1 2>err
    err_has '1 device nodes and sockets left out'
    list_image modes:1 >list
    grep -qF "b'f' -rwsr-sr-x 1234:567" list
    grep -q "user.color=b'blue'" list
    run ! grep -q null list
    local path
    path=$(image inspect --json modes:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    getfattr -n security.capability "$path/f" >/dev/null
    run ! setpriv --reuid $ORDINARY --clear-groups stat "$path"
}

@test "what export writes has the mode that the user's umask leaves, and the store's modes are the same under any" {
    image import "$IMAGE" --name plain:1
    (umask 077 && image export plain:1 -o closed.oci && image export plain:1 --format tar -o closed.tar)
    (umask 022 && image export plain:1 -o open.oci)
    [ "$(stat -c %a closed.oci closed.tar open.oci | tr '\n' ' ')" = "600 600 644 " ] || fail "$(stat -c "%a %n" ./*.oci ./*.tar)"
    (umask 077 && image import closed.tar --name again:1)
    cmp <(list_image plain:1) <(list_image again:1)
}

@test "export and import again: the same tree; a whole image as layers" {
    python3 "$LAYOUT" layered lay
    image pull oci:lay --name lay:1
    image export lay:1 -o out.oci
    image pull oci-archive:out.oci --name again:1 || needs_programs skopeo
    diff <(list_image lay:1) <(list_image again:1)
    image export lay:1 --format tar -o - >out.tar
    image import out.tar --name flat:1
    diff <(list_image lay:1) <(list_image flat:1)
    [ "$(image inspect --json again:1 | grep -c '"chain"')" = 3 ]
    store_is_whole
}

@test "a directory with more bytes, holes included, or more entries than the site allows is refused before it is packed" {
    site_config 'images: { max_size: 10MiB, max_entries: 500 }'
    mkdir holes many
    truncate -s 1T holes/hole
    (cd many && touch $(seq 4000))
    to_submitter holes many
    ulimit -S -f 2048 # KiB: less than all of it packed
    run -124 image import holes --name holes:1
    [[ $output == *"holes: the layer's files have more than 10485760 (images.max_size of the site)"* ]] || fail "$output"
    run -124 image import many --name many:1
    [[ $output == *"many: the layer's entries are more than 500 (images.max_entries of the site)"* ]] || fail "$output"
    ln holes/hole holes/again
    truncate -s 6M holes/hole
    ulimit -S -f unlimited
    image import holes --name holes:2 # a second name is no second content
    store_is_whole
}

@test "files that are called like whiteouts are left out of a directory's image, and said" {
    mkdir -p dir/etc dir/.wh.folder
    echo kept >dir/etc/kept
    touch dir/.wh.etc dir/.wh..wh..opq dir/etc/.wh.kept dir/.wh.folder/inside
    echo linked >dir/.wh.first
    ln dir/.wh.first dir/second
    ln dir/.wh.first dir/third
    to_submitter dir
    image import dir --name dir:1 2>err
    err_has '5 files and folders left out, as their names begin with ".wh."'
    image export dir:1 --format tar --output dir.tar
    [ "$(tar tf dir.tar | sort | xargs)" = "./ etc/ etc/kept second third" ] || fail "$(tar tvf dir.tar)"
    [ "$(tar xOf dir.tar second)" = linked ]
    store_is_whole
}

@test "a layout with several images needs a tag, and says which there are" {
    python3 "$LAYOUT" tiny l 2
    python3 - <<'END'
import json, os, shutil
shutil.copytree("l/1/blobs", "l/0/blobs", dirs_exist_ok=True)
index, other = (json.load(open("l/%d/index.json" % i)) for i in (0, 1))
one, two = index["manifests"][0], other["manifests"][0]
def write(name, first, second, **more):
    shutil.copytree("l/0", name)
    manifests = [dict(first, annotations={"org.opencontainers.image.ref.name": tag}, **more) if tag else dict(first, **more)
                 for first, tag in zip((one, two), (first, second))]
    for m in manifests if not first else []:
        m.pop("annotations", None)
    json.dump(dict(index, manifests=manifests), open(name + "/index.json", "w"))
write("tags", "1.0", "2.0")
write("nameless", None, None)
write("platforms", "1.0", "1.0", platform={"os": "linux", "architecture": {"x86_64": "amd64", "aarch64": "arm64"}[os.uname().machine]})
END
    run -125 image pull oci:tags
    [[ $output == "jobbox: oci:tags: it has several images: 1.0, 2.0; write oci:DIR:TAG for one of them" ]] || fail "$output"
    run -125 image pull oci:nameless
    [[ $output == *"it has several images, without tags; give them some"* ]] || fail "$output"
    image pull oci:tags:2.0 --name two:1
    [ "$(image export two:1 --format tar -o - | tar xO number)" = 1 ]
    image pull oci:platforms --name one:1 # of one name the first that is for this machine
    [ "$(image export one:1 --format tar -o - | tar xO number)" = 0 ]
}

@test "verify finds what was changed, missing or not right" {
    image import "$IMAGE" --name v:1
    local path
    path=$(image inspect --json v:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    echo changed >>"$path/etc/passwd"
    run -1 image verify
    [[ $output == *"its files are not those that were unpacked"* ]]
    run -0 image verify --quick
    rm -r "${path%/fs}"
    run -1 image verify
    [[ $output == *"layer 1 of 1"*"is missing"* ]]
    image rm v:1
    store_is_whole
}

# bats test_tags=slow
@test "a thousand images, removed and collected, leave the store as it was" {
    needs_root "nothing of it is about privilege"
    local before after
    image import "$IMAGE" --name stays:1
    before=$(cd state/images && find . -type f ! -path './tmp/*' -printf '%p %s\n' | sort)
    python3 "$LAYOUT" tiny l 1000
    for i in $(seq 0 999); do
        "$JOBBOX" image pull --quiet --config "$CONF" "oci:l/$i" --name "t:$i" >/dev/null || fail "pull $i" || return 1
    done
    [ "$(find state/images/layers -mindepth 1 -maxdepth 1 | wc -l)" = 1001 ]
    # shellcheck disable=SC2046
    image rm $(seq -f 't:%.0f' 0 999) | grep -q 'removed 1000 images, 1000 layers'
    after=$(cd state/images && find . -type f ! -path './tmp/*' -printf '%p %s\n' | sort)
    [ "$before" = "$after" ]
    store_is_whole
}

# What stands in the code block behind this comment.
block()
{
    awk -v mark="<!-- $1 -->" '$0 == mark { on = 1; next } on == 2 && /^```$/ { exit } on == 2 { print }
        on == 1 && /^```/ { on = 2 }' "$SOURCE_DIR/docs/images.md"
}

@test "the examples of docs/images.md" {
    cp -a "$IMAGE" busybox
    python3 "$LAYOUT" layered app
    export JOBBOX_CONFIG=$CONF
    local line n=0
    while read -r line; do
        n=$((n + 1))
        eval "$line" >out 2>err || fail "$line" || return 1
    done < <(block 'the tests run this' | sed -n 's/^# //p')
    [ "$n" -ge 10 ] || fail "only $n examples"
    block 'the tests run this job' >job.yaml
    run_job
    exits 0
    out_is "from the store"
}

@test "usage errors and what nobody can do" {
    run -125 image fetch
    run -125 image pull
    run -125 image pull ftp://x
    [[ $output == *"says no way to fetch an image"* ]]
    run -125 image pull oci:x --name 'Upper Case'
    run -124 image inspect nothing:1
    run -124 image rm nothing:1
    run -124 image pull oci:nowhere
    run -125 image export x
}
