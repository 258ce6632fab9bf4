#!/usr/bin/env bats
# Layers that somebody made to do harm: refused with one line, or harmless. See layout.py for what each tries.
# Runs as: root, user

load lib
load images

setup_file()
{
    file_setup
    python3 "$BATS_TEST_DIRNAME/layout.py" kinds >"$FILE_DIR/kinds"
}
teardown_file() { file_teardown; }

setup()
{
    test_setup
    site_config "images: { max_entries: 10000, max_size: 1GiB, unpack_time: $((60 * JBT_SLOWER))s }"
    mkdir outside
    echo secret >outside/secret
}

teardown() { test_teardown; }

# Nothing came of it, inside or outside.
refused()
{
    [ "$code" = 124 ] || [ "$code" = 125 ] || fail "$1: exit code $code" || return 1
    one_error "$2" || fail "$1" || return 1
    [ "$(ls outside)" = secret ] && [ "$(cat outside/secret)" = secret ] && [ "$(stat -c %h outside/secret)" = 1 ] ||
        fail "$1 reached out" || return 1
    ! find / -xdev -maxdepth 3 -newer "$T/site.yaml" -name 'escaped*' 2>/dev/null | grep . || return 1
    [ -z "$(find state/images/layers state/images/images state/images/tmp -mindepth 1)" ] || fail "$1 left something"
}

try()
{
    python3 "$LAYOUT" hostile "h/$1" "$1" "$T/outside"
    code=0
    image pull --quiet "oci:h/$1" --name hostile:1 >out 2>err || code=$?
}

# bats test_tags=slow
@test "what an image wants to be seen neither speaks to the terminal nor makes lines of its own" {
    tar -C "$IMAGE" -cf root.tar .
    python3 -c 'import json
esc = "\x1b[31m\nX"
json.dump({"Env": ["A=" + esc], "User": esc, "WorkingDir": "/w" + esc, "Cmd": ["/bin/sh", esc], "Entrypoint": [esc]},
          open("loud.json", "w"))'
    python3 "$LAYOUT" plain loud root.tar
    image pull oci:loud:latest --name loud:1
    image inspect loud:1 >shown
    printf 'version: 1\nimage: loud:1\nuser: submitter\n%s\n' 'allow_degraded: [cpuset, memory, pids]' >job.yaml
    jobbox plan --config "$CONF" job.yaml >planned
    local file
    for file in shown planned; do
        ! grep -q "$(printf '\033')" $file || fail "$file: $(cat -v $file)"
        ! grep -q '^X' $file || fail "$file: $(cat -v $file)"
        grep -q 'A=?\[31m?X' $file || fail "$file: $(cat -v $file)"
    done
}

@test "every kind of hostile layer is refused with its reason, and leaves nothing" {
    local kind reason tried=0
    declare -A reasons=([dotdot]='climbs with' [dotdot_inside]='climbs with' [absolute_dotdot]='climbs with'
        [hard_link_dotdot]='climbs with' [whiteout_of_dotdot]='whiteout of no name'
        [whiteout_of_dot]='whiteout of no name' [whiteout_of_nothing]='whiteout of no name'
        [deep]='longer or deeper' [long_path]='longer or deeper' [long_name]='longer or deeper'
        [impossible_owner]='owner that cannot be' [root_is_a_link]='root is no folder' [many_entries]='max_entries'
        [bomb]='max_ratio' [huge]='max_size' [sparse]='max_size' [truncated]='can be read|damaged'
        [trailing]='as the image says' [flipped]='can be read|damaged|as the image says'
        [wrong_diff_id]='as the image says' [no_tar]='no tar' [gzip_in_gzip]='as the image says')
    while read -r kind; do
        tried=$((tried + 1))
        reason=${reasons[$kind]-}
        [[ $kind != write_through* && $kind != file_as_folder ]] || reason='leads through something that is no folder'
        [[ $kind != hard_link_* || -n $reason ]] || reason='hard link to something that is no file'
        [ -n "$reason" ] || fail "no reason is known for $kind" || return 1
        try "$kind"
        refused "$kind" "$reason" || return 1
    done <"$FILE_DIR/kinds"
    [ "$tried" -ge 28 ]
}

