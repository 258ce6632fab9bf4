"""A Slurm of one node on loopback, for the time of a measurement.

Its daemons are children of this process and end with it; all their files are below one folder. It limits and isolates
nothing: no cgroups (Slurm would make its own beside everybody else's), no accounting database.
"""
import os
import shutil
import socket
import subprocess
import time

PROGRAMS = ("slurmctld", "slurmd", "sbatch", "squeue")
CONF = """ClusterName=bench
SlurmctldHost={host}(127.0.0.1)
CommunicationParameters=NoInAddrAny,NoCtldInAddrAny
AuthType=auth/none
CredType=cred/none
SlurmUser=root
SlurmdUser=root
SlurmctldPort={ports[0]}
StateSaveLocation={work}/ctld
SlurmdSpoolDir={work}/spool.%n
SlurmctldPidFile={work}/ctld.pid
SlurmdPidFile={work}/%n.pid
SlurmctldLogFile={work}/ctld.log
SlurmdLogFile={work}/%n.log
MpiDefault=none
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
MaxArraySize=200000
MaxJobCount=300000
MinJobAge=2
ReturnToService=2
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=1,default_queue_depth=1000
NodeName=n1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs={cpus} State=UNKNOWN
PartitionName=all Nodes=n1 Default=YES MaxTime=INFINITE OverSubscribe=NO State=UP
"""


def free_ports(n):
    sockets = [socket.socket() for _ in range(n)]
    for s in sockets:
        s.bind(("127.0.0.1", 0))
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


class Slurm:
    """Raises RuntimeError with a line that says why there is none."""

    def __init__(self, work, cpus):
        missing = [name for name in PROGRAMS if not find(name)]
        if missing:
            raise RuntimeError(f"{' '.join(missing)} not installed (slurmctld, slurmd, slurm-client)")
        self.work, self.processes = work, []
        os.makedirs(work + "/ctld")
        self.conf = work + "/slurm.conf"
        with open(self.conf, "w", encoding="utf-8") as f:
            f.write(CONF.format(host=socket.gethostname().split(".")[0], ports=free_ports(2), work=work, cpus=cpus))
        self.environment = {"PATH": os.environ["PATH"] + ":/usr/sbin:/sbin", "SLURM_CONF": self.conf}
        try:
            self.start("slurmctld", "-D", "-f", self.conf)
            self.start("slurmd", "-D", "-N", "n1", "-f", self.conf)
            self.wait_for_node()
        except BaseException:
            self.stop()
            raise

    def start(self, name, *arguments):
        with open(f"{self.work}/{name}.out", "wb") as out:
            self.processes.append(subprocess.Popen([find(name), *arguments], env=self.environment, stdin=subprocess.DEVNULL,
                                                   stdout=out, stderr=out, cwd=self.work))

    def call(self, name, *arguments):
        return subprocess.run([find(name), *arguments], env=self.environment, stdin=subprocess.DEVNULL, capture_output=True,
                              text=True, cwd=self.work, check=False)

    def wait_for_node(self, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if any(p.poll() is not None for p in self.processes):
                break
            if self.call("sinfo", "-h", "-o", "%t").stdout.strip() in ("idle", "mix"):
                return
            time.sleep(0.1)
        raise RuntimeError(f"its node does not come up: {self.last_words()}")

    def last_words(self):
        lines = []
        for name in ("ctld.log", "n1.log", "slurmctld.out", "slurmd.out"):
            path = os.path.join(self.work, name)
            if os.path.exists(path):
                with open(path, encoding="utf-8", errors="replace") as f:
                    lines += [line.strip() for line in f if "rror" in line or "atal" in line]
        return lines[-1] if lines else "and its logs say nothing"

    def submit(self, *arguments):
        done = self.call("sbatch", "--output=/dev/null", *arguments, f"--wrap=exec {shutil.which('true')}")
        if done.returncode != 0:
            raise RuntimeError(f"sbatch: {done.stderr.strip()}")

    def drain(self, seconds):
        """Waits until nothing is in its queue."""
        end = time.monotonic() + seconds
        while True:
            answer = self.call("squeue", "-h", "-t", "PENDING,RUNNING,COMPLETING", "-o", "%i")
            if answer.returncode == 0 and not answer.stdout.strip():
                return
            if time.monotonic() > end:
                left = len(answer.stdout.split())
                raise RuntimeError(f"its queue is not done after {seconds} s, {left} are left: {self.last_words()}")
            time.sleep(0.05)

    def stop(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def find(name):
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
