#!/usr/bin/env python3
"""Makes OCI layouts for the tests of images: ordinary ones, and such as nobody should have to unpack.

layout.py plain DIR [LAYER.tar...]     a layout of these tars; config in DIR.json, if it is there
layout.py many DIR N                   N layers, each with a file of its own and one that all have
layout.py tiny DIR N                   N layouts DIR/0 ... of one layer with one small file each
layout.py hostile DIR KIND OUTSIDE     a layer that tries KIND; OUTSIDE: a folder that it must not reach
layout.py layered DIR                  whiteouts, opaque folders, hard links, attributes, replaced kinds, implied folders
layout.py kinds                        the names of all KINDs
"""
import gzip
import hashlib
import io
import json
import os
import sys
import tarfile


def sha(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def write_blob(root, data):
    digest = sha(data)
    with open(os.path.join(root, "blobs", "sha256", digest[7:]), "wb") as f:
        f.write(data)
    return digest


def layout(root, tars, config=None, compress=True, diff_ids=None, damage=None, tag="latest"):
    """tars: bytes of each layer, the lowest first."""
    os.makedirs(os.path.join(root, "blobs", "sha256"))
    layers, diffs = [], []
    for tar in tars:
        data = gzip.compress(tar, 6, mtime=0) if compress else tar
        kind = "application/vnd.oci.image.layer.v1.tar" + ("+gzip" if compress else "")
        layers.append({"mediaType": kind, "digest": write_blob(root, data), "size": len(data)})
        diffs.append(sha(tar))
    settings = {"architecture": "amd64", "os": "linux", "config": config or {},
                "rootfs": {"type": "layers", "diff_ids": diff_ids or diffs}}
    text = json.dumps(settings).encode()
    manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {"mediaType": "application/vnd.oci.image.config.v1+json",
                           "digest": write_blob(root, text), "size": len(text)},
                "layers": layers}
    data = json.dumps(manifest).encode()
    index = {"schemaVersion": 2, "manifests": [
        {"mediaType": manifest["mediaType"], "digest": write_blob(root, data), "size": len(data),
         "annotations": {"org.opencontainers.image.ref.name": tag}}]}
    with open(os.path.join(root, "index.json"), "w") as f:
        json.dump(index, f)
    with open(os.path.join(root, "oci-layout"), "w") as f:
        f.write('{"imageLayoutVersion":"1.0.0"}')
    if damage:
        damage(os.path.join(root, "blobs", "sha256", layers[0]["digest"][7:]))


class Layer:
    """A tar under construction."""

    def __init__(self, form=tarfile.PAX_FORMAT):
        self.out = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.out, mode="w", format=form)

    def add(self, name, kind=tarfile.REGTYPE, data=b"", mode=None, link="", uid=0, gid=0, pax=None, mtime=1000000000):
        info = tarfile.TarInfo(name)
        info.type = kind
        info.size = len(data) if kind == tarfile.REGTYPE else 0
        info.mode = mode if mode is not None else (0o755 if kind == tarfile.DIRTYPE else 0o644)
        info.linkname = link
        info.uid, info.gid, info.mtime = uid, gid, mtime
        info.pax_headers = pax or {}
        if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE):
            info.devmajor, info.devminor = 1, 3
        self.tar.addfile(info, io.BytesIO(data) if info.size else None)
        return self

    def file(self, name, text="x\n", **more):
        return self.add(name, data=text.encode(), **more)

    def dir(self, name, **more):
        return self.add(name, tarfile.DIRTYPE, **more)

    def sym(self, name, target):
        return self.add(name, tarfile.SYMTYPE, link=target, mode=0o777)

    def hard(self, name, target):
        return self.add(name, tarfile.LNKTYPE, link=target)

    def bytes(self):
        self.tar.close()
        return self.out.getvalue()


def deep(layer):
    path = ""
    for _ in range(300):
        path += "d/"
        layer.dir(path)
    return layer


def many_entries(layer):
    for i in range(20000):
        layer.add("f%d" % i)
    return layer


def huge(layer):
    """A header that promises more than there is."""
    info = tarfile.TarInfo("huge")
    info.size = 1 << 62
    layer.tar.fileobj.write(info.tobuf(tarfile.GNU_FORMAT))
    return layer


def sparse(layer):
    """A pax sparse file of 8 EiB less a bit, with one block of data."""
    data = b"1\n9223372036854775000\n10\n".ljust(512, b"\0") + b"0123456789"
    return layer.add("GNUSparseFile.0/hole", data=data,
                     pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "hole",
                          "GNU.sparse.realsize": "9223372036854775807"})


