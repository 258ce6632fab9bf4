#!/usr/bin/python3
"""The power goes, at random moments, and each time a jobboxd is started on what the disk has, as after a boot.

queue_power.py JOBBOXD DISK.so WORK SPEC MARK MOMENTS

Submits jobs over the socket, some held and some that run, and notes each number once it is acknowledged. At each moment all
processes of the queue are stopped, and what the disk has is copied: for one half of the moments only what was flushed
(disk.c), for the other all that was written. When the queue has ended, a jobboxd is started on each copy, with an empty
runtime directory and in another boot, and has to know every job that was acknowledged by then; those that are not held run
to their end, and no job has ended twice.
"""
import ctypes
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

jobboxd, disk, work, spec_file, mark, moments = *sys.argv[1:6], int(sys.argv[6])
spec = open(spec_file, encoding="utf-8").read()
seed = int(os.environ.get("JBT_SEED", time.time_ns() % 1000000))
dice = random.Random(seed)
patience = 60 * int(os.environ.get("JBT_SLOWER", "1"))
acked = []
running = set()


def fail(text):
    for process in list(running):
        process.kill()
    sys.exit(f"queue_power.py: {text} (JBT_SEED={seed})")


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(patience)
        self.socket.connect(path)
        self.reader = self.socket.makefile("rb")

    def send(self, op, **members):
        self.socket.sendall(json.dumps({"v": 1, "op": op, **members}).encode() + b"\n")

    def receive(self):
        line = self.reader.readline()
        if not line.endswith(b"\n"):
            raise OSError("cut off")
        return json.loads(line)

    def ask(self, op, **members):
        self.send(op, **members)
        answer = self.receive()
        if not answer.get("ok"):
            fail(f"{op}: {answer}")
        return answer


def start(name, environment, boot=None):
    """jobboxd on the state directory `name`, with a runtime directory of its own."""
    site = os.path.join(work, name + ".yaml")
    runtime = os.path.join(work, name + ".run")
    os.makedirs(runtime, mode=0o755)
    with open(site, "w", encoding="utf-8") as f:
        key, value = mark.split("=", 1)
        f.write(f"env: {{ {key}: {value} }}\npaths: {{ runtime: {runtime}, state: {os.path.join(work, name)} }}\n")
    os.chmod(site, 0o600)
    argv = [jobboxd, "--config", site]
    if boot: # the same machine, started anew
        argv = ["unshare", "-m", "sh", "-c", 'mount --bind "$1" /proc/sys/kernel/random/boot_id && shift && exec "$@"', "sh",
                boot, *argv]
    with open(os.path.join(work, name + ".log"), "ab") as log:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment)
    running.add(process)
    until = time.monotonic() + patience
    while time.monotonic() < until and process.poll() is None:
        try:
            return process, Client(os.path.join(runtime, "jobboxd.sock"))
        except OSError:
            time.sleep(0.01)
    fail(f"jobboxd does not begin on {name}: {open(os.path.join(work, name + '.log'), encoding='utf-8').read()}")


def stop(process):
    process.terminate()
    process.wait(patience)
    running.discard(process)


def processes():
    """All that bear the mark of this test but we."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/environ", "rb") as f:
                if mark.encode() in f.read().split(b"\0") and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def signal_all(number):
    """Again until nobody new is there: a process that is not stopped yet may fork."""
    seen = set()
    while new := set(processes()) - seen:
        for pid in new:
            try:
                os.kill(pid, number)
            except OSError:
                pass
        seen |= new


def submit_on_and_on(path, over):
    client = Client(path)
    while not over.is_set():
        held = len(acked) % 4 != 0
        acked.append((client.ask("submit", spec=spec, file="power.yaml", cwd="/", hold=held)["job"], held))
        time.sleep(0.01)


def take(i, state, flushed):
    """One moment: nothing moves while it is copied."""
    signal_all(signal.SIGSTOP)
    known = list(acked)
    try:
        shutil.copytree(flushed if i % 2 == 0 else state, os.path.join(work, f"snap{i}"), symlinks=True,
                        ignore=shutil.ignore_patterns("scratch", "logs", "*.fresh.*", "*-shm"))
    finally:
        signal_all(signal.SIGCONT)
    return known


def records(name):
    journal = os.path.join(work, name, "journal")
    for file in os.listdir(journal) if os.path.isdir(journal) else []:
        if file.endswith(".jsonl"):
            with open(os.path.join(journal, file), encoding="utf-8") as f:
                yield from (json.loads(line) for line in f if line.endswith("\n"))


def check(i, known, environment):
    name = f"snap{i}"
    boot = os.path.join(work, f"boot{i}")
    with open(boot, "w", encoding="utf-8") as f:
        f.write(f"00000000-0000-4000-8000-{i:012}\n")
    process, client = start(name, environment, boot)
    there = {int(job["job"]) for job in client.ask("list", all=True, state="all")["jobs"]}
    lost = [job for job, _ in known if job not in there]
    if lost:
        fail(f"moment {i}: of {len(known)} acknowledged jobs {lost[:5]} are lost")
    awaited = [str(job) for job, held in known if not held]
    client.send("wait", ids=awaited)
    while not (answer := client.receive()).get("done"):
        if not answer.get("ok", True):
            fail(f"moment {i}: {answer}")
    # what was on its way to be acknowledged at that moment may be there too, and run
    client.ask("cancel", all=True)
    client.send("wait", ids=[str(job) for job in there])
    while not client.receive().get("done"):
        pass
    stop(process)
    ended = [(r["job"], r["attempt"]) for r in records(name)]
    if len(ended) != len(set(ended)):
        fail(f"moment {i}: two records of one attempt")
    completed = [r["job"] for r in records(name) if r["end"]["reason"] == "completed"]
    if len(completed) != len(set(completed)):
        fail(f"moment {i}: a job has ended well twice")
    if missing := set(awaited) - {job for job, _ in ended}:
        fail(f"moment {i}: no record of {sorted(missing)[:5]}")
    cut = sum(r["end"]["reason"] == "host_restarted" for r in records(name))
    for rest in (name, name + ".run"):
        shutil.rmtree(os.path.join(work, rest))
    return cut


def main():
    state, flushed = os.path.join(work, "first"), os.path.join(work, "flushed")
    os.makedirs(flushed)
    key, value = mark.split("=", 1)
    plain = {"PATH": os.environ["PATH"], key: value}
    process, client = start("first", plain | {"LD_PRELOAD": disk, "JBT_DISK_FROM": state, "JBT_DISK_TO": flushed})
    over = threading.Event()
    submitter = threading.Thread(target=submit_on_and_on, args=(os.path.join(work, "first.run", "jobboxd.sock"), over),
                                 daemon=True)
    submitter.start()
    known = []
    for i in range(moments):
        time.sleep(dice.uniform(0.01, 0.15))
        known.append(take(i, state, flushed))
    over.set()
    submitter.join(patience)
    client.ask("cancel", all=True)
    client.send("wait", ids=[str(job) for job, _ in acked])
    while not client.receive().get("done"):
        pass
    stop(process)
    cut = sum(check(i, known[i], plain) for i in range(moments))
    print(f"{moments} moments, {len(acked)} jobs acknowledged, {cut} of them cut off by the power")


main()
