#!/usr/bin/env python3
"""treelist.py DIR: everything in it that two unpackers of one image must agree on, one line each."""
import hashlib
import os
import stat
import sys


def main():
    top = os.fsencode(sys.argv[1])
    first = {}
    lines = []
    for folder, folders, files in os.walk(top):
        for name in folders + files + ([b"."] if folder == top else []):
            path = os.path.join(folder, name)
            st = os.lstat(path)
            short = os.path.relpath(path, top)
            # extended attributes that belong to the content
            attributes = ["%s=%r" % (a, os.getxattr(path, a, follow_symlinks=False))
                          for a in sorted(os.listxattr(path, follow_symlinks=False))
                          if a.startswith("user.") and not a.startswith(("user.overlay.", "user.umoci", "user.rootless"))]
            parts = [repr(short), stat.filemode(st.st_mode), "%d:%d" % (st.st_uid, st.st_gid)]
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    parts.append(hashlib.sha256(f.read()).hexdigest())
                parts.append("%d" % st.st_mtime)
            if stat.S_ISLNK(st.st_mode):
                parts.append(repr(os.readlink(path)))
            if not stat.S_ISDIR(st.st_mode) and st.st_nlink > 1:
                first.setdefault((st.st_dev, st.st_ino), []).append(short)
            lines.append(" ".join(parts + attributes))
    for names in first.values():
        if len(names) > 1:
            lines.append("one file: %r" % sorted(names))
    print("\n".join(sorted(lines)))


main()
