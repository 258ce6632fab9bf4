#!/usr/bin/env bats
# Trees as other tools unpack them: file by file, type, mode, owner, attributes, links and content. umoci is one; the next is
# the library of podman, buildah and skopeo (containers/storage), which skopeo writes to; the last is buildah itself, where it
# is installed. All are asked about an image of another's making, and about images that jobbox made.
# bats file_tags=slow

load lib
load images

setup_file() { file_setup; }
teardown_file() { file_teardown; }

setup()
{
    needs_root
    needs_cgroups
    test_setup
}

teardown() { test_teardown; }

# by_umoci SOURCE: the tree of an OCI layout, listed.
by_umoci()
{
    umoci unpack --image "$1" "$T/bundle" >/dev/null 2>&1
    python3 "$TREELIST" "$T/bundle/rootfs"
    rm -rf "$T/bundle"
}

# by_storage SOURCE: the same as containers/storage has it: its driver "vfs" makes a whole tree for each layer.
by_storage()
{
    local top
    skopeo copy -q "oci:$1" "containers-storage:[vfs@$T/cs+$T/cs.run]compare:latest"
    top=$(python3 -c 'import json, sys
layers = json.load(open(sys.argv[1]))
parents = {layer.get("parent") for layer in layers}
print([layer["id"] for layer in layers if layer["id"] not in parents][0])' "$T/cs/vfs-layers/layers.json")
    python3 "$TREELIST" "$T/cs/vfs/dir/$top"
    rm -rf "$T/cs" "$T/cs.run"
}

# by_buildah SOURCE: the same as a container of buildah has it.
by_buildah()
{
    local tool=(buildah --root "$T/cs" --runroot "$T/cs.run" --storage-driver vfs)
    "${tool[@]}" from -q --name compare "oci:$1" >/dev/null
    python3 "$TREELIST" "$("${tool[@]}" mount compare)"
    "${tool[@]}" umount compare >/dev/null
    "${tool[@]}" rm compare >/dev/null
    rm -rf "$T/cs" "$T/cs.run"
}

# as_others_do IMAGE SOURCE: the image of the store is what each of the others makes of the layout.
as_others_do()
{
    list_image "$1" >ours
    [ "$(wc -l <ours)" -ge "${3:-10}" ] || fail "the tree has $(wc -l <ours) entries"
    by_umoci "$2" >theirs
    diff theirs ours || fail "not as umoci has it"
    # it makes the folder in which a layer takes away what was never there, and has a mode of its own for a root that no
    # layer names; umoci does neither
    by_storage "$2" | grep -vE "^b'(not|\.)' " >theirs
    diff theirs <(grep -v "^b'\.' " ours) || fail "not as containers/storage has it"
    command -v buildah >/dev/null || { echo "# not compared with buildah, which is not here" >&3 && return; }
    by_buildah "$2" | grep -vE "^b'(not|\.)' " >theirs
    diff theirs <(grep -v "^b'\.' " ours) || fail "not as buildah has it"
}

@test "whiteouts, opaque folders, hard links, attributes, replaced kinds, implied folders" {
    needs_programs umoci skopeo
    python3 "$LAYOUT" layered lay
    image pull oci:lay:latest --name layered:1
    as_others_do layered:1 lay:latest 30
}

@test "twelve layers" {
    needs_programs umoci skopeo
    python3 "$LAYOUT" many lay 12
    image pull oci:lay:latest --name many:1
    as_others_do many:1 lay:latest 14
}

@test "an image of a kept box, exported: others unpack what the box had" {
    needs_programs umoci skopeo
    cp -a "$FILE_DIR/image" tree
    mkdir -p tree/data/old tree/data/moved tree/data/stays
    echo one >tree/data/one
    echo two >tree/data/old/two
    echo three >tree/data/moved/three
    ln tree/data/one tree/data/linked
    chmod 2751 tree/data/stays
    chown 12:34 tree/data/stays
    image import tree --name base:1
    script 'cd /data; echo ONE >one; rm -r old; mkdir old; echo new >old/new; mv moved renamed; ln one again; chown 5:6 stays
        mkfifo pipe; ln -s ../etc link; rm /bin/vi; mkdir -m 1777 sticky; echo s >set; chmod 6755 set; touch -d "2001-02-03 04:05:06" one
        rm linked; mkdir linked; : >linked/in' 'image: base:1' 'keep: always' 'user: root-in-box'
    run_job
    exits 0
    image_of=$(show rec.id)
    jobbox commit -q --config "$CONF" "$image_of" --image mine:1
    image export mine:1 --output mine.tar
    skopeo copy -q oci-archive:mine.tar oci:lay:latest
    as_others_do mine:1 lay:latest 100
    grep -q "b'data/set' -rwsr-sr-x 0:0" ours || fail "set-id bits are lost: $(grep data/set ours)"
    grep -q "b'data/stays' drwxr-s--x 5:6" ours || fail "$(grep data/stays ours)"
    grep -q "b'data/renamed/three'" ours
    ! grep -qE "b'(data/moved|data/old/two|bin/vi)'" ours || fail "deleted and there"
    grep -q "one file: .*b'data/again', b'data/one'" ours || fail "the link is lost"
}

@test "an image of a directory: what is imported comes out of every tool as it went in" {
    needs_programs umoci skopeo setfattr
    cp -a "$FILE_DIR/image" tree
    mkdir tree/data
    echo x >tree/data/x
    setfattr -n user.color -v blue tree/data/x 2>/dev/null || skip "no extended attributes here"
    ln tree/data/x tree/data/y
    chown 7:8 tree/data/x
    chmod 4711 tree/data/x
    image import tree --name dir:1
    image export dir:1 --output dir.tar
    skopeo copy -q oci-archive:dir.tar oci:lay:latest
    as_others_do dir:1 lay:latest 100
    python3 "$TREELIST" tree >theirs
    diff theirs ours || fail "not as it is on the disk"
}
