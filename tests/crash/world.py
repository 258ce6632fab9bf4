"""One jobbox of its own for the crash suite: folders, a config, jobs; stopping it at steps; what it left behind.

A World is one folder with a runtime and a state directory, each a small tmpfs of this process's mount namespace, and a
folder `crash` through which runner/base/crashpoint.c is told where to stop. It is mounted into the boxes under its
own path, so that the box's first process and jobbox-init find it too.
"""
import glob
import json
import os
import select
import shutil
import signal
import subprocess
import time

from nest import alone, hierarchies

PATIENCE = 20  # seconds until something counts as hanging


class Failure(Exception):
    pass


def check(condition, text):
    if not condition:
        raise Failure(text)


def until(condition, text, seconds=PATIENCE, must=True):
    end = time.monotonic() + seconds
    while not condition() and (must or time.monotonic() < end):
        check(time.monotonic() < end, text)
        time.sleep(0.002)


def mount(*arguments):
    subprocess.run(["mount", *arguments], check=True)


def box_groups():
    return {path for top in set(hierarchies().values()) for path in glob.glob(top + "/**/jobbox-*", recursive=True)}


class World:
    def __init__(self, top, jobbox, image, lines=(), job=(), room="1m", within=()):
        self.top, self.jobbox, self.image = top, jobbox, image
        self.run_dir, self.state_dir, self.crash = top + "/run", top + "/state", top + "/crash"
        self.mark = "JBT_MARK=" + top
        self.lines, self.job, self.room = list(lines), list(job), room
        self.within = list(within)
        self.client = self.hit = self.go = None
        os.mkdir(top, 0o755)
        self.before = box_groups()
        self.fresh()

    def path(self, name):
        return os.path.join(self.top, name)

    def write(self, name, text):
        with open(self.path(name), "w", encoding="utf-8") as file:
            file.write(text)

    def fresh(self):
        """An empty world: what the case before left is gone, and so are its mounts."""
        self.unmount()
        for name in os.listdir(self.top):
            shutil.rmtree(self.path(name)) if os.path.isdir(self.path(name)) else os.unlink(self.path(name))
        for name, mode in (("run", 0o755), ("state", 0o700)):
            os.mkdir(self.path(name), mode)
            mount("-t", "tmpfs", "-o", "size=%s,mode=%o" % (self.room, mode), "crash", self.path(name))
            os.mkdir(self.path(name) + "/jobbox", mode)
        os.mkdir(self.crash)
        os.chmod(self.crash, 0o777)
        for name in ("hit", "go"):
            os.mkfifo(self.crash + "/" + name)
            os.chmod(self.crash + "/" + name, 0o666)
        for name in ("trace", "ran"):
            self.write("crash/" + name, "")
            os.chmod(self.crash + "/" + name, 0o666)
        self.write("site.yaml", "\n".join([
            "paths: { runtime: %s/jobbox, state: %s/jobbox }" % (self.run_dir, self.state_dir),
            "env: { JBT_MARK: %s, JOBBOX_CRASH_DIR: %s }" % (self.top, self.crash), *self.lines]) + "\n")
        os.chmod(self.path("site.yaml"), 0o644)
        self.write("job.yaml", "\n".join([
            "version: 1", "image: " + self.image,
            "mounts: [{ source: %s, target: %s, mode: rw }]" % (self.crash, self.crash), *self.job]) + "\n")
        self.write("next.yaml", "version: 1\nimage: %s\nscript: \"true\"\nresources: { cpus: %d, cpu_unit: thread }\n"
                   "allow_degraded: [scratch]\n" % (self.image, len(os.sched_getaffinity(0))))

    def unmount(self):
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            points = [line.split()[4] for line in file]
        for point in reversed(points):
            if point.startswith(self.top + "/"):
                subprocess.run(["umount", point], check=True)

    def close(self):
        self.unmount()
        shutil.rmtree(self.top)

    # --- processes ---

    def start(self, *arguments, stop=None, program=None):
        """Starts jobbox, or another program; stop: (step, N), where it is to stop."""
        if stop:
            self.write("crash/stop", "%s %d" % stop)
        if self.hit is None:
            self.hit = os.open(self.crash + "/hit", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
            self.go = os.open(self.crash + "/go", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        key, value = self.mark.split("=", 1)
        environment = dict(os.environ, JOBBOX_CRASH_DIR=self.crash)
        environment[key] = value
        with open(self.path("out"), "w") as out, open(self.path("err"), "w") as err:
            command = [program] if program else [*self.within, self.jobbox]
            self.process = subprocess.Popen([*command, *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=err,
                                            env=environment, cwd=self.top)
        return self.process

    def start_command(self, arguments, stop=None):
        """A verb and its arguments, with this world's config."""
        return self.start(arguments[0], "--config", self.path("site.yaml"), *arguments[1:], stop=stop)

    def start_job(self, stop=None, spec="job.yaml"):
        return self.start_command(["run", "--quiet", spec], stop)

    def start_sweep(self, stop=None):
        return self.start_command(["sweep"], stop)

    def wait_stopped(self):
        """Waits until somebody stands at the step. Returns its process id, which is only of use outside of a box."""
        end = time.monotonic() + PATIENCE
        while not select.select([self.hit], [], [], 0.05)[0]:
            check(self.process.poll() is None, "ended with %s and never got there: %s" % (self.process.returncode, self.error()))
            check(time.monotonic() < end, "hangs on the way there")
        word = os.read(self.hit, 4096).split()
        os.unlink(self.crash + "/stop")
        return int(word[1])

    def release(self):
        os.write(self.go, b"gg")

    def children(self):
        pid = self.process.pid
        try:
            with open("/proc/%d/task/%d/children" % (pid, pid), encoding="utf-8") as file:
                return [int(word) for word in file.read().split()]
        except FileNotFoundError:
            return []

    def execute(self, *command):
        """A command in the box of the job that runs; `finish` waits for it too."""
        until(lambda: {"start_heard", "control_made"} <= set(self.trace()) or self.process.poll() is not None, "the job does not start")
        boxes = os.listdir(self.run_dir + "/jobbox/boxes")
        key, value = self.mark.split("=", 1)
        with open(self.path("client"), "w", encoding="utf-8") as out:
            self.client = subprocess.Popen([self.jobbox, "exec", "--config", self.path("site.yaml"), *boxes, *command],
                                           stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=self.top,
                                           env=dict(os.environ, **{key: value}))

    def finish(self):
        """Waits for the end of jobbox and of everything that it started. Returns its exit code."""
        client, self.client = self.client, None
        try:
            code = self.process.wait(PATIENCE)
            if client:
                client.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            if client:
                client.kill()
                client.wait()
            raise Failure("jobbox hangs: " + self.error()) from None
        finally:
            self.leave_steps()
        until(lambda: not self.marked(), "processes are left: %s" % self.marked(), 5)
        until(alone, "processes of the box are dying and do not come to an end", 5)  # they hold its lock until then
        return code

    def leave_steps(self):
        for fd in (self.hit, self.go):
            if fd is not None:
                os.close(fd)
        self.hit = self.go = None

    def marked(self):
        mark, found = self.mark.encode(), []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/environ" % pid, "rb") as file:
                    if mark in file.read().split(b"\0"):
                        found.append(int(pid))
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                pass
        return found

    def kill(self, pids):
        for pid in pids:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass

    def end_all(self):
        """After a failure: nothing of this world may be in the way of the next case."""
        for pid in self.marked():
            self.kill([pid])
        self.leave_steps()
        time.sleep(0.05)
        subprocess.run([self.jobbox, "sweep", "--config", self.path("site.yaml")], check=False, capture_output=True)
        self.before = box_groups()

    def error(self):
        with open(self.path("err"), encoding="utf-8", errors="replace") as file:
            return file.read().strip()

    # --- what it left ---

    def trace(self):
        """The steps that were taken, in order."""
        with open(self.crash + "/trace", encoding="utf-8") as file:
            return [line.split()[0] for line in file]

    def points(self):
        """The same as (step, N)."""
        seen, found = {}, []
        for step in self.trace():
            seen[step] = seen.get(step, 0) + 1
            found.append((step, seen[step]))
        return found

    def records(self):
        found = []
        for name in sorted(glob.glob(self.state_dir + "/jobbox/journal/*.jsonl")):
            with open(name, encoding="utf-8") as file:
                found += [json.loads(line) for line in file if line.strip()]
        return found

    def sweep(self):
        self.start_sweep()
        code = self.finish()
        check(code == 0, "sweep ends with %d: %s" % (code, self.error()))
        check(self.error() == "", "sweep says: " + self.error())

    def run_next(self):
        """A job that wants all CPUs: they are free, and it recovers what there is to recover."""
        self.start_job(spec="next.yaml")
        code = self.finish()
        check(code == 0, "the next job ends with %d: %s" % (code, self.error()))
        check(self.error() == "", "the next job says: " + self.error())

    def nothing_left(self):
        left = ["group " + path for path in sorted(box_groups() - self.before)]
        for folder in (self.run_dir + "/jobbox/boxes", self.state_dir + "/jobbox/scratch"):
            left += ["%s/%s" % (folder, name) for name in os.listdir(folder)] if os.path.isdir(folder) else []
        for name in glob.glob(self.run_dir + "/jobbox/ledger.[0-9]"):
            with open(name, "rb") as file:
                data = file.read()
            left += ["slot %d of %s" % (i // 256, name) for i in range(0, len(data), 256) if data[i + 8]]
        name = self.state_dir + "/jobbox/attempts"
        if os.path.exists(name):
            with open(name, "rb") as file:
                data = file.read()
            left += ["slot %d of attempts" % (i // 8192) for i in range(0, len(data), 8192) if data[i]]
        with open("/proc/self/mountinfo", encoding="utf-8") as file:
            points = [line.split()[4] for line in file]
        left += ["mount " + p for p in points
                 if p.startswith(self.top + "/") and p not in (self.run_dir, self.state_dir)]
        left += ["process %d" % pid for pid in self.marked()]
        check(not left, "left behind: " + ", ".join(left))
