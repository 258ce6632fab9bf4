#!/usr/bin/python3
"""What the queue costs: jobs submitted and run to their records, beside task-spooler, GNU parallel, pueue and Slurm.

bench_queue.py BUILD IMAGE [--count N] [--queued N] [--finished N] [--smoke] [--json FILE] [--check]

All of them run as many jobs at a time as there are CPUs here. jobbox isolates each in cgroups, namespaces and an overlay, and
writes its record; task-spooler, parallel, pueue and this Slurm start processes.
"""
import argparse
import json
import os
import resource
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
from private_slurm import Slurm  # noqa: E402

SLURM_MAX = 100 # its controller looks for room once a second, and starts no more than there are CPUs then
GOALS = {"jobs_s": 300, "submit_p99_ms": 5.0, "decision_ms": 20.0}
# Of what the host gives at all: a guard that does not depend on how fast the host is
LEAST_RATIOS = {"least program, box alone": 0.5, "least program, figures on disk": 0.65}
SPEC = """version: 1
name: bench
image: {image}
command: [/bin/true]
resources: {{ cpus: 1, cpu_unit: thread, memory: 32MiB, pids: 64 }}
network: none
"""


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def children_cpu():
    u = resource.getrusage(resource.RUSAGE_CHILDREN)
    return u.ru_utime + u.ru_stime


