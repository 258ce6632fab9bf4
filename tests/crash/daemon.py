"""A jobboxd of one world, killed and begun anew, and a client that speaks its protocol (docs/protocol.md).

The client never starts a daemon by itself, and knows what was acknowledged to it: that must not be lost. A job that was
not may be in the queue or not, but not half.
"""
import json
import select
import socket
import time

from world import Failure, check, until


OWN = ("DAEMON", "NURSERY", "QUEUED")  # who takes steps that only a queue has


class Peer:
    """One connection: a request and its answer, which may never come."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.data = b""

    def ask(self, **request):
        try:
            self.socket.sendall(json.dumps({"v": 1, **request}).encode() + b"\n")
        except (BrokenPipeError, ConnectionResetError):
            pass  # gone before it was asked: `line` says so

    def line(self):
        """The next line; None: the daemon is gone."""
        while b"\n" not in self.data:
            try:
                more = self.socket.recv(65536)
            except ConnectionResetError:
                more = b""
            except TimeoutError as error:
                raise Failure("jobboxd does not answer") from error
            if not more:
                return None
            self.data += more
        text, self.data = self.data.split(b"\n", 1)
        return json.loads(text)

    def close(self):
        self.socket.close()


def begins_anew(answer):
    """It says that nothing was done, and why; the same may be asked again."""
    return "cannot go on" in answer.get("error", {}).get("text", "")


class Daemon:
    """
    world    with a job.yaml
    process  jobboxd, which the world started
    """

    def __init__(self, world):
        self.world = world
        self.path = world.run_dir + "/jobbox/jobboxd.sock"
        self.peer = None

    def start(self, stop=None):
        self.world.start("--config", self.world.path("site.yaml"), stop=stop, program=self.world.jobbox + "d")

    def at(self):
        """Somebody stands at the step."""
        return bool(select.select([self.world.hit], [], [], 0)[0])

    def connect(self):
        """None: there is none, or it stands at a step before it can be asked."""
        while True:
            try:
                return Peer(self.path)
            except (FileNotFoundError, ConnectionRefusedError):
                check(self.world.process.poll() is None, "jobboxd ended: " + self.world.error())
                if self.at():
                    return None
                time.sleep(0.002)

    def ask(self, **request):
        """The last line of the answer. One whose nursery died begins anew, and then is asked once more."""
        answer = None
        for _ in range(3):
            peer = self.connect()
            check(peer is not None, "jobboxd stands still")
            peer.ask(**request)
            answer = peer.line()
            while answer is not None and "event" in answer:
                answer = peer.line()
            peer.close()
            if answer is not None and not begins_anew(answer):
                return answer
        raise Failure("jobboxd is gone again and again: " + self.world.error())

    def submit(self):
        """Asks, and does not wait for the answer."""
        with open(self.world.path("job.yaml"), encoding="utf-8") as file:
            spec = file.read()
        self.peer = self.connect()
        if self.peer:
            self.peer.ask(op="submit", spec=spec, file="job.yaml", cwd=self.world.top)

    def acknowledged(self):
        """Whether the job was; once it cannot come any more, or has come."""
        peer, self.peer = self.peer, None
        answer = peer.line() if peer else None
        if peer:
            peer.close()
        check(answer is None or answer.get("ok") or begins_anew(answer), "it is refused: %s" % answer)
        return answer is not None and answer["ok"]

    def is_there(self):
        """Job 1 is in the queue, or was."""
        return bool(self.ask(op="show", id="1")["ok"])

    def end_of_job(self):
        """How job 1 ended, when it has."""
        line = self.ask(op="wait", ids=["1"])
        check(line["ok"], "waiting for the job ends with %s" % line)
        job = self.ask(op="show", id="1")["jobs"][0]
        check(job["state"] == "done", "after its end the job is " + job["state"])
        return job

    def stop(self):
        """Without haste: what runs goes on, but here nothing does."""
        self.world.process.terminate()
        code = self.world.finish()
        check(code == 0, "jobboxd ends with %d: %s" % (code, self.world.error()))

    def settled(self):
        """The job has ended, and the queue knows it."""
        trace = self.world.trace()
        return "task_noted_ended" in trace and "queue_committed" in trace[trace.index("task_noted_ended"):]


def kinds(who, first):
    """Who is killed when somebody stands at a step: the daemon, whoever stands there, or both."""
    if who == "DAEMON":
        return [("daemon",)]
    if who in ("NURSERY", "QUEUED"):
        return [("daemon",), ("standing",), ("daemon", "standing")]
    if not first:  # what a supervisor does many times is the same to the daemon
        return []
    return [("daemon",)] if who in ("FIRST", "INIT") else [("daemon",), ("daemon", "standing")]


def begin(world, scenario, stop=None):
    """Starts it, and submits the job where it has not been. Returns the daemon."""
    daemon = Daemon(world)
    daemon.start(stop)
    if not scenario.prepare:
        daemon.submit()
    if scenario.beside:
        scenario.beside(world)
    return daemon


def undisturbed(world, scenario):
    """To the end of the job. Returns the points."""
    daemon = begin(world, scenario)
    if not scenario.prepare:
        check(daemon.acknowledged(), "jobboxd does not answer")
    until(daemon.settled, "the job does not end: " + world.error())
    points = world.points()
    daemon.end_of_job()
    daemon.stop()
    return points


def kill(world, scenario, point, who, victims):
    """Returns the steps that were taken before."""
    daemon = begin(world, scenario, point)
    standing = world.wait_stopped()
    before = world.trace()
    world.kill([{"daemon": world.process.pid, "standing": standing}[victim] for victim in victims])
    if "daemon" in victims:
        code = world.process.wait()
        check(code == -9, "jobboxd was killed and ends with %d" % code)
        if who == "NURSERY":  # it is waited for before there is a new one
            world.release()
        daemon.start()
        until(lambda: "queue_adopted" in world.trace()[len(before):], "", 0.2, False)
    world.release()
    acknowledged = daemon.acknowledged()
    if not daemon.is_there():
        check(not acknowledged and not scenario.prepare, "the job is lost")
        daemon.submit()
        check(daemon.acknowledged(), "jobboxd does not answer")
    expect(world, daemon.end_of_job())
    daemon.stop()
    return before


def expect(world, job):
    """The queue and the journal say the same of one attempt, and it ran once, or not at all where it was killed."""
    runs, records = job["runs"], world.records()
    check([run["id"] for run in runs] == [record["id"] for record in records],
          "the queue knows of %d runs, the journal of %d" % (len(runs), len(records)))
    check(all(run["reason"] == record["end"]["reason"] for run, record in zip(runs, records)), "they differ")
    with open(world.path("crash/ran"), encoding="utf-8") as file:
        ran = file.read().split()
    check(len(ran) == 1 or (not ran and job["reason"] != "completed"), "it ran %d times" % len(ran))
