"""A cgroup of its own for each process that runs tests, in every hierarchy.

Boxes lie below the cgroup of whoever starts them. In a group of its own a test sees its own boxes and nobody else's, and
two that run at the same time do not take each other's groups for left over.
"""
import ctypes
import errno
import os
import time

NEEDED = ("cpuset", "memory", "pids")


def hierarchies():
    """{controllers of a hierarchy, "" for v2: the directory of this process's group}."""
    points, found = {}, {}
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            _, point, kind, options = line.split()[:4]
            if kind == "cgroup2":
                points.setdefault("", point)
            elif kind == "cgroup":
                for controller in options.split(","):
                    points.setdefault(controller, point)
    with open("/proc/self/cgroup", encoding="utf-8") as file:
        for line in file:
            _, controllers, path = line.rstrip("\n").split(":", 2)
            point = points.get(controllers.split(",")[0])
            if point:
                found[controllers] = point + path.rstrip("/")
    return found


def can_nest():
    """Where v2 has the controllers that limit, a group below one with processes gets none of them."""
    v1 = {name for controllers in hierarchies() if controllers for name in controllers.split(",")}
    return os.geteuid() == 0 and all(name in v1 for name in NEEDED)


def adopt_orphans():
    """What loses its parent comes to this process and is reaped here, not when the host's PID 1 gets round to it."""
    PR_SET_CHILD_SUBREAPER = 36
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), "PR_SET_CHILD_SUBREAPER")


def alone():
    """Every process that was ever started in this process's own group is gone for good; True where it has none. It reaps
    every child: whoever asks waits for none of his own any more."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    return not Nest.entered or open(Nest.entered + "/pids.current", encoding="ascii").read().strip() == "1"


class Nest:
    entered = None  # the directory of this process's own group of pids

    def __init__(self, name):
        self.name, self.outer = name, hierarchies()
        self.dirs = {controllers: top + "/" + name for controllers, top in self.outer.items()}

    def _put(self, path, text):
        with open(path, "w", encoding="ascii") as file:
            file.write(text)

    def enter(self, orphans=True):
        """orphans: what loses its parent comes here; for those that call `alone` often enough to reap it."""
        if orphans:
            adopt_orphans()
        for controllers, path in self.dirs.items():
            os.makedirs(path, exist_ok=True)
            for name in ("cpuset.cpus", "cpuset.mems"):
                if "cpuset" in controllers.split(","):
                    with open("%s/%s" % (self.outer[controllers], name), encoding="ascii") as file:
                        self._put(path + "/" + name, file.read())
            self._put(path + "/cgroup.procs", str(os.getpid()))
            if "pids" in controllers.split(","):
                Nest.entered = path

    def leave(self):
        """Back where it was; the groups go, and with them the proof that nothing is left in them."""
        for controllers, path in self.dirs.items():
            if os.path.isdir(path):
                self._put(self.outer[controllers] + "/cgroup.procs", str(os.getpid()))
        Nest.entered = None
        self.remove()

    def cpu_s(self):
        """CPU seconds of all that ran in it."""
        for controllers, path in self.dirs.items():
            if "cpuacct" in controllers.split(",") and os.path.isdir(path):
                with open(path + "/cpuacct.usage", encoding="ascii") as file:
                    return int(file.read()) / 1e9
        return 0

    def remove(self, seconds=5):
        end = time.monotonic() + seconds
        for path in self.dirs.values():
            while os.path.isdir(path):
                try:
                    os.rmdir(path)
                except OSError as error:
                    if error.errno != errno.EBUSY or time.monotonic() > end:
                        raise
                    time.sleep(0.01)
