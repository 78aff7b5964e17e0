"""File that the variable CONTAINERS_CONF names for the container programs of a shell."""

import tomllib
from pathlib import Path

from upwell.machine.checks import HostCheck, HostCheckStatus

_MAX_CONF_BYTES = 1024 * 1024


def check_containers_conf(path: str) -> HostCheck:
    """The file that CONTAINERS_CONF names is one; what it sets."""
    name = "CONTAINERS_CONF"
    try:
        with Path(path).open("rb") as file:
            tables = tomllib.loads(file.read(_MAX_CONF_BYTES).decode())
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else f"no TOML: {error}"
        remedy = f"unset {name}, or mend the file: Podman and Buildah in your shell do not start"
        return HostCheck(name, HostCheckStatus.WARN, f"{path}: {why}", remedy)
    keys = sorted(
        f"{table}.{key}"
        for table, body in tables.items()
        for key in (body if isinstance(body, dict) else ())
    )
    detail = (
        f"{path} sets {', '.join(keys) or 'nothing'} for Podman and Buildah in your shell, and for"
        " `upwell adopt`, in the place of the machine's own files; what the server starts has"
        " settings of its own"
    )
    return HostCheck(name, HostCheckStatus.OK, detail)