@test "an ordinary user is as safe" {
    needs_root
    needs_programs setpriv
    user_setup
    chmod 777 outside
    cp site.yaml site.user && sed -i '/^paths/d' site.user
    local kind
    for kind in dotdot write_through_absolute_link hard_link_out whiteout_of_dotdot many_entries; do
        python3 "$LAYOUT" hostile "h/$kind" "$kind" "$T/outside"
        run ! as_user ./jobbox image pull --config site.user "oci:h/$kind"
        [ "$(ls outside)" = secret ] || fail "$kind reached out" || return 1
    done
    as_user ./jobbox image verify --config site.user
}

@test "devices are left out, links stay inside, overlayfs's attributes are not taken" {
    needs_root
    python3 - "$LAYOUT" <<'END'
import runpy, sys, tarfile
m = runpy.run_path(sys.argv[1])
l = m["Layer"]()
l.dir("inside").sym("abs", "/inside").file("abs/file", "in\n")
l.add("null", tarfile.CHRTYPE).add("disk", tarfile.BLKTYPE)
l.dir("redirected", pax={"SCHILY.xattr.trusted.overlay.redirect": "/etc",
                         "SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.security.ima": "x"})
m["layout"]("l", [l.bytes()])
END
    image pull oci:l --name l:1 2>err
    err_has '2 device nodes left out'
    local path
    path=$(image inspect --json l:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    [ "$(cat "$path/inside/file")" = in ]
    [ -z "$(find "$path" -type c -o -type b)" ]
    [ -z "$(getfattr -d -m - "$path/redirected" 2>/dev/null | grep -v '^#' | grep .)" ]
}

@test "a folder that gave way to a symlink gives its mode and owner to nothing that the symlink leads to" {
    python3 - "$LAYOUT" <<'END'
import runpy, sys
m = runpy.run_path(sys.argv[1])
l = m["Layer"]()
l.dir("other").dir("other/sub").file("other/sub/file")
l.dir("d", mode=0o700, uid=1234).dir("d/sub", mode=0o700, uid=1234).sym("d", "other")
l.dir("again", mode=0o700).sym("again", "other").dir("again", mode=0o750)
m["layout"]("l", [l.bytes()])
END
    image pull oci:l --name l:1
    local path
    path=$(image inspect --json l:1 | sed -n 's/.*"path": "\(.*\)".*/\1/p')
    [ "$(stat -c %a "$path/other" "$path/other/sub" "$path/again" | xargs)" = "755 755 750" ] ||
        fail "$(stat -c '%n %a' "$path"/* "$path/other/sub")"
    [ "$(stat -c %u "$path/other" "$path/other/sub" | xargs)" = "$SUBMITTER $SUBMITTER" ]
    [ "$(readlink "$path/d")" = other ]
}

@test "manifests that lie are refused with their reason" {
    python3 "$LAYOUT" tiny l 1
    cp -a l/0 big && cp -a l/0 foreign && cp -a l/0 nolayers
    # what the index names must be what is there
    python3 - <<'END'
import hashlib, json, os
def rewrite(root, change):
    index = json.load(open(root + "/index.json"))
    entry = index["manifests"][0]
    blob = root + "/blobs/sha256/" + entry["digest"][7:]
    manifest = json.load(open(blob))
    change(manifest)
    data = json.dumps(manifest).encode()
    digest = hashlib.sha256(data).hexdigest()
    open(root + "/blobs/sha256/" + digest, "wb").write(data)
    entry["digest"], entry["size"] = "sha256:" + digest, len(data)
    json.dump(index, open(root + "/index.json", "w"))
rewrite("big", lambda m: m["layers"].extend(m["layers"] * 600))
rewrite("foreign", lambda m: m["layers"][0].update(mediaType="application/vnd.oci.image.layer.v1.tar+encrypted"))
rewrite("nolayers", lambda m: m["layers"].clear())
END
    run -124 image pull oci:big
    [[ $output == *"has 601 layers; an overlay takes 500"* ]]
    run -124 image pull oci:foreign
    [[ $output == *"which jobbox cannot unpack"* ]]
    run -125 image pull oci:nolayers
    [[ $output == *"has no layers"* ]]
    for blob in l/0/blobs/sha256/*; do
        echo >>"$blob"
    done
    run ! image pull oci:l/0
    [[ $output == *"damaged or replaced"* ]]
    rm l/0/index.json
    ln -s /etc/passwd l/0/index.json
    run ! image pull oci:l/0
    [[ $output != *root:* ]]
}
