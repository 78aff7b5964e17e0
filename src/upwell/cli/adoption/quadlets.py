"""Quadlets of this machine that do not run: found by their files."""

import os
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.formats.compose.inspected import InspectedContainer
from upwell.formats.compose.model import MountKind
from upwell.formats.compose.quadlets import SUFFIX, read_quadlet
from upwell.formats.compose.unit_file import UnitFileError
from upwell.machine.process import run_command

FOLDERS = (
    Path("/etc/containers/systemd"),
    Path("/usr/share/containers/systemd"),
    Path("~/.config/containers/systemd"),
)
UNITS = Path("/etc/systemd/system")
"""Place of the links by which systemctl(1) masks units."""
MAX_FILE_BYTES = 1024 * 1024
_SECONDS = 60.0


async def stopped_quadlets(running_units: Collection[str]) -> list[InspectedContainer]:
    """Return the containers whose files are there, and whose units do not run.

    Masked ones are left out: they are not to run, as what was taken over; so are templates, whose
    instances are found when they run. Raises CommandError.
    """
    found: dict[str, InspectedContainer] = {}
    for file in _files():
        name = f"{file.name.removesuffix(SUFFIX)}.service"
        link = UNITS / name
        masked = link.is_symlink() and link.readlink() == Path(os.devnull)
        if masked or name in running_units or name in found:
            continue
        try:
            one = read_quadlet(str(file), _texts(file), _read)
        except (OSError, UnicodeDecodeError, UnitFileError) as error:
            raise CommandError(f"cannot read {file}: {error}") from error
        found[name] = replace(one, volumes=await _volumes(one))
    return list(found.values())


def _files() -> Iterator[Path]:
    for folder in FOLDERS:
        place = folder.expanduser()
        if place.is_dir():
            yield from (one for one in sorted(place.rglob(f"*{SUFFIX}")) if "@" not in one.name)


def _texts(file: Path) -> Mapping[str, str]:
    """Return the text of a file and its drop-ins, by their paths."""
    drop_ins: Sequence[Path] = sorted(file.with_name(f"{file.name}.d").glob("*.conf"))
    return {str(one): _read(str(one)).decode() for one in (file, *drop_ins)}


def _read(path: str) -> bytes:
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(0, os.strerror(0), f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return content


async def _volumes(container: InspectedContainer) -> dict[str, str]:
    """Return the folders of its volumes; one that no container had yet has none."""
    found: dict[str, str] = {}
    for mount in container.service.mounts:
        if mount.kind is not MountKind.VOLUME or not mount.source:
            continue
        done = await run_command(
            *("podman", "volume", "inspect", "--format", "{{.Mountpoint}}", mount.source),
            seconds=_SECONDS,
            whole=True,
        )
        if done.code == 0 and (folder := done.output.strip()):
            found[mount.source] = folder
    return found
