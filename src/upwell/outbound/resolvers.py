"""Name servers of this machine, as containers and builds are given them (resolv.conf(5))."""

import ipaddress
from collections.abc import Iterator
from pathlib import Path

_FILES = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def machine_resolvers(files: tuple[Path, ...] = _FILES) -> tuple[str, ...]:
    """Return the name servers (IPv4) that others can ask too, of the first file with any."""
    for path in files:
        text = path.read_text(errors="replace") if path.is_file() else ""
        if found := tuple(_servers(text)):
            return found
    return ()


def _servers(text: str) -> Iterator[str]:
    for line in text.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == "nameserver" and _is_reachable(words[1]):
            yield words[1]


def _is_reachable(text: str) -> bool:
    try:
        return not ipaddress.IPv4Address(text).is_loopback
    except ValueError:
        return False
