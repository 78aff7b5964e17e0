"""Access of commands to a server on the same machine, for its own user.

A running server leaves a file in a folder that only its user can read, named by its address. It
tells where the token and the certificate's authority are, and is believed while the server runs:
otherwise whoever listens there next would be sent the token.
"""

import json
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from upwell.machine.processes import is_running, process_namespace

_MAX_BYTES = 64 * 1024
_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class LocalAccess:
    """Token, the path of the authority to trust (PEM), and the local socket, if any."""

    token: str = field(repr=False)
    authority: Path | None = None
    socket: Path | None = None
    """Unix socket of the server, which needs no token."""


@contextmanager
def announced(
    addresses: Sequence[str],
    token_file: Path,
    authority: Path | None,
    socket: Path | None = None,
) -> Iterator[None]:
    """Let commands of this user find the server at `addresses`, each HOST:PORT, for the block.

    Where no private folder can be made, commands need the token as an option.
    """
    folder = _own_folder()
    if folder is not None:
        _forget_ended(folder)
    document = {
        "process": os.getpid(),
        "process-namespace": process_namespace(),
        "token-file": str(token_file),
        "authority": str(authority or ""),
        "socket": str(socket or ""),
    }
    paths = [folder / f"{address}.json" for address in addresses] if folder else []
    for path in paths:
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(json.dumps(document))
        draft.replace(path)
    try:
        yield
    finally:
        for path in paths:
            path.unlink(missing_ok=True)


def find_access(server: str) -> LocalAccess | None:
    """Return the access to the server at a URL; None unless this user runs it on this machine."""
    try:
        parts = urlsplit(server)
        port = parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return None  # whoever connects there says what is wrong with it
    host = parts.hostname or ""
    name = f"[{host}]:{port}.json" if ":" in host else f"{host}:{port}.json"
    for folder in _folders():
        if _is_private(folder) and (found := _read(folder / name)) is not None:
            return found
    return None


def server_authorities(server: str, authority: str = "") -> Mapping[str, Path]:
    """Return the PEM file to trust by host name: that of a server is its registry's too.

    `server` is its URL. One that is not named is that of the server which this user runs on this
    machine at that address.
    """
    local = None if authority else find_access(server)
    found = Path(authority) if authority else local.authority if local is not None else None
    try:
        host = urlsplit(server).hostname or ""
    except ValueError:
        return {}  # whoever connects there says what is wrong with it
    if not host or found is None:
        return {}
    return dict.fromkeys(_names(host), found)


def registry_tokens(server: str, token: str = "") -> Mapping[str, str]:
    """Return the token for a server's own registry, by the names that images there begin with.

    It goes to the address that it is for: `server` is its URL. One that is not given is that of the
    server which this user runs on this machine at that address.
    """
    local = None if token else find_access(server)
    found = token or (local.token if local is not None else "")
    try:
        parts = urlsplit(server)
        host, port = parts.hostname or "", parts.port or _PORTS.get(parts.scheme, 0)
    except ValueError:
        return {}  # whoever connects there says what is wrong with it
    if not host or not found:
        return {}
    names = [f"[{one}]" if ":" in one else one for one in _names(host)]
    bare = names if port == _PORTS["https"] else []
    return dict.fromkeys([*(f"{name}:{port}" for name in names), *bare], found)


def _names(host: str) -> Sequence[str]:
    """Return every name of a server's host."""
    return _LOOPBACK if host in _LOOPBACK else (host,)


def _forget_ended(folder: Path) -> None:
    """Remove what killed servers left, but for those of containers that share the folder.

    Their processes have numbers of their own: whether one of them runs, this process cannot tell.
    """
    for path in folder.glob("*.json"):
        with suppress(OSError):
            if not _is_elsewhere(path) and _read(path) is None:
                path.unlink(missing_ok=True)


def _is_elsewhere(path: Path) -> bool:
    try:
        document = json.loads(_text(path))
        return bool(document["process-namespace"] != process_namespace())
    except (ValueError, KeyError, TypeError):
        return False


def _read(path: Path) -> LocalAccess | None:
    try:
        document = json.loads(_text(path))
        if _is_elsewhere(path) or not is_running(int(document["process"])):
            return None
        token = _text(Path(document["token-file"])).strip()
        authority = Path(document["authority"]) if document["authority"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    socket = Path(str(document.get("socket", "")))
    return LocalAccess(token, authority, socket if _is_trusted_socket(socket) else None)


def _is_trusted_socket(path: Path) -> bool:
    """Return True if a server of this user, or of root, made it."""
    try:
        found = path.lstat()
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in {0, os.geteuid()}


def _text(path: Path) -> str:
    with path.open("rb") as file:
        return file.read(_MAX_BYTES).decode()


def _folders() -> list[Path]:
    """Return where servers of this user may have left files, the best place first."""
    user = os.geteuid()
    # A session's folder comes and goes with its logins, so root has one of the machine's.
    run = Path("/run/upwell") if user == 0 else Path(f"/run/user/{user}/upwell")
    return [run, Path(f"/tmp/upwell-{user}")]  # noqa: S108 - used only if it is ours and private


def _own_folder() -> Path | None:
    for folder in _folders():
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            if _is_private(folder):
                return folder
    return None


def _is_private(folder: Path) -> bool:
    try:
        found = folder.lstat()
    except OSError:
        return False
    ours = found.st_uid == os.geteuid() and stat.S_ISDIR(found.st_mode)
    return ours and not stat.S_IMODE(found.st_mode) & 0o077
