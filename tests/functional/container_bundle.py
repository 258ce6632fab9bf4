#!/usr/bin/env python3
"""container_bundle.py DIR CGROUPS CAPABILITIES NAMESPACE CGROUP -- ARGUMENT...

Writes DIR/bundle/config.json for crun: this host's software read-only, DIR/opt at /opt, all else fresh memory.
CGROUPS: rw or ro. CAPABILITIES: full, or few (what runtimes give by default). NAMESPACE: userns or none.
CGROUP: where the container's group is made, or - for none of its own."""
import json
import os
import sys

directory, cgroups, capabilities, namespace, cgroup = sys.argv[1:6]
kept = "CHOWN DAC_OVERRIDE FOWNER FSETID KILL MKNOD NET_BIND_SERVICE SETFCAP SETGID SETPCAP SETUID SYS_CHROOT".split()
if capabilities == "full":
    kept += ["SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE"]
kept = ["CAP_" + name for name in kept]


def mount(destination, kind, *options, source=None):
    return {"destination": destination, "type": kind, "source": source or kind, "options": list(options)}


config = {
    "ociVersion": "1.0.0",
    "process": {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": sys.argv[sys.argv.index("--") + 1:],
        "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root"] + [
            f"JBT_MARK={os.environ['JBT_MARK']}"] * ("JBT_MARK" in os.environ),
        "cwd": "/",
        "capabilities": {name: kept for name in ("bounding", "effective", "permitted")},
    },
    "root": {"path": os.path.join(directory, "rootfs")},
    "hostname": "container",
    "mounts": [
        mount("/proc", "proc"),
        mount("/dev", "tmpfs", "nosuid", "mode=755"),
        mount("/dev/pts", "devpts", "newinstance", "ptmxmode=0666", "mode=0620"),
        mount("/sys", "sysfs", "nosuid", "noexec", "nodev", "ro"),
        mount("/sys/fs/cgroup", "cgroup", "nosuid", "noexec", "nodev", cgroups),
        mount("/run", "tmpfs", "mode=755"),
        mount("/tmp", "tmpfs", "mode=1777"),
        mount("/var", "tmpfs", "mode=755"),
        mount("/usr", "bind", "rbind", "ro", source="/usr"),
        mount("/etc", "bind", "rbind", "ro", source="/etc"),
        mount("/opt", "bind", "rbind", "ro", source=os.path.join(directory, "opt")),
    ],
    "linux": {
        "namespaces": [{"type": name} for name in ("pid", "ipc", "uts", "mount", "cgroup", "network")],
        "resources": {"devices": [{"allow": True, "access": "rwm"}]},
    },
}
if cgroup != "-":
    config["linux"]["cgroupsPath"] = cgroup
if namespace == "userns":
    config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        config["linux"][key] = [{"containerID": 0, "hostID": 100000, "size": 65536}]
os.makedirs(os.path.join(directory, "bundle"), exist_ok=True)
with open(os.path.join(directory, "bundle", "config.json"), "w", encoding="utf-8") as file:
    json.dump(config, file)
