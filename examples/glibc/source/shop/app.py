"""Answers with the glibc package that this container runs on."""

import json
import os
import signal
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from glibc import glibc_package

NAME = os.environ.get("APPLICATION", "shop")

ANSWER = {
    "application": NAME,
    "greeting": os.environ.get("GREETING", ""),
    "glibc": glibc_package(),
    "loaded": os.confstr("CS_GNU_LIBC_VERSION"),
}


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        body = b"ok\n" if self.path == "/healthz" else json.dumps(ANSWER).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128


server = Server(("", 8080), Handler)
signal.signal(
    signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown, daemon=True).start()
)
print(f"{NAME} serves on port 8080 with glibc {ANSWER['glibc']}", flush=True)
server.serve_forever()
