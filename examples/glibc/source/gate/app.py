"""Answers with the glibc package that this container runs on, straight from the socket."""

import json
import re
import signal
import socketserver
import threading


def glibc_package():
    with open("/var/lib/dpkg/status") as status:
        match = re.search(r"^Package: libc6\n(?:.+\n)*?Version: (\S+)$", status.read(), re.M)
    return match.group(1) if match else "unknown"


ANSWER = json.dumps({"application": "gate", "glibc": glibc_package()}).encode() + b"\n"


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            request = self.rfile.readline(8192)
            if not request.strip():
                return
            while self.rfile.readline(8192).strip():
                pass
            body = b"ok\n" if request.split()[1] == b"/healthz" else ANSWER
            self.wfile.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: "
                + str(len(body)).encode()
                + b"\r\n\r\n"
                + body
            )


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


server = Server(("", 8080), Handler)
signal.signal(
    signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
)
print("gate serves on port 8080", flush=True)
server.serve_forever()