class Client:
    """One connection to jobboxd, as docs/protocol.md has it."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")
        self.lost = lambda: "it has closed the connection"

    def send(self, op, **members):
        self.socket.sendall(json.dumps({"v": 1, "op": op, **members}).encode() + b"\n")

    def receive(self):
        line = self.reader.readline()
        if not line:
            sys.exit(f"jobboxd: {self.lost()}")
        answer = json.loads(line)
        if not answer.get("ok", True): # an event says nothing of it
            sys.exit(f"jobboxd: {answer['error']['text']}")
        return answer

    def ask(self, op, **members):
        self.send(op, **members)
        return self.receive()


class Daemon:
    """A jobboxd with state of its own below `work`."""

    running = set()
    runtimes = []

    def __init__(self, build, work, spec):
        self.work, self.spec = work, spec
        self.site = os.path.join(work, "site.yaml")
        self.state = os.path.join(work, "state")
        memory = "/dev/shm" if os.path.isdir("/dev/shm") else None # as /run is
        self.runtime = tempfile.mkdtemp(prefix="bench-queue.", dir=memory)
        Daemon.runtimes.append(self.runtime)
        with open(self.site, "w", encoding="utf-8") as f:
            f.write(f"paths: {{ runtime: {self.runtime}, state: {self.state} }}\n")
        os.chmod(self.site, 0o600)
        self.program = os.path.join(build, "jobboxd")
        self.start()

    def start(self):
        self.log = open(os.path.join(self.work, "jobboxd.log"), "ab")
        self.process = subprocess.Popen([self.program, "--config", self.site], stdout=self.log, stderr=self.log,
                                        stdin=subprocess.DEVNULL)
        Daemon.running.add(self)
        for _ in range(500):
            try:
                self.client = Client(os.path.join(self.runtime, "jobboxd.sock"))
                self.client.lost = self.fate
                return
            except OSError:
                time.sleep(0.02)
        sys.exit(f"jobboxd does not answer; see {self.log.name}")

    def fate(self):
        """Why it may have gone silent: how it ended, if it did, and what it said last."""
        try:
            status = self.process.wait(5)
        except subprocess.TimeoutExpired:
            status = None
        with open(self.log.name, encoding="utf-8", errors="replace") as f:
            last = f.read()[-4000:]
        return f"it has closed the connection ({'lives' if status is None else f'ended with {status}'}), having said:\n{last}"

    def stop(self):
        """CPU seconds of all it was, its children and theirs."""
        self.client.socket.close()
        Daemon.running.discard(self)
        if self.process.poll() is not None: # somebody has waited for it already
            return 0.0
        self.process.terminate()
        _, _, usage = os.wait4(self.process.pid, 0)
        self.process.returncode = 0
        return usage.ru_utime + usage.ru_stime

    def submit(self):
        begun = time.perf_counter()
        answer = self.client.ask("submit", spec=self.spec, file="bench.yaml", cwd="/")
        return (time.perf_counter() - begun) * 1000, answer["job"]

    def records(self):
        journal = os.path.join(self.state, "journal")
        files = [os.path.join(journal, n) for n in os.listdir(journal)] if os.path.isdir(journal) else []
        return sum(open(f, "rb").read().count(b"\n") for f in files if f.endswith(".jsonl"))


def run_jobs(daemon, count):
    """Submits `count` and waits for the last record: jobs a second, and what each submission took."""
    before = daemon.records()
    begun = time.perf_counter()
    submitted = [daemon.submit() for _ in range(count)]
    daemon.client.send("wait", ids=[str(job) for _, job in submitted])
    bad = 0
    while True:
        answer = daemon.client.receive()
        if answer.get("done"):
            break
        bad += answer.get("event") == "ended" and answer["end"].get("reason") != "completed"
    wall = time.perf_counter() - begun
    records = daemon.records() - before
    if bad or records != count:
        sys.exit(f"of {count} jobs {bad} did not complete; there are {records} records")
    times = [t for t, _ in submitted]
    return {"jobs_s": count / wall, "submit_p50_ms": percentile(times, 0.5), "submit_p99_ms": percentile(times, 0.99)}


def jobbox(build, work, spec, count):
    os.makedirs(work)
    daemon = Daemon(build, work, spec)
    run_jobs(daemon, min(20, count))
    warm = daemon.stop()
    daemon.start()
    figures = run_jobs(daemon, count)
    figures["cpu_ms"] = daemon.stop() * 1000 / count
    figures["warm_up_cpu_s"] = warm
    return figures


def latency(daemon, count):
    times = [daemon.submit()[0] for _ in range(count)]
    return {"submit_p50_ms": percentile(times, 0.5), "submit_p99_ms": percentile(times, 0.99)}


def long_queue(build, work, spec, queued):
    """Submissions into a queue of `queued` that wait: nothing starts, for the host is drained."""
    os.makedirs(work)
    daemon = Daemon(build, work, spec)
    daemon.client.ask("drain", reason="benchmark")
    begun = time.perf_counter()
    for at in range(0, queued, 200): # many at a time, as one connection may
        n = min(200, queued - at)
        for _ in range(n):
            daemon.client.send("submit", spec=spec, file="bench.yaml", cwd="/")
        for _ in range(n):
            daemon.client.receive()
    filled = queued / (time.perf_counter() - begun)
    figures = latency(daemon, 2000 if queued > 2000 else 100)
    figures["filled_jobs_s"] = filled
    daemon.stop()
    daemon.start() # it reads them all again
    daemon.client.ask("stats")
    daemon.stop()
    return figures


def old_jobs(build, work, spec, finished, count):
    """With `finished` jobs in the database, copies of one that ran, in turn with a daemon whose database is new."""
    os.makedirs(work)
    daemon = Daemon(build, work, spec)
    run_jobs(daemon, 1)
    daemon.stop()
    [database] = [os.path.join(daemon.state, n) for n in os.listdir(daemon.state) if n.endswith(".db")]
    db = sqlite3.connect(database)
    db.execute("PRAGMA synchronous=OFF")
    for table, key in (("jobs", "num"), ("tasks", "id")):
        columns = [row[1] for row in db.execute(f"PRAGMA table_info({table})")]
        new = ["n" if c in (key, "job") else c for c in columns]
        db.execute(f"""WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
                       INSERT INTO {table}({",".join(columns)})
                       SELECT {",".join(f"o.{c}" if c in columns and c != "n" else c for c in new)} FROM c, {table} o
                       WHERE o.{key} = 1""", (finished,))
    columns = [row[1] for row in db.execute("PRAGMA table_info(attempts)")]
    new = [{"id": "printf('01%024d', c.n)", "task": "c.n"}.get(c, f"o.{c}") for c in columns]
    db.execute(f"""WITH RECURSIVE c(n) AS (SELECT 2 UNION ALL SELECT n + 1 FROM c WHERE n < ?)
                   INSERT INTO attempts({",".join(columns)}) SELECT {",".join(new)} FROM c, attempts o
                   WHERE o.task = 1""", (finished,))
    db.commit()
    db.close()
    os.sync() # what was made for it is not written while it is measured
    daemon.start()
    os.makedirs(os.path.join(work, "new"))
    new = Daemon(build, os.path.join(work, "new"), spec)
    rounds = {"old": [], "new": []}
    for i in range(4):
        for name in ("old", "new") if i % 2 else ("new", "old"):
            rounds[name].append(run_jobs(daemon if name == "old" else new, max(1, count // 4)))
    daemon.stop()
    new.stop()
    return {name: {key: sum(r[key] for r in all_rounds) / len(all_rounds) for key in all_rounds[0]}
            for name, all_rounds in rounds.items()}


def others(work, count, slots):
    """Name -> figures, or a reason why not."""
    found = {}
    true = shutil.which("true")

    def timed(submit, wait, environment):
        before, begun, times = children_cpu(), time.perf_counter(), []
        for argv in submit:
            at = time.perf_counter()
            subprocess.run(argv, env=environment, check=True, stdout=subprocess.DEVNULL)
            times.append((time.perf_counter() - at) * 1000)
        wait()
        wall = time.perf_counter() - begun
        figures = {"jobs_s": count / wall, "cpu_ms": (children_cpu() - before) * 1000 / count}
        if len(times) > 1:
            figures |= {"submit_p50_ms": percentile(times, 0.5), "submit_p99_ms": percentile(times, 0.99)}
        return figures

    tsp = shutil.which("tsp")
    if tsp:
        environment = dict(os.environ, TS_SOCKET=os.path.join(work, "tsp.sock"), TS_MAXFINISHED="10", TMPDIR=work,
                           TS_SLOTS=str(slots), TS_MAXCONN="500")

        def drained():
            while b"running" in (out := subprocess.run([tsp], env=environment, capture_output=True).stdout) or b"queued" in out:
                time.sleep(0.02)

        figures = timed([[tsp, "-n", true]] * count, drained, environment)
        subprocess.run([tsp, "-K"], env=environment, check=False)
        figures.pop("cpu_ms") # its server is nobody's child
        found["task-spooler"] = figures
    else:
        found["task-spooler"] = "tsp is not installed"
    parallel = shutil.which("parallel")
    if parallel and b"GNU parallel" in subprocess.run([parallel, "--version"], capture_output=True).stdout:
        arguments = os.path.join(work, "arguments")
        with open(arguments, "w", encoding="utf-8") as f:
            f.write("\n".join(str(i) for i in range(count)))
        environment = dict(os.environ, HOME=work)
        found["GNU parallel"] = timed([[parallel, "--will-cite", f"-j{slots}", "-a", arguments, true]], lambda: None, environment)
    else:
        found["GNU parallel"] = "parallel is not installed"
    found["pueue"] = "Debian 12 has no package of it, so this does not start one"
    found["Slurm"] = slurm(work, count, slots)
    return found


def slurm(work, count, slots):
    """One of its own on loopback: single submissions for their latency, the rest as an array, at most SLURM_MAX in all."""
    count = min(count, SLURM_MAX)
    singles = min(50, count // 2)
    try:
        with_slurm = Slurm(os.path.join(work, "slurm"), slots)
    except RuntimeError as why:
        return str(why)
    try:
        begun, times = time.perf_counter(), []
        for _ in range(singles):
            at = time.perf_counter()
            with_slurm.submit()
            times.append((time.perf_counter() - at) * 1000)
        with_slurm.submit(f"--array=1-{count - singles}")
        with_slurm.drain(240)
        wall = time.perf_counter() - begun
    except RuntimeError as why:
        return str(why)
    finally:
        with_slurm.stop()
    # its steps are nobody's children, so what they cost is not known
    return {"jobs_s": count / wall, "submit_p50_ms": percentile(times, 0.5), "submit_p99_ms": percentile(times, 0.99)}


def least(build, work, image, count, slots):
    """What the host can give at all: the program that does the same to one process and keeps no queue, in a loop."""
    programs = os.path.join(build, "tests/bench")
    limit = os.path.join(programs, "limit-dyn")
    rows = {"least program, figures on disk": [limit, "-i", "-j", os.path.join(work, "notes"), image, "/bin/true"],
            "least program, box alone": [limit, image, "/bin/true"]}
    found = {}
    for name, argv in rows.items():
        file = os.path.join(work, "least.json")
        subprocess.run([os.path.join(programs, "spawnbench"), "--count", str(max(2, count // slots)), "--parallel", str(slots),
                        "--json", file, "--title", "least", "least", *argv], check=True, stdout=subprocess.DEVNULL)
        with open(file, encoding="utf-8") as f:
            [one] = json.load(f)["alternatives"]
        found[name] = {"jobs_s": one["runs_per_s"], "cpu_ms": one["cpu_median_ms"]}
    return found


def show(name, f):
    def number(key, form):
        return format(f[key], form) if key in f else "-".rjust(int(form.split(".")[0]))

    print(f"{name:36} {number('jobs_s', '8.0f')} {number('submit_p50_ms', '10.2f')} {number('submit_p99_ms', '10.2f')}"
          f" {number('cpu_ms', '8.2f')}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("image")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--queued", type=int, default=100000)
    parser.add_argument("--finished", type=int, default=1000000)
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    if args.smoke:
        args.count, args.queued, args.finished = 20, 200, 200
    spec = SPEC.format(image=args.image)
    slots = len(os.sched_getaffinity(0))
    work = tempfile.mkdtemp(prefix="bench-queue.", dir="/var/tmp")
    rows = {}
    try:
        print(f"{args.count} jobs of /bin/true, {slots} at a time")
        print(f"{'':36} {'jobs/s':>8} {'submit p50':>10} {'p99 (ms)':>10} {'CPU ms':>8}")

        def row(name, figures):
            rows[name] = figures
            show(name, figures)

        row("jobbox", jobbox(args.build, os.path.join(work, "plain"), spec, args.count))
        for name, figures in others(work, args.count, slots).items():
            if isinstance(figures, str):
                print(f"not measured: {name}: {figures}")
            else:
                row(name, figures)
        for name, figures in least(args.build, work, args.image, args.count, slots).items():
            row(name, figures)
        row("jobbox once more", jobbox(args.build, os.path.join(work, "again"), spec, args.count))
        row(f"jobbox, {args.queued} waiting", long_queue(args.build, os.path.join(work, "long"), spec, args.queued))
        figures = old_jobs(args.build, os.path.join(work, "old"), spec, args.finished, args.count)
        row(f"jobbox, {args.finished} finished", figures["old"])
        row("jobbox, none finished, in turn", figures["new"])
    finally:
        for daemon in list(Daemon.running):
            daemon.stop()
        for runtime in Daemon.runtimes:
            shutil.rmtree(runtime, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
    decision = json.loads(subprocess.run([os.path.join(args.build, "tests/bench/bench_schedule")], check=True,
                                         capture_output=True).stdout)
    print(f"a decision, {decision['waiting']} waiting for {decision['cores']} cores: median "
          f"{decision['every_job_us']['median'] / 1000:.2f} ms, p99 {decision['every_job_us']['p99'] / 1000:.2f} ms")
    reached = {"jobs_s": max(rows["jobbox"]["jobs_s"], rows["jobbox once more"]["jobs_s"]),
               "submit_p99_ms": rows[f"jobbox, {args.queued} waiting"]["submit_p99_ms"],
               "decision_ms": decision["every_job_us"]["p99"] / 1000}
    missed = [k for k, goal in GOALS.items() if (reached[k] < goal if k == "jobs_s" else reached[k] > goal)]
    for key, goal in GOALS.items():
        print(f"{key:14} {reached[key]:8.2f}   goal {'at least' if key == 'jobs_s' else 'at most'} {goal:g}: "
              f"{'MISSED' if key in missed else 'met'}")
    possible = {name: rows[name]["jobs_s"] for name in ("least program, box alone", "least program, figures on disk")}
    usual = (rows["jobbox"]["jobs_s"] + rows["jobbox once more"]["jobs_s"]) / 2 # before and after it
    ratios = {name: usual / jobs_s for name, jobs_s in possible.items()}
    for name, jobs_s in possible.items():
        beyond = "" if jobs_s >= GOALS["jobs_s"] else f", itself below {GOALS['jobs_s']}: beyond this host as it is now"
        print(f"{name}: {jobs_s:.0f} in a second without a queue{beyond}; jobbox reaches {ratios[name]:.2f} of it "
              f"(goal at least {LEAST_RATIOS[name]:g}: {'met' if ratios[name] >= LEAST_RATIOS[name] else 'MISSED'})")
        if ratios[name] < LEAST_RATIOS[name]:
            missed.append(name)
    full, new = rows[f"jobbox, {args.finished} finished"], rows["jobbox, none finished, in turn"]
    slower = {key: full[key] / new[key] for key in ("jobs_s", "submit_p50_ms", "submit_p99_ms")}
    print(f"{args.finished} finished to none: jobs/s x {slower['jobs_s']:.2f}, submission p50 x {slower['submit_p50_ms']:.2f}, "
          f"p99 x {slower['submit_p99_ms']:.2f}")
    if args.json:
        with open(args.json, "w", encoding="utf-8") as f:
            json.dump({"bench": "queue", "rows": rows, "decision": decision, "goals": GOALS, "reached": reached,
                       "least_goals": LEAST_RATIOS, "to_least": ratios, "full_store": slower, "missed": missed}, f, indent=1)
            f.write("\n")
    return 3 if args.check and missed else 0


sys.exit(main())
