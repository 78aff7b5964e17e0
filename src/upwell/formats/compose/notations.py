"""Notations of values that have no effect here, or a second place, and that Compose decodes too.

The schema calls them texts or numbers. What is read has been checked where it was read.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from upwell.formats.compose import values
from upwell.formats.compose.document import Document, Path

type Check = Callable[[Document, Path, Any], object]

_EVERY = "*"


def _duration(document: Document, path: Path, value: Any) -> object:
    return values.duration(document, path, value, 0)


def _count(document: Document, path: Path, value: Any) -> object:
    return values.number(document, path, value, 0)


def _integer(document: Document, path: Path, value: Any) -> object:
    digits = str(value).removeprefix("-")
    if isinstance(value, bool) or not (digits.isascii() and digits.isdecimal()):
        document.fault(path, "must be an integer")
    return value


_DEPLOY = ("services", _EVERY, "deploy")
_NOTATIONS: Mapping[tuple[str, ...], Check] = {
    ("services", _EVERY, "mem_limit"): values.memory,
    ("services", _EVERY, "mem_reservation"): values.memory,
    ("services", _EVERY, "memswap_limit"): values.memory,
    ("services", _EVERY, "oom_score_adj"): _integer,
    ("services", _EVERY, "scale"): _count,
    ("services", _EVERY, "secrets", _EVERY, "mode"): _count,
    ("services", _EVERY, "configs", _EVERY, "mode"): _count,
    ("services", _EVERY, "volumes", _EVERY, "tmpfs", "size"): values.memory,
    ("services", _EVERY, "volumes", _EVERY, "tmpfs", "mode"): _count,
    (*_DEPLOY, "replicas"): _count,
    (*_DEPLOY, "placement", "max_replicas_per_node"): _count,
    (*_DEPLOY, "restart_policy", "delay"): _duration,
    (*_DEPLOY, "restart_policy", "max_attempts"): _count,
    (*_DEPLOY, "restart_policy", "window"): _duration,
    **{
        (*_DEPLOY, config, key): check
        for config in ("update_config", "rollback_config")
        for key, check in (("delay", _duration), ("monitor", _duration), ("parallelism", _count))
    },
}
_LIMITS, _RESERVATIONS = (("deploy", "resources", one) for one in ("limits", "reservations"))
_SAME: tuple[tuple[str, tuple[str, ...], Check], ...] = (
    ("scale", ("deploy", "replicas"), _count),
    ("cpus", (*_LIMITS, "cpus"), values.cpus),
    ("mem_limit", (*_LIMITS, "memory"), values.memory),
    ("mem_reservation", (*_RESERVATIONS, "memory"), values.memory),
)
"""Keys of a service that say the same as another one."""


def check_notations(document: Document) -> None:
    """Note what Compose cannot decode, and what is said twice, and differently."""
    for pattern, check in _NOTATIONS.items():
        for path, value in _matching(document.root, pattern):
            if value is not None and path not in document.faulty:
                check(document, path, value)
    if document.faults:
        return
    for service, body in _matching(document.root, ("services", _EVERY)):
        for key, other, read in _SAME:
            path = (*service, key)
            twice = [one for _, one in _matching(body, other)]
            first = body.get(key) if isinstance(body, Mapping) else None
            if first is None or not twice:
                continue
            if read(document, path, first) != read(document, path, twice[0]):
                document.fault(path, f"says {first}, and {'.'.join(other)} {twice[0]}: remove one")


def _matching(value: Any, pattern: tuple[str, ...], path: Path = ()) -> Iterator[tuple[Path, Any]]:
    if not pattern:
        yield path, value
        return
    step, *rest = pattern
    if isinstance(value, list) and step == _EVERY:
        inner = list(enumerate(value))
    elif isinstance(value, Mapping):
        inner = [(key, one) for key, one in value.items() if step in {_EVERY, key}]
    else:
        return
    for key, one in inner:
        yield from _matching(one, tuple(rest), (*path, key))
