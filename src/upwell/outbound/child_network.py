"""A network for child processes in which nothing exists but one SOCKS server: ours.

A program that connects by itself, whatever it takes its addresses from, gets nowhere; what it asks
the server for is judged. The namespace belongs to one use, and goes with the last of its processes.
"""

import asyncio
import fcntl
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from ipaddress import ip_address

from upwell.outbound.destinations import AllowedDestination
from upwell.outbound.dialing import Dialer
from upwell.outbound.socks import SocksServer

_HERE = "127.0.0.1"
_BUFFER = 256 * 1024
_SET_FLAGS = 0x8914
"""SIOCSIFFLAGS (netdevice(7))."""
_UP = 0x1 | 0x40
"""IFF_UP and IFF_RUNNING."""

type _Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], object]


@dataclass(frozen=True, slots=True)
class ChildNetwork:
    """The network of the children of one use; made by `child_network`."""

    server: SocksServer
    place: str
    """The SOCKS server's host and port, for children."""
    secret: str = field(repr=False)
    """Its password; empty where nobody else can reach it."""
    namespace: int | None
    """Descriptor of the namespace; None where this machine lets us make none."""
    stack: AsyncExitStack = field(repr=False)

    @property
    def proxy(self) -> str:
        """The SOCKS server as the URL of a proxy that looks names up."""
        login = f"upwell:{self.secret}@" if self.secret else ""
        return f"socks5h://{login}{self.place}"

    @property
    def variable(self) -> str:
        """The value of SOCKS_VARIABLE, for `socks_command`."""
        return f"{self.secret}@{self.place}" if self.secret else self.place

    @property
    def refusal(self) -> str:
        """The first destination that was refused, in words; empty: none was."""
        return next(iter(self.server.refusals), "")

    async def forward(self, host: str, port: int, at: tuple[str, int] = (_HERE, 0)) -> str:
        """Let children reach one place, by the policy, at `at`; return its host and port."""
        listener = await _apart(self.namespace, partial(_listener, *at))
        return await _serve(self.stack, listener, partial(self.server.forward, host, port))


@asynccontextmanager
async def child_network(dialer: Dialer) -> AsyncIterator[ChildNetwork]:
    """Open a network for children whose every connection `dialer` makes."""
    async with AsyncExitStack() as stack:
        namespace = await _new_namespace()
        if namespace is not None:
            stack.callback(os.close, namespace)
        # Without a namespace, others on this machine could use the server too.
        secret = "" if namespace is not None else secrets.token_urlsafe(24)
        server = SocksServer(dialer, secret)
        listener = await _apart(namespace, partial(_listener, _HERE, 0))
        place = await _serve(stack, listener, server.serve)
        network = ChildNetwork(server, place, secret, namespace, stack)
        if namespace is not None:
            await _open_loopback(network, dialer)
        yield network


async def _open_loopback(network: ChildNetwork, dialer: Dialer) -> None:
    """Let children find at their own loopback what the administrator allows of this machine's.

    Some programs use no proxy for loopback, whatever they are told.
    """
    for host, port in {place for one in dialer.policy.allowed for place in _on_loopback(one)}:
        await network.forward(host, port, (host, port))


def _on_loopback(allowed: AllowedDestination) -> list[tuple[str, int]]:
    if allowed.port is None:
        return []
    if allowed.name == "localhost":
        return [(_HERE, allowed.port)]
    single = (one for one in allowed.networks if one.num_addresses == 1)
    return [(str(one.network_address), allowed.port) for one in single if one.is_loopback]


async def _serve(stack: AsyncExitStack, listener: socket.socket, serve: _Serve) -> str:
    tasks = set[asyncio.Task[None]]()

    async def tracked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        found = serve(reader, writer)
        if asyncio.iscoroutine(found):
            await found

    host, port = listener.getsockname()[:2]
    running = await asyncio.start_server(tracked, sock=listener, limit=_BUFFER)

    async def end() -> None:
        running.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    stack.push_async_callback(end)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def _new_namespace() -> int | None:
    try:
        return await _apart(None, _namespace)
    except PermissionError:
        return None


async def _apart[T](namespace: int | None, work: Callable[[], T]) -> T:
    """Do something in a namespace, in a thread that nobody uses afterwards."""

    def run() -> T:
        if namespace is not None:
            os.setns(namespace, os.CLONE_NEWNET)
        return work()

    thread = ThreadPoolExecutor(1, thread_name_prefix="namespace")
    try:
        return await asyncio.get_running_loop().run_in_executor(thread, run)
    finally:
        thread.shutdown(wait=False)


def _namespace() -> int:
    """Make a network namespace, with loopback, for this thread; return its descriptor."""
    os.unshare(os.CLONE_NEWNET)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        fcntl.ioctl(made, _SET_FLAGS, struct.pack("16sH14x", b"lo", _UP))
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ip_address(host).version == 6 else socket.AF_INET  # noqa: PLR2004
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        made.listen(64)
        made.setblocking(False)  # noqa: FBT003 - its only parameter
    except BaseException:
        made.close()
        raise
    return made
