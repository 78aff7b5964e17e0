"""Volumes of a service in Compose's short and long notation."""

from collections.abc import Callable, Mapping
from typing import Any

from upwell.formats.compose import keys, values
from upwell.formats.compose.document import Document, Path
from upwell.formats.compose.model import MountKind, ServiceMount

type AbsolutePath = Callable[[str], str]

_WITHOUT_EFFECT = {"z", "Z", "cached", "delegated", "consistent", "rw", "nocopy"}
_OPTIONS = {"bind": {"create_host_path", "selinux"}, "volume": {"nocopy", "subpath"}}


def read_mounts(
    document: Document, path: Path, body: Mapping[str, Any], absolute: AbsolutePath
) -> tuple[ServiceMount, ...]:
    """Return what `volumes` and `tmpfs` of a service mount.

    `absolute` resolves paths of the host.
    """
    found: list[ServiceMount] = []
    entries = body.get("volumes")
    if entries is not None and not isinstance(entries, list):
        document.fault((*path, "volumes"), "must be a list")
        entries = None
    for at, entry in enumerate(entries or ()):
        place = (*path, "volumes", at)
        mount = (
            _long(document, place, entry, absolute)
            if isinstance(entry, Mapping)
            else _short(document, place, values.text(document, place, entry), absolute)
        )
        if mount is not None:
            found.append(mount)
    found += [
        ServiceMount(MountKind.TMPFS, target.partition(":")[0])
        for target in values.texts(document, (*path, "tmpfs"), body.get("tmpfs"))
    ]
    _refuse_twice(document, path, found)
    return tuple(found)


def _refuse_twice(document: Document, path: Path, mounts: list[ServiceMount]) -> None:
    seen: set[str] = set()
    for mount in mounts:
        if mount.target in seen:
            document.fault((*path, "volumes"), f"duplicate mount point {mount.target}")
        seen.add(mount.target)


def _short(
    document: Document, path: Path, written: str, absolute: AbsolutePath
) -> ServiceMount | None:
    source, target, *options = written.split(":") if ":" in written else ("", written)
    if len(options) > 1 or not target.startswith("/"):
        document.fault(path, f"invalid spec {written!r}: write SOURCE:/PATH[:ro]")
        return None
    read_only = False
    for option in options[0].split(",") if options else ():
        if option == "ro":
            read_only = True
        elif option not in _WITHOUT_EFFECT:
            document.fault(path, f"option {option!r} is not supported: write ro, rw or nothing")
    if source.startswith((".", "/", "~")):
        return ServiceMount(MountKind.BIND, target, absolute(source), read_only)
    return ServiceMount(MountKind.VOLUME, target, source, read_only)


def _long(
    document: Document, path: Path, body: Mapping[str, Any], absolute: AbsolutePath
) -> ServiceMount | None:
    kind = values.text(document, (*path, "type"), body.get("type"))
    target = values.text(document, (*path, "target"), body.get("target"))
    source = values.text(document, (*path, "source"), body.get("source"))
    known = {"type", "source", "target", "read_only", "consistency", "bind", "volume", "tmpfs"}
    for key in body:
        if key not in known and not key.startswith("x-"):
            document.fault((*path, key), keys.not_allowed(key, known))
    if kind not in set(MountKind):
        document.fault((*path, "type"), f"{kind!r} is not supported: volume, bind or tmpfs")
        return None
    if not target.startswith("/"):
        document.fault((*path, "target"), "must be an absolute path")
        return None
    options = values.mapping(document, (*path, kind), body.get(kind))
    for key in options:
        if kind in _OPTIONS and key not in _OPTIONS[kind]:
            document.fault((*path, kind, key), "not supported: remove it")
    if kind == MountKind.BIND:
        if not source:
            document.fault(path, "invalid mount config for type bind: source is missing")
            return None
        source = absolute(source)
    read_only = values.flag(document, (*path, "read_only"), body.get("read_only"))
    sub_path = values.text(document, (*path, kind, "subpath"), options.get("subpath"))
    return ServiceMount(MountKind(kind), target, source, read_only, sub_path)
