"""Answers with the glibc package that this container runs on, straight from the socket."""

import datetime as dt
import json
import re
import signal
import socketserver
import threading
import zoneinfo


def glibc_package():
    with open("/var/lib/dpkg/status") as status:
        match = re.search(r"^Package: libc6\n(?:.+\n)*?Version: (\S+)$", status.read(), re.M)
    return match.group(1) if match else "unknown"


ANSWER = {"application": "gate", "glibc": glibc_package()}


def answer(path):
    """Return the status and body of the answer to a request."""
    if path == "/healthz":
        return "200 OK", "ok"
    if path.startswith("/time/"):
        zone = path[len("/time/") :]
        try:
            now = dt.datetime.now(zoneinfo.ZoneInfo(zone))
        except (ValueError, zoneinfo.ZoneInfoNotFoundError) as error:
            return "500 Internal Server Error", {"error": str(error.args[0])}
        return "200 OK", {"zone": zone, "time": now.isoformat(timespec="seconds")}
    return "200 OK", ANSWER


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        while True:
            request = self.rfile.readline(8192)
            if not request.strip():
                return
            while self.rfile.readline(8192).strip():
                pass
            status, content = answer(request.split()[1].decode("ascii", "replace"))
            body = json.dumps(content).encode() + b"\n"
            head = (
                f"HTTP/1.1 {status}\r\n"
                "Content-Type: application/json\r\n"
                f"Content-Length: {len(body)}\r\n\r\n"
            )
            self.wfile.write(head.encode() + body)


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
