"""GET / greets; GET /about says what it runs on; everything else is 404."""

import json
import platform
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


def greeting(name):
    """Return whom it greets: the world, when nobody is named."""
    return f"Hello, {name.strip() or 'world'}!"


def about():
    """Return what the base image gives: the operating system and Python."""
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except (OSError, KeyError):
        system = "unknown"
    return {"system": system, "python": platform.python_version()}


def server(host, port):
    """Return a server that has not begun to serve; port 0 takes a free one."""
    return ThreadingHTTPServer((host, port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/":
            names = parse_qs(url.query).get("name", [""])
            self._answer(200, {"greeting": greeting(names[0])})
        elif url.path == "/about":
            self._answer(200, about())
        else:
            self._answer(404, {"error": f"there is no {url.path}"})

    def _answer(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
