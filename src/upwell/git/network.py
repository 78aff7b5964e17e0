"""The network of git's processes: nothing is in it but what connects by the policy."""

import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from urllib.parse import urlsplit

from upwell.git.interface import GitError, GitSource
from upwell.machine.folder import PrivateFolder
from upwell.outbound import socks_command
from upwell.outbound.child_network import ChildNetwork, child_network
from upwell.outbound.dialing import Dialer

_PROXY_PORTS = {"http": 80, "socks4": 1080, "socks4a": 1080, "socks5": 1080, "socks5h": 1080}
_VARIABLES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@dataclass(frozen=True, slots=True)
class GitNetwork:
    """The network of one use of a repository."""

    child: ChildNetwork
    proxy: str
    """URL of the proxy that git and Git LFS use; may hold a password."""

    @property
    def refusal(self) -> str:
        """Words for a destination that was refused to git; empty: none was."""
        return self.child.refusal

    @property
    def is_closed(self) -> bool:
        """True if what connects by itself gets nowhere."""
        return self.child.namespace is not None

    def variables(self) -> Mapping[str, str]:
        """Return the environment of what connects by a proxy or by `command`."""
        return {
            **dict.fromkeys(_VARIABLES, self.proxy),
            socks_command.SOCKS_VARIABLE: self.child.variable,
        }

    def command(self, folder: PrivateFolder) -> Path:
        """Write a program that connects to `HOST PORT`, for ssh and for git's own protocol."""
        words = (sys.executable, "-I", "-S", socks_command.__file__)
        text = f'#!/bin/sh\nexec {" ".join(map(quote, words))} "$@"\n'
        path = folder.write("connect", text)
        path.chmod(0o700)
        return path


@asynccontextmanager
async def git_network(dialer: Dialer | None, source: GitSource) -> AsyncIterator[GitNetwork | None]:
    """Open the network in which a source is asked for; None without a dialer: the machine's own.

    Raises GitError for a proxy of the source that cannot be used.
    """
    if dialer is None:
        yield None
        return
    async with child_network(dialer) as child:
        yield GitNetwork(child, await _proxy(child, source))


async def _proxy(child: ChildNetwork, source: GitSource) -> str:
    """Return the proxy of the source, as it is reached in the network; without one, ours."""
    wanted = _own_proxy(source)
    if not wanted:
        return child.proxy
    try:
        parts = urlsplit(wanted if "://" in wanted else f"http://{wanted}")
        port = parts.port or _PROXY_PORTS[parts.scheme]
        host = parts.hostname or ""
    except (ValueError, KeyError):
        host, port = "", 0
    if not host:
        # The value stays out of the message: it may hold a password.
        raise GitError("the proxy of the source is not the URL of one, http://HOST:PORT")
    login, at, _ = parts.netloc.rpartition("@")
    return f"{parts.scheme}://{login}{at}{await child.forward(host, port)}"


def _own_proxy(source: GitSource) -> str:
    try:
        parts = urlsplit(source.uri)
        host = (parts.hostname or "").lower()
    except ValueError:
        return ""
    wanted = {"http": source.proxies.http, "https": source.proxies.https}.get(parts.scheme, "")
    return "" if _is_spared(host, source.proxies.no_proxy) else wanted


def _is_spared(host: str, no_proxy: str) -> bool:
    """Return True if NO_PROXY names a host, or a domain that it is in."""
    names = (
        name.strip().lower().lstrip("*.") or "*" for name in no_proxy.split(",") if name.strip()
    )
    return any(name in {"*", host} or host.endswith(f".{name}") for name in names)
