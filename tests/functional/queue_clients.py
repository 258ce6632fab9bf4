#!/usr/bin/python3
"""Clients that jobboxd has to survive. Usage: queue_clients.py SOCKET. Exit code 0 when all was answered as it should be."""
import json
import os
import socket
import sys

path = sys.argv[1]


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(60)
    s.connect(path)
    return s


def line(s):
    data = b""
    while not data.endswith(b"\n"):
        more = s.recv(65536)
        if not more:
            return data
        data += more
    return data


def hello():
    s = connect()
    s.sendall(b'{"v":1,"op":"hello"}\n')
    answer = json.loads(line(s))
    assert answer["ok"] and answer["server"] == "jobboxd", answer
    s.close()


def refused(data, word):
    s = connect()
    s.sendall(data)
    answer = json.loads(line(s))
    assert answer["ok"] is False and word in answer["error"]["text"], (data[:60], answer)
    s.close()


hello()
refused(b"GET / HTTP/1.1\n", "JSON object")
refused(b"\n", "JSON object")
refused(b"\0\0\0\0\n", "JSON object")
refused(b"[" * 100000 + b"\n", "JSON object")
refused(b'{"v":2,"op":"hello"}\n', "version 1")
refused(b'{"v":1,"op":"format-disk"}\n', "does not know")
refused(b'{"v":1,"op":"hello","op":"hello"}\n', "JSON object")
refused(b'{"v":1,"op":"submit"}\n', "cwd")
refused(b'{"v":1,"op":"submit","spec":"version: 1","cwd":"/"}\n', "faults")
refused(b'{"v":1,"op":"submit","spec":"\\u0000","cwd":"/"}\n', "JSON object")
refused(b'{"v":1,"op":"logs","id":"../../etc/passwd"}\n', "no such job")
refused(b'{"v":1,"op":"show","id":["1"]}\n', "no such job")
refused(b'{"v":1,"op":"show","id":"99999999999999999999999"}\n', "no such job")
refused(b'{"v":1,"op":"priority","ids":["1"],"priority":1e300}\n', "whole number")

# longer than a request may be: told so, and cut off
s = connect()
try:
    for _ in range(100):
        s.sendall(b"x" * 65536)
except OSError:
    pass
try:
    answer = line(s)
    assert b"at most" in answer or answer == b"", answer
except OSError:
    pass
s.close()

# a thousand that say nothing, some with half a request; the next one is served all the same
idle = []
for i in range(1000):
    s = connect()
    if i % 2:
        s.send(b'{"v":1,')
    idle.append(s)
hello()

# many requests at once, answered in order
s = connect()
s.sendall(b'{"v":1,"op":"hello"}\n' * 2000)
got = b""
while got.count(b"\n") < 2000:
    got += s.recv(1 << 20)
assert all(json.loads(one)["ok"] for one in got.splitlines())
s.close()

# one that asks and never reads
deaf = connect()
deaf.setblocking(False)
try:
    for _ in range(20000):
        deaf.send(b'{"v":1,"op":"stats"}\n')
except BlockingIOError:
    pass
hello()

# descriptors that nobody asked for
s = connect()
r, w = os.pipe()
socket.send_fds(s, [b'{"v":1,"op":"hello"}\n'], [r, w])
assert json.loads(line(s))["ok"]
os.close(w)
hello()
for s in idle:
    s.close()
