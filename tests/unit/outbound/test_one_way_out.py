"""Modules open connections by `upwell.outbound`, or stand here with a reason."""

import ast
import re
from pathlib import Path

import pytest

import upwell

SOURCE = Path(upwell.__file__).parent
EXCEPTIONS = {
    # What is on this machine by its nature.
    "workload/podman/api/connection.py": "Podman's socket",
    "workload/podman/api/hijack.py": "Podman's socket",
    "workload/podman/api/service.py": "Podman's socket",
    "router/haproxy/cli.py": "HAProxy's socket",
    "builder/kubernetes/handover.py": "the socket of a build, in its own Pod",
    "workload/podman/probes.py": "containers, at addresses that Podman tells; a probe names none",
    "workload/podman/instance_network.py": "containers, from within their network",
    "workload/podman/leftovers.py": "a question of whether an address is taken",
    "router/haproxy/addresses.py": "a question of whether an address is taken",
    "firewall/generation.py": "the kernel, over netlink",
    "workload/podman/udp_flows.py": "the kernel, over netlink",
    "workers/forking.py": "sockets of the process that asks for workers, which are open already",
    "machine/sockets/event_loop.py": "a socket that is open already: at which port it is",
    "machine/sockets/listeners.py": "a Unix socket of a part of Upwell: whether it answers",
    "machine/checks.py": "a question of whether a port is taken",
    "machine/service_manager.py": "systemd's socket (sd_notify)",
    "app/server.py": "the sockets that the server listens at",
    "server/asgi/local_socket.py": "the socket that the server listens at",
    # What the administrator names.
    "cluster/leader_client.py": "the replica that leads, where its Lease says that it answers",
    "audit/export.py": "the receiver of the audit log, of the configuration file",
    "store/kubernetes_connections.py": "the API that the command line is a client of",
    "store/kubernetes_socket.py": "the API that the command line is a client of",
    # A check before Buildah fetches.
    "builder/strategies/docker.py": "the addresses of ADD, of which nothing is fetched here",
    # What a person who runs a command names.
    "cli/adoption/takeover.py": "a port of this machine: whether it answers",
    "cli/builds/webhook_calls.py": "a command of a person",
    "cli/core/documents.py": "a command of a person",
    "cli/s2i/engine.py": "a command of a person",
    "cli/demo/ports.py": "the demo",
    "cli/demo/children.py": "the demo",
    "cli/demo/load.py": "the demo",
}
OPENERS = {
    "open_connection",
    "open_unix_connection",
    "create_connection",
    "create_unix_connection",
    "create_datagram_endpoint",
    "sock_connect",
    "TCPConnector",
    "UnixConnector",
    "ClientSession",
    "urlopen",
    "HTTPConnection",
    "HTTPSConnection",
    "SMTP",
    "getaddrinfo",
}
LIBRARIES = {"httpx", "requests", "urllib3", "http.client", "urllib.request", "smtplib", "ftplib"}
_WORDS = re.compile("|".join(map(re.escape, ("socket", *OPENERS, *LIBRARIES))))


def hints(tree: ast.AST) -> set[int]:
    """Nodes of annotations, which open nothing."""
    found = set[int]()
    for node in ast.walk(tree):
        for hint in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            found.update(map(id, ast.walk(hint)) if isinstance(hint, ast.AST) else ())
    return found


def opening(node: ast.AST) -> str:
    """Return what a node connects with; empty for nothing."""
    match node:
        case ast.Attribute(value=ast.Attribute(attr="_dialer") | ast.Name(id="dialer")):
            return ""
        case ast.Attribute(attr="socket", value=ast.Name(id="socket")):
            return "socket"
        case ast.Attribute(attr=name) | ast.Name(id=name) if name in OPENERS:
            return name
        case ast.Import(names=names):
            return next((one.name for one in names if one.name in LIBRARIES), "")
        case ast.ImportFrom(module=str(module), names=names):
            own = {one.name for one in names} & {"socket", *OPENERS} if module == "socket" else ()
            return module if module in LIBRARIES or own else ""
        case _:
            return ""


def openings(source: str) -> set[str]:
    """Return what a module connects with by itself."""
    if not _WORDS.search(source):  # to parse all modules takes seconds
        return set()
    tree = ast.parse(source)
    left_out = hints(tree)
    found = {opening(node) for node in ast.walk(tree) if id(node) not in left_out} - {""}
    by_policy = "judged_connector(" in source
    return found - {"ClientSession"} if by_policy else found


@pytest.mark.parametrize(
    "source",
    [
        "asyncio.open_connection(host, 80)",
        "connect = loop.create_connection",
        "aiohttp.ClientSession()",
        "aiohttp.ClientSession(connector=aiohttp.TCPConnector())",
        "from aiohttp import ClientSession\nClientSession()",
        "socket.socket().connect(('x', 80))",
        "from socket import create_connection",
        "import requests",
        "def late():\n    from urllib.request import urlopen",
        "import smtplib",
    ],
)
def test_an_opening_is_seen(source: str) -> None:
    assert openings(source)


@pytest.mark.parametrize(
    "source",
    [
        "def ask(session: aiohttp.ClientSession) -> socket.socket: ...",
        "self._dialer.open_connection(host, 80)",
        "aiohttp.ClientSession(connector=judged_connector(dialer, limit=8))",
        "from starlette.requests import Request",
    ],
)
def test_what_is_given_is_no_opening(source: str) -> None:
    assert not openings(source)


def test_connections_are_opened_by_the_policy() -> None:
    found = {
        str(path.relative_to(SOURCE)): openings(path.read_text())
        for path in SOURCE.rglob("*.py")
        if "outbound" not in path.relative_to(SOURCE).parts
    }
    assert {path: uses for path, uses in found.items() if uses and path not in EXCEPTIONS} == {}
