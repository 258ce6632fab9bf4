#!/usr/bin/python3
"""One user asks a queue for more than it can give at once. Usage: queue_crowd.py SOCKET PID UID OTHER-UID.
Exit code 0 when the other one was answered in the meantime, and the daemon PID stayed small."""
import json
import os
import socket
import sys
import time

path, pid, uid, other = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def connect(who):
    os.seteuid(who)
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    os.seteuid(0)
    return s


def ask(s, **request):
    s.sendall((json.dumps({"v": 1, **request}) + "\n").encode())
    data = []
    while not (data and data[-1].endswith(b"\n")):
        data.append(s.recv(1 << 20))
        assert data[-1], "the connection was closed"
    return json.loads(b"".join(data))


def mebibytes():
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) >> 10 for line in f if line.startswith("VmRSS"))


def others_wait():
    begun = time.monotonic()
    with connect(other) as s:
        assert ask(s, op="hello")["ok"]
    return time.monotonic() - begun


spec = "version: 1\nname: many\ncommand: ['true']\narray: 0-9999\n"
with connect(uid) as s:
    answer = ask(s, op="submit", spec=spec, cwd="/", hold=True)
assert answer["ok"], answer

# large answers that were read leave nothing behind, though the connections stay
readers = [connect(uid) for _ in range(60)]
for s in readers:
    assert len(ask(s, op="list")["jobs"]) == 10000
size = mebibytes()
assert size < 150, f"{size} MiB for {len(readers)} connections that nothing waits for"
for s in readers:
    s.close()

# many long requests on many connections, by somebody who does not read what he is told
crowd = [connect(uid) for _ in range(200)]
for s in crowd:
    s.sendall(b'{"v":1,"op":"show","id":"1"}\n' * 10)
waited = max(others_wait() for _ in range(5))
assert waited < 5, f"another user was answered after {waited} s"
begun = time.monotonic()
while time.monotonic() - begun < 8:
    waited = others_wait()
    size = mebibytes()
    assert waited < 5, f"another user was answered after {waited} s"
    assert size < 600, f"{size} MiB for what one user does not read"
    time.sleep(0.2)
for s in crowd:
    s.close()

# requests that were sent together are all answered, in their order, however many turns that takes
with connect(uid) as s:
    ids = ["1_5", "1", "1_6"] * 5
    s.sendall(b"".join(b'{"v":1,"op":"show","id":"%s"}\n' % one.encode() for one in ids) + b'{"v":1,"op":"hello"}\n')
    data = b""
    while data.count(b"\n") <= len(ids):
        more = s.recv(1 << 20)
        assert more, "the connection was closed"
        data += more
answers = [json.loads(line) for line in data.splitlines()]
assert [len(one["jobs"]) for one in answers[:-1]] == [1, 10000, 1] * 5, [list(one) for one in answers]
assert answers[-1]["server"] == "jobboxd"

# a task of a large array is found without a look at all the others, however often it is named
with connect(uid) as s:
    assert len(ask(s, op="cancel", ids=["1"])["jobs"]) == 10000
    begun = time.monotonic()
    answer = ask(s, op="wait", ids=["1_9999"] * 20000 + ["1"])
    took = time.monotonic() - begun
assert answer["done"] and answer["exit_code"] == 123, answer
assert took < 3, f"{took} s for 20000 times the same task"
