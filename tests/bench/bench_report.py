#!/usr/bin/python3
"""What reports cost: a year of generated records, indexed and asked, beside awk over text and sqlite3 by hand.

bench_report.py BUILD [--count N] [--json FILE] [--check]. Each figure is the best of three, for what disturbs only adds; CPU time is
that of the process and its children.
"""
import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

AWK = r"""{ n[$2]++; wall[$2] += $9; core[$2] += $10 * $9 / 3600; used[$2] += $11 / 3600; wait[$2] += $8
            mem[$2] += $12 * $9; peak[$2] += $13 * $9; if ($13 > most[$2]) most[$2] = $13; bad[$2] += $5 != "completed" }
          END { for (u in n) print u, n[u], core[u], used[u], peak[u] / mem[u], most[u], wait[u] / n[u], wall[u], bad[u] }"""
COLUMNS = "id,user,account,host,reason,started,ended,wait,wall,cores,cpu,memory,peak".split(",")
SELECT = """SELECT user, count(*), sum(cores * wall) / 3600, sum(cpu) / 3600, sum(peak * wall) / sum(memory * wall), max(peak),
            avg(wait), sum(wall), sum(reason <> 'completed') FROM job GROUP BY user"""


def run(argv, env=None, output=subprocess.DEVNULL):
    begun = time.monotonic()
    process = subprocess.Popen(argv, env=env, stdout=output)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{argv[0]} ended with {status}")
    return {"wall_s": time.monotonic() - begun, "cpu_s": usage.ru_utime + usage.ru_stime, "rss_mib": usage.ru_maxrss / 1024}


def best(argv, env=None):
    return min((run(argv, env) for _ in range(3)), key=lambda r: r["wall_s"])


class Bench:
    def __init__(self):
        self.rows = []

    def add(self, name, figures, goal=None):
        met = goal is None or goal(figures)
        self.rows.append({"name": name, **{k: round(v, 4) for k, v in figures.items()}, "met": met})
        print(f"{name:34} wall {figures['wall_s']:8.3f} s   CPU {figures['cpu_s']:8.3f} s   {figures['rss_mib']:6.0f} MiB"
              + ("" if goal is None else "   goal: met" if met else "   goal: MISSED"), flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("build")
    parser.add_argument("--count", type=int, default=1000000)
    parser.add_argument("--json")
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    work = tempfile.mkdtemp(prefix="bench-report.", dir="/var/tmp")
    bench = Bench()
    try:
        measure(bench, args, work)
    finally:
        shutil.rmtree(work)
    if args.json:
        with open(args.json, "w", encoding="utf-8") as file:
            json.dump({"bench": "report", "count": args.count, "rows": bench.rows}, file, indent=1)
    if args.check and not all(row["met"] for row in bench.rows):
        sys.exit("a goal was missed")


def measure(bench, args, work):
    jobbox = os.path.join(args.build, "jobbox")
    gen = os.path.join(args.build, "tests/bench/gen_records")
    state = os.path.join(work, "state")
    journal = os.path.join(state, "journal")
    os.makedirs(journal)
    config = os.path.join(work, "site.yaml")
    with open(os.open(config, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="utf-8") as file:
        file.write(f"paths: {{ runtime: {work}/run, state: {state} }}\n")
    env = dict(os.environ, JOBBOX_CONFIG=config, TZ="UTC0")
    text = os.path.join(work, "text")
    subprocess.run([gen, "--count", str(args.count), "--text", text, journal], check=True)
    size = sum(os.path.getsize(os.path.join(journal, name)) for name in os.listdir(journal))
    load = os.getloadavg()[0]
    print(f"{args.count} records, {size / 1e9:.2f} GB of journals, {os.cpu_count()} CPUs, load {load:.1f}")
    first = run([jobbox, "journal", "index", "--rebuild"], env)
    bench.add("first indexing", first, lambda r: args.count / r["wall_s"] > 100000 and r["rss_mib"] < 200)
    print(f"{'':34} {args.count / first['wall_s']:.0f} records/s by the clock, {args.count / first['cpu_s']:.0f} by CPU time")
    for by in ("user", "account", "host", "image", "label:project", "reason", "day", "week", "month", "user,month"):
        bench.add(f"report --by {by}", best([jobbox, "report", "--by", by], env),
                  lambda r: r["wall_s"] < 0.3 and r["rss_mib"] < 200)
    bench.add("report --by user, percentiles", best(
        [jobbox, "report", "--by", "user", "--columns", "jobs,wait_p50,wait_p95,wall_p50,wall_p95"], env))
    bench.add("report --label project=p07 --by user", best([jobbox, "report", "--by", "user", "--label", "project=p07"], env))
    bench.add("history, the last 25", best([jobbox, "history"], env))
    for form in ("sacct", "xdmod", "apel", "acct"):
        bench.add(f"report --as {form} (all jobs)", best([jobbox, "report", "--as", form, "-o", os.path.join(work, "out")], env))
    page = os.path.join(work, "page.html")
    html = best([jobbox, "report", "--html", page], env)
    html["size_mib"] = os.path.getsize(page) / (1 << 20)
    bench.add("report --html (all jobs)", html, lambda r: r["wall_s"] < 3 and r["rss_mib"] < 200 and r["size_mib"] < 3)
    print(f"{'':34} a page of {html['size_mib']:.2f} MiB")
    more = os.path.join(work, "more")
    os.mkdir(more)
    refreshes = []
    for seed in range(3):
        subprocess.run([gen, "--count", "1000", "--seed", str(100 + seed), "--year", "2026", more], check=True)
        with open(os.path.join(journal, "2026-12.jsonl"), "ab") as out:
            for name in sorted(os.listdir(more)):
                with open(os.path.join(more, name), "rb") as file:
                    shutil.copyfileobj(file, out)
        refreshes.append(run([jobbox, "journal", "index"], env))
    bench.add("refresh after 1,000 new records", min(refreshes, key=lambda r: r["wall_s"]), lambda r: r["wall_s"] < 0.05)
    bench.add("awk over text, by user", best(["awk", "-F|", AWK, text]))
    if shutil.which("sqlite3"):
        table = os.path.join(work, "hand.db")
        kinds = ", ".join(c + (" TEXT" if i < 7 else " REAL") for i, c in enumerate(COLUMNS))
        bench.add("sqlite3 by hand: import the text", run(
            ["sqlite3", table, f"CREATE TABLE job({kinds})", ".separator |", f".import {text} job"]))
        bench.add("sqlite3 by hand, by user", best(["sqlite3", table, SELECT]))
    else:
        print("not measured: sqlite3 by hand: the program is not installed")


main()
