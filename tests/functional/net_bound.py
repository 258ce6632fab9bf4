"""net_bound.py: names the interface of the way out itself, as routes do not hold whoever does, and says what it reached."""
import socket
import struct

PKTINFO, DEVICE = 8, 25
TAP = "tap0"


def get(address):
    s = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    s.settimeout(2)
    s.setsockopt(socket.SOL_SOCKET, DEVICE, TAP.encode())
    try:
        s.connect((address, 8080))
        s.sendall(b"GET /page HTTP/1.0\r\n\r\n")
        print(address, s.makefile().read().split("\n")[-2])
    except OSError:
        print(address, "refused")


index = socket.if_nametoindex(TAP)
for each in "198.51.100.1", "203.0.113.1", "10.0.2.7", "192.0.2.254", "2001:db9::1", "fd77::2":
    get(each)
four = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for each in "203.0.113.1", "224.0.0.251":
    four.sendmsg([b"hello"], [(socket.IPPROTO_IP, PKTINFO, struct.pack("=I8x", index))], 0, (each, 5353))
six = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
for each in "fe80::1", "ff02::fb":
    try:
        six.sendto(b"hello", (each, 5353, 0, index))
    except OSError:
        pass
