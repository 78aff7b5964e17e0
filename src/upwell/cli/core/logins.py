"""Logins of the user: servers with their tokens, in a file that only the user can read."""

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Self

from upwell.cli.core.errors import CommandError
from upwell.cli.core.private_file import save_private

_MAX_BYTES = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Login:
    """Server with its token, authority and namespace; options and variables outrank them."""

    server: str
    token: str = field(default="", repr=False)
    authority: str = ""
    """Absolute path of a PEM file to trust besides the system's authorities."""
    namespace: str = ""


@dataclass(frozen=True, slots=True)
class Logins:
    """Known logins of the user, and the current one, used when no server is named."""

    current: str = ""
    known: tuple[Login, ...] = ()

    def of(self, server: str) -> Login | None:
        """Return the login at a server."""
        wanted = server.rstrip("/")
        return next((one for one in self.known if one.server == wanted), None)

    def with_login(self, login: Login) -> Self:
        """Return the logins with this one as the current one."""
        return replace(self, current=login.server, known=(*self.without(login.server).known, login))

    def without(self, server: str) -> Self:
        """Return the logins without that at a server."""
        known = tuple(one for one in self.known if one.server != server)
        return replace(self, current="" if self.current == server else self.current, known=known)


def logins_path(environment: Mapping[str, str] | None = None) -> Path:
    """Return the path of the file of logins."""
    environment = os.environ if environment is None else environment
    base = environment.get("XDG_CONFIG_HOME") or ""
    folder = Path(base) if Path(base).is_absolute() else Path.home() / ".config"
    return folder / "upwell" / "logins.json"


def read_logins(path: Path) -> Logins:
    """Read the file; a missing file has no logins. Raises CommandError."""
    try:
        with path.open("rb") as file:
            raw = file.read(_MAX_BYTES)
    except (FileNotFoundError, NotADirectoryError):
        return Logins()
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from error
    import json  # noqa: PLC0415 - most calls have nothing to read

    try:
        document: dict[str, Any] = json.loads(raw)
        return Logins(
            str(document.get("current", "")),
            tuple(Login(**entry) for entry in document.get("servers", ())),
        )
    except (ValueError, TypeError, AttributeError) as error:
        raise CommandError(
            f"{path} is not valid: remove it and run `upwell login` again"
        ) from error


def write_logins(path: Path, logins: Logins) -> None:
    """Write the file, for the user alone; raises CommandError."""
    import json  # noqa: PLC0415 - as above

    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"{path.parent}: {error.strerror}") from error
    document = {"current": logins.current, "servers": [asdict(one) for one in logins.known]}
    save_private(path, json.dumps(document, indent=2) + "\n")
