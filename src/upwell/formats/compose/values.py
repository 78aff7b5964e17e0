"""Values of Compose files in their several notations: durations, sizes, commands, ports."""

import ipaddress
import re
import shlex
from collections.abc import Mapping, Sequence
from decimal import Decimal, InvalidOperation
from math import ceil
from typing import Any

from upwell.formats.compose.document import Document, Path
from upwell.formats.compose.model import PublishedPort

_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s|m|h|d|w)")
_SECONDS = {"us": 1e-6, "ms": 1e-3, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]?)i?b?", re.IGNORECASE)
_PORT = re.compile(r"[0-9]{1,5}")
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}
MAX_SECONDS = 2**31 - 1
"""Largest duration: what fields of objects take."""
MAX_BYTES = 2**63 - 1
"""Largest size: what quantities of objects take."""
MAX_PROCESSORS = 2**31 - 1
MAX_PORT = 65535
MAX_RANGE = 100
PROTOCOLS = {"tcp", "udp", "sctp"}


def mapping(document: Document, path: Path, value: Any) -> Mapping[str, Any]:
    """Return a mapping; an empty one, with a fault, where the value is something else."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        document.fault(path, "must be a mapping")
        return {}
    return value


def texts(document: Document, path: Path, value: Any) -> tuple[str, ...]:
    """Return a list of texts, or the only one."""
    if value is None:
        return ()
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, Sequence):
        document.fault(path, "must be a list")
        return ()
    found = []
    for at, item in enumerate(value):
        if isinstance(item, str | int | float) and not isinstance(item, bool):
            found.append(str(item))
        else:
            document.fault((*path, at), "must be a text")
    return tuple(found)


def text(document: Document, path: Path, value: Any) -> str:
    """Return a scalar as a text."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str | int | float):
        return str(value)
    document.fault(path, "must be a text")
    return ""


