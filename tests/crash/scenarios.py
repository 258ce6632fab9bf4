"""What the crash suite runs: attempts whose every step is cut off, and the bad luck that meets them there.

A Scenario is a world (lines of the site config and of the job spec) and a command that is run in it to its end once, to
see its steps, and then again for each step. Whoever makes jobbox do something new that leaves something behind adds the
steps to runner/base/steps.def and the points to the code, and, where no scenario comes by them, one to SCENARIOS.

A Luck is something that happens to the host while a process stands at a step: it goes on from there.
"""
import os
import shutil
import subprocess

from daemon import OWN, Daemon
from nest import can_nest
from world import until

ON_DISK = ["scratch: { backend: disk }"]
JOB = ["resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }", "artifacts: [{ path: a.txt, to: got/ }]",
       "script: |", "  echo out", "  (setsid sleep 100 &)", "  sleep 0.05", "  echo x >a.txt"]

EVERYONE = ("SUPERVISOR", "FIRST", "INIT", "ENDING")


class Scenario:
    """
    name      words of its tests' names
    site, job lines of the site config and of the spec
    arguments of jobbox; "--config FILE" is added
    kill      whose steps (the second word of steps.def) are met by kill -9
    luck      whose steps are met by bad luck
    prepare   called with the world before the command
    records   how many records the command leaves when it comes to its end
    begun     the step from which on there is a record although the supervisor was killed
    of        only steps whose names begin so
    beside    called with the world once the command was started
    daemon    the command is jobboxd, and the job is submitted to it (unless `prepare` has done so)
    lost      its supervisor is killed by `prepare` or `beside`
    within    what the command is started by: it must become the command
    """

    def __init__(self, name, site=(), job=JOB, arguments=("run", "--quiet", "job.yaml"), kill=EVERYONE, luck=(),
                 prepare=None, records=1, begun="record_saved", of="", beside=None, daemon=False, lost=False,
                 within=()):
        self.within = list(within)
        self.of, self.beside, self.daemon, self.lost = of, beside, daemon, lost
        self.name, self.site, self.job, self.arguments = name, list(site), list(job), list(arguments)
        self.kill, self.luck, self.prepare, self.records, self.begun = kill, luck, prepare, records, begun


def lose(world):
    """A box whose supervisor and processes are dead."""
    world.start_job(stop=("start_heard", 1))
    world.wait_stopped()
    world.kill([world.process.pid])
    world.release()
    world.finish()
    world.write("crash/trace", "")


def lose_all(world):
    """The same, and the runtime directory is as after a restart of the host: not there."""
    lose(world)
    shutil.rmtree(world.run_dir + "/jobbox")


WAITING = ["resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }", "script: |",
           "  while [ ! -e /work/go ]; do sleep 0.01; done"]


def execute(world):
    world.execute("sh", "-c", "(setsid sleep 100 &); touch /work/go")


QUEUED = ["resources: { cpus: 1, cpu_unit: thread, memory: 64MiB }", "script: |", "  echo ran >>$JOBBOX_CRASH_DIR/ran"]


def stop_daemon_at(step, victims):
    """A queue whose daemon was killed when somebody stood at the step, and with it whoever of DAEMON and STANDING is named."""
    def prepare(world):
        daemon = Daemon(world)
        daemon.start(stop=step)
        daemon.submit()
        standing = world.wait_stopped()
        world.kill([{"daemon": world.process.pid, "standing": standing}[victim] for victim in victims])
        world.process.wait()
        daemon.acknowledged()  # or not: it has been started, so it is in the queue
        until(lambda: not world.marked(), "something of the killed daemon lives on")  # its nursery still takes steps
        world.write("crash/trace", "")
    return prepare


def kill_supervisor(world):
    """Of the first job of a queue, when it runs."""
    until(lambda: "start_heard" in world.trace(), "the job does not start")
    for pid in world.marked():
        try:
            with open("/proc/%d/comm" % pid, encoding="utf-8") as file:
                name = file.read().strip()
        except OSError:  # gone meanwhile
            continue
        if name == "jobbox:1":
            world.kill([pid])


RECOVERING = ("SWEEP", "ENDING", "SUPERVISOR")
SWEEP = ("sweep",)

