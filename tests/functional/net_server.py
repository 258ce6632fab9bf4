"""net_server.py http|dns ADDRESS PORT TEXT: a server for the tests of networks; says "ready" when it is.

http answers "from TEXT"; dns says that every name's address is TEXT, and that none has one of IPv6.
"""
import http.server
import socket
import sys

kind, address, port, text = sys.argv[1:]


class Page(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        body = f"from {text}\n".encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6 if ":" in address else socket.AF_INET


def answer(query):
    end = query.index(0, 12) + 5  # behind the name: its end, a type, a class
    a = query[end - 4:end - 2] == b"\0\1"
    head = query[:2] + b"\x81\x80" + query[4:6] + (b"\0\1" if a else b"\0\0") + b"\0\0\0\0"
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4" + socket.inet_aton(text) if a else b""
    return head + query[12:end] + record


if kind == "http":
    server = Server((address, int(port)), Page)
    print("ready", flush=True)
    server.serve_forever()
names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
names.bind((address, int(port)))
print("ready", flush=True)
while True:
    packet, client = names.recvfrom(4096)
    names.sendto(answer(packet), client)