HOSTILE = {
    "dotdot": lambda l, o: l.file("../escaped"),
    "dotdot_inside": lambda l, o: l.file("a/../../escaped"),
    "absolute_dotdot": lambda l, o: l.file("/../../escaped"),
    "write_through_absolute_link": lambda l, o: l.sym("out", o).file("out/escaped"),
    "write_through_relative_link": lambda l, o: l.sym("out", "../" * 20 + o[1:]).file("out/escaped"),
    "write_through_chain": lambda l, o: l.sym("a", "b").sym("b", o).file("a/escaped"),
    "write_through_late_link": lambda l, o: l.dir("out").file("out/first").sym("out", o).file("out/escaped"),
    "hard_link_out": lambda l, o: l.hard("l", o[1:] + "/secret"),
    "hard_link_dotdot": lambda l, o: l.hard("l", "../" * 20 + o[1:] + "/secret"),
    "hard_link_through_link": lambda l, o: l.sym("out", o).hard("l", "out/secret"),
    "hard_link_to_folder": lambda l, o: l.dir("d").hard("l", "d"),
    "whiteout_of_dotdot": lambda l, o: l.file("d/.wh..."),
    "whiteout_of_dot": lambda l, o: l.file("d/.wh.."),
    "whiteout_of_nothing": lambda l, o: l.file("d/.wh."),
    "file_as_folder": lambda l, o: l.file("a").file("a/b"),
    "deep": lambda l, o: deep(l),
    "long_path": lambda l, o: l.file("/".join(["n" * 200] * 25)),
    "long_name": lambda l, o: l.file("n" * 300),
    "impossible_owner": lambda l, o: l.file("f", pax={"uid": "99999999999"}),
    "root_is_a_link": lambda l, o: l.sym("./", o),
    "many_entries": lambda l, o: many_entries(l),
    "bomb": lambda l, o: l.add("zeros", data=bytes(200 << 20)),
    "huge": lambda l, o: huge(l),
    "sparse": lambda l, o: sparse(l),
}


def damage(how):
    def do(path):
        with open(path, "r+b") as f:
            data = f.read()
            if how == "truncated":
                f.truncate(len(data) // 2)
            elif how == "trailing":
                f.write(b"more")
            else:
                f.seek(len(data) // 2)
                f.write(bytes([data[len(data) // 2] ^ 1]))
    return do


def hostile(root, kind, outside):
    if kind in ("truncated", "trailing", "flipped"):
        layout(root, [Layer().file("f", "hello" * 1000).bytes()], damage=damage(kind))
    elif kind == "wrong_diff_id":
        layout(root, [Layer().file("f").bytes()], diff_ids=[sha(b"something else")])
    elif kind == "no_tar":
        layout(root, [os.urandom(100000)])
    elif kind == "gzip_in_gzip":
        layout(root, [gzip.compress(Layer().file("f").bytes(), mtime=0)])
    else:
        layout(root, [HOSTILE[kind](Layer(), outside).bytes()])


OTHER = ["truncated", "trailing", "flipped", "wrong_diff_id", "no_tar", "gzip_in_gzip"]


def layered(root):
    color = {"SCHILY.xattr.user.color": "blue"}
    base = Layer()
    base.dir("./", mode=0o755)
    for name in ("a", "a/deep", "b", "c", "d", "e", "implied", "op", "op/in"):
        base.dir(name)
    base.dir("private", mode=0o750, uid=5, gid=6).dir("sticky", mode=0o1777)
    base.file("a/one", "one\n").file("a/two", "two\n", mode=0o4755).file("a/deep/three", uid=1000, gid=1001)
    base.hard("b/one", "a/one").sym("link", "a/one").sym("dirlink", "a").sym("c/absolute", "/etc/passwd")
    base.file("d/colored", pax=color).file("e/gone").file("op/hidden").file("op/in/hidden")
    base.file("implied/kept").file("private/kept").file("kind", "file first\n").dir("kind2").file("kind2/x")
    base.add("fifo", tarfile.FIFOTYPE, mode=0o600).file("w\u00e4hrung \u20ac", "utf-8\n").file("a:b,c\\d", "odd\n")
    base.sym("toreplace", "a").file("late/.keep")
    second = Layer()
    second.file("e/.wh.gone").file("op/.wh..wh..opq").file("op/new", "new\n")
    second.file("private/added", "in an implied folder\n").file("implied/added")
    second.dir("kind").file("kind/now", "a folder\n").file(".wh.kind2").file("toreplace", "a file now\n")
    second.file("a/one", "changed\n").hard("a/other", "a/one").file(".wh.late")
    third = Layer()
    third.dir("late", mode=0o700).file("late/again").dir("op/in", mode=0o711).file("op/in/back")
    third.file("c/.wh.absolute").file("d/.wh.not_there").file("not/.wh.there").file(".wh..wh.aufs")
    layout(root, [base.bytes(), second.bytes(), third.bytes()],
           config={"Env": ["PATH=/bin"], "Cmd": ["/bin/sh"]})


def main():
    verb, root = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None
    if verb == "kinds":
        print("\n".join(list(HOSTILE) + OTHER))
    elif verb == "plain":
        config = json.load(open(root + ".json")) if os.path.exists(root + ".json") else None
        layout(root, [open(path, "rb").read() for path in sys.argv[3:]], config)
    elif verb == "many":
        layout(root, [Layer().file("all", "%d\n" % i).file("own%d" % i, "%d\n" % i).bytes()
                      for i in range(int(sys.argv[3]))])
    elif verb == "tiny":
        for i in range(int(sys.argv[3])):
            layout(os.path.join(root, str(i)), [Layer().file("number", str(i)).bytes()])
    elif verb == "hostile":
        hostile(root, sys.argv[3], sys.argv[4])
    elif verb == "layered":
        layered(root)
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