def flag(document: Document, path: Path, value: Any) -> bool:
    """Return a boolean."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in {"true", "false"}:
        return value.lower() == "true"
    if value is not None:
        document.fault(path, "must be a boolean")
    return False


def number(document: Document, path: Path, value: Any, default: int) -> int:
    """Return a whole number, not negative."""
    if value is None:
        return default
    found = str(value)
    if not found.isdecimal() or isinstance(value, bool):
        document.fault(path, "must be a whole number, not negative")
        return default
    return int(found)


def assignments(document: Document, path: Path, value: Any) -> dict[str, str | None]:
    """Return `NAME=VALUE` texts or a mapping by name; None: no value is given."""
    if value is None:
        return {}
    if isinstance(value, Mapping):
        return {
            name: None if inner is None else text(document, (*path, name), inner)
            for name, inner in value.items()
        }
    if isinstance(value, str) or not isinstance(value, Sequence):
        document.fault(path, "must be a mapping or a list")
        return {}
    found: dict[str, str | None] = {}
    for entry in texts(document, path, value):
        name, given, rest = entry.partition("=")
        found[name] = rest if given else None
    return found


def command(document: Document, path: Path, value: Any) -> tuple[str, ...]:
    """Return a command: a list, or a text that is split as a shell would."""
    if not isinstance(value, str):
        return texts(document, path, value)
    try:
        return tuple(shlex.split(value))
    except ValueError as error:
        document.fault(path, f"cannot be split into words: {error}")
        return ()


def duration(document: Document, path: Path, value: Any, default: int) -> int:
    """Return whole seconds, rounded up, of `1m30s`."""
    if value is None:
        return default
    parts = _DURATION.findall(str(value))
    if not parts or "".join(size + unit for size, unit in parts) != str(value):
        document.fault(path, f"{value!r} is no duration: write 30s or 1m30s")
        return default
    seconds = sum(float(size) * _SECONDS[unit] for size, unit in parts)
    if seconds > MAX_SECONDS:
        document.fault(path, f"is longer than {MAX_SECONDS} s: write a shorter time, such as 30s")
        return default
    return ceil(seconds)


def memory(document: Document, path: Path, value: Any) -> str:
    """Return a quantity of bytes of `512m`; empty where none is given."""
    if value is None:
        return ""
    match = _SIZE.fullmatch(str(value))
    if match is None:
        document.fault(path, f"{value!r} is no size: write 512m or 1g")
        return ""
    size = float(match[1]) * 1024 ** _POWERS[match[2].lower()]
    if size > MAX_BYTES:
        document.fault(path, f"is larger than {MAX_BYTES} bytes: write 512m or 1g")
        return ""
    return str(int(size))


def cpus(document: Document, path: Path, value: Any) -> str:
    """Return a quantity of processors of `0.5`; empty where none is given."""
    if value is None:
        return ""
    try:
        number = Decimal("" if str(value) != str(value).strip() else str(value))
        if number > MAX_PROCESSORS:
            document.fault(path, f"is more than {MAX_PROCESSORS}: write 0.5")
            return ""
        thousandths = ceil(number * 1000)
    except (InvalidOperation, ValueError, OverflowError):
        document.fault(path, f"{value!r} is no number of processors: write 0.5")
        return ""
    if thousandths < 0:
        document.fault(path, "must not be negative")
        return ""
    return f"{thousandths}m" if thousandths else ""  # 0 is no limit


def ports(document: Document, path: Path, value: Any) -> tuple[PublishedPort, ...]:
    """Return published ports in the short or the long notation."""
    if value is None:
        return ()
    if isinstance(value, str) or not isinstance(value, Sequence):
        document.fault(path, "must be a list")
        return ()
    found: list[PublishedPort] = []
    for at, entry in enumerate(value):
        place = (*path, at)
        if isinstance(entry, Mapping):
            found += _long_port(document, place, entry)
        elif isinstance(entry, str | int) and not isinstance(entry, bool):
            found += _short_ports(document, place, str(entry))
        else:
            document.fault(place, "must be a port: HOST:CONTAINER")
    return tuple(found)


def _long_port(document: Document, path: Path, entry: Mapping[str, Any]) -> list[PublishedPort]:
    for key in entry:
        if key not in {
            "target",
            "published",
            "host_ip",
            "protocol",
            "mode",
            "name",
            "app_protocol",
        }:
            document.fault((*path, key), "additional property is not allowed")
    target = text(document, (*path, "target"), entry.get("target"))
    published = text(document, (*path, "published"), entry.get("published"))
    if not target:
        document.fault(path, "target is missing")
        return []
    host_ip = text(document, (*path, "host_ip"), entry.get("host_ip"))
    protocol = text(document, (*path, "protocol"), entry.get("protocol")) or "tcp"
    return _paired(document, path, (host_ip, published, target, protocol))


def _short_ports(document: Document, path: Path, entry: str) -> list[PublishedPort]:
    """Return the ports of `[[IP:][HOST]:]CONTAINER[/PROTOCOL]`, in which a port may be a range."""
    rest, _, protocol = entry.partition("/")
    before, _, target = rest.rpartition(":")
    host_ip, _, published = before.rpartition(":")
    return _paired(document, path, (host_ip.strip("[]"), published, target, protocol or "tcp"))


def _paired(
    document: Document, path: Path, notation: tuple[str, str, str, str]
) -> list[PublishedPort]:
    host_ip, published, target, protocol = notation
    inside = _range(target) or []
    outside: Sequence[int | None] = (_range(published) or []) if published else [None] * len(inside)
    if protocol not in PROTOCOLS:
        fault = f"invalid proto {protocol!r}: it is tcp or udp"
    elif host_ip and not _is_address(host_ip):
        fault = f"invalid IP address {host_ip!r}"
    elif not inside or not outside:
        fault = f"invalid port {published or target!r}: 1 to {MAX_PORT}, or a range"
    elif len(inside) > MAX_RANGE:
        fault = f"a range of more than {MAX_RANGE} ports: name fewer"
    elif len(inside) == 1 and len(outside) > 1:
        fault = "one port of a range that is free: name the one to publish"
    elif len(inside) != len(outside):
        fault = "the ranges have different lengths"
    else:
        return [
            PublishedPort(port, host, host_ip, protocol)
            for port, host in zip(inside, outside, strict=True)
        ]
    document.fault(path, fault)
    return []


def _range(written: str) -> list[int] | None:
    first, _, last = written.partition("-")
    last = last or first
    if _PORT.fullmatch(first) is None or _PORT.fullmatch(last) is None:
        return None
    low, high = int(first), int(last)
    return list(range(low, high + 1)) if 0 < low <= high <= MAX_PORT else None


def _is_address(written: str) -> bool:
    try:
        ipaddress.ip_address(written)
    except ValueError:
        return False
    return True