SCENARIOS = [
    Scenario("scratch on disk", ON_DISK, ["allow_degraded: [scratch]", *JOB], luck=EVERYONE),
    Scenario("scratch in memory", kill=("FIRST",)),
    Scenario("a command in the box", job=WAITING, kill=("SUPERVISOR", "FIRST"), of="member_", beside=execute),
    Scenario("recovery", ON_DISK, ["allow_degraded: [scratch]", *JOB], SWEEP, RECOVERING, RECOVERING, lose,
             begun=None),
    Scenario("recovery without the runtime directory", ON_DISK, ["allow_degraded: [scratch]", *JOB], SWEEP,
             RECOVERING, (), lose_all, begun=None),
    Scenario("a box that is kept", job=["keep: always", *JOB], kill=("SUPERVISOR",), of="keep_"),
    Scenario("a way out", job=["network: user", *JOB], kill=("SUPERVISOR", "FIRST"), of="helper_"),
    Scenario("a root that is served", ["overlay: fuse"], ["user: root-in-box", *JOB], kill=("SUPERVISOR", "FIRST"), of="fuse_",
             within=("unshare", "-r")),
    Scenario("a queued job", job=QUEUED, kill=(*OWN, *EVERYONE), daemon=True),
    Scenario("a queue with a start that came to nothing", job=QUEUED, kill=OWN, daemon=True,
             prepare=stop_daemon_at(("queue_committed", 1), ["daemon"])),
    Scenario("a queue with a supervisor that was killed", job=QUEUED, kill=OWN, daemon=True,
             prepare=stop_daemon_at(("start_heard", 1), ["daemon", "standing"]), lost=True),
    Scenario("a queue whose supervisor is killed", job=[*QUEUED, "  sleep 100"], kill=OWN, daemon=True, of="failure_",
             beside=kill_supervisor, lost=True),
]


# Steps that not every host takes: what it needs, and whether this one has it.
NEEDS = {"inner_group_made": ("a host where v2 limits processes and memory", not can_nest())}
HAS_WAY_OUT = shutil.which("slirp4netns") is not None and os.access("/dev/net/tun", os.R_OK | os.W_OK)
NEEDS.update({step: ("slirp4netns and /dev/net/tun", HAS_WAY_OUT)
              for step in ("helper_awaited", "helper_started", "helper_ended")})
HAS_LOOPS = os.access("/dev/loop-control", os.R_OK | os.W_OK) and shutil.which("mkfs.ext4") is not None
NEEDS.update({step: ("loop devices and mkfs.ext4", HAS_LOOPS) for step in ("scratch_image_made", "loop_attached")})
HAS_FUSE = shutil.which("fuse-overlayfs") is not None and os.access("/dev/fuse", os.R_OK | os.W_OK)
NEEDS.update({step: ("fuse-overlayfs and /dev/fuse", HAS_FUSE) for step in ("fuse_awaited", "fuse_started", "fuse_ended")})
if not HAS_FUSE:
    SCENARIOS = [scenario for scenario in SCENARIOS if scenario.of != "fuse_"]
if not HAS_WAY_OUT:
    SCENARIOS = [scenario for scenario in SCENARIOS if scenario.of != "helper_"]


# --- bad luck ---

def fill(path):
    """Not a byte of space is left in the file system."""
    try:
        with open(path, "wb", buffering=0) as file:
            while True:
                file.write(b"x" * 4096)
    except OSError:
        pass


def free(path):
    if os.path.exists(path):
        os.unlink(path)


def full(where):
    return (lambda world: fill(world.path(where) + "/fill"), lambda world: free(world.path(where) + "/fill"))


def lock_journal(world):
    """What is written there goes nowhere: root is not stopped by permissions, but by a read-only mount."""
    journal = world.state_dir + "/jobbox/journal"
    os.makedirs(journal, 0o700, exist_ok=True)
    subprocess.run(["mount", "--bind", journal, journal], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", journal], check=True)


def unlock_journal(world):
    subprocess.run(["umount", world.state_dir + "/jobbox/journal"], check=True)


def jump(days):
    return (lambda world: world.write("crash/clock", str(days * 86400)),
            lambda world: free(world.crash + "/clock"))


def vanish(where):
    return (lambda world: shutil.rmtree(world.path(where) + "/jobbox", ignore_errors=True), lambda world: None)


class Luck:
    """
    strike, mend  what happens, and how it is put right; functions of the world
    harmless      the attempt ends as if nothing had happened
    kill          the process that stands at the step is killed too, and one recovery is tried before it is mended
    loses         the step from which on the one record may be gone with what was taken away; None: never
    """

    def __init__(self, name, pair, harmless=False, kill=False, loses=None):
        self.name, self.harmless, self.kill, self.loses = name, harmless, kill, loses
        self.strike, self.mend = pair


LUCKS = [
    Luck("the state directory's disk is full", full("state")),
    Luck("the state directory's disk is full and kill -9", full("state"), kill=True),
    Luck("the runtime directory's disk is full", full("run")),
    Luck("the runtime directory's disk is full and kill -9", full("run"), kill=True),
    Luck("the journal cannot be written", (lock_journal, unlock_journal)),
    Luck("the journal cannot be written and kill -9", (lock_journal, unlock_journal), kill=True),
    Luck("the clock jumps 40 days ahead", jump(40), harmless=True),
    Luck("the clock jumps 40 days back", jump(-40), harmless=True),
    Luck("the clock jumps 40 days back and kill -9", jump(-40), kill=True),
    Luck("the state directory vanishes", vanish("state"), loses="journal_written"),
    Luck("the runtime directory vanishes", vanish("run")),
]
