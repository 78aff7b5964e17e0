"""Options of `upwell s2i build`, read and checked."""

import posixpath
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.builder.interface import HostVolume, InjectedFiles
from upwell.formats.s2i.contract import S2iError, parse_environment
from upwell.formats.s2i.recipe import artifact_mappings
from upwell.oci import InvalidReferenceError, Reference

_FORBIDDEN = re.compile(r"""[;*?"<>|%#$!+{}&\[\],'`:]""")
_MOUNT_OPTIONS = frozenset({"ro", "rw", "z", "Z", "U", "nosuid", "nodev", "noexec", "exec"})
_NETWORKS = {
    "": "private",
    "bridge": "private",
    "default": "private",
    "host": "host",
    "none": "none",
}
_MAX_ENVIRONMENT_BYTES = 1024 * 1024
_MAX_INJECTED_BYTES = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class S2iOptions:
    """Options of `build`, by click's names."""

    source: str
    builder: str
    tag: str
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        return self.values[name]

    def environment(self) -> dict[str, str]:
        """Return -e and -E; the file takes precedence, as in the reference."""
        found = dict(_variable(text) for text in self["env"])
        path: Path | None = self["environment_file"]
        if path is not None:
            text = _bounded(path, _MAX_ENVIRONMENT_BYTES).decode()
            lines = (line.strip() for line in text.splitlines())
            kept = "\n".join(line for line in lines if not line.startswith(("#", "//")))
            found |= dict(parse_environment(kept))
        return found

    def injections(self) -> tuple[InjectedFiles, ...]:
        """Read the files of -i; raises click.UsageError."""
        found = []
        for index, (origin, target) in enumerate(_pairs(self["inject"])):
            if _FORBIDDEN.search(target):
                raise click.UsageError(f"--inject: {target!r} has an invalid character")
            folder, renamed = _place(Path(origin), target)
            files = {
                renamed or name: _bounded(path, _MAX_INJECTED_BYTES)
                for name, path in _files(Path(origin))
            }
            found.append(InjectedFiles(f"injection-{index}", files, folder))
        return tuple(found)

    def volumes(self) -> tuple[HostVolume, ...]:
        """Return the mounts of -v, `SRC:DST[:OPTION,…]`; raises click.UsageError."""
        found = []
        for origin, rest in _pairs(self["volume"]):
            target, _, options = rest.partition(":")
            unknown = [one for one in options.split(",") if options and one not in _MOUNT_OPTIONS]
            if unknown or not target.startswith("/"):
                raise click.UsageError(
                    f"--volume: {origin}:{rest} is not SRC:DST[:OPTION,…] with an absolute DST and"
                    f" options of {', '.join(sorted(_MOUNT_OPTIONS))}"
                )
            wanted = tuple(options.split(",")) if options else ("rw",)
            found.append(HostVolume(Path(origin).absolute(), target, wanted))
        return tuple(found)

    def network(self) -> str:
        """Return the network of the build's commands; raises click.UsageError."""
        named: str = self["network"]
        if named not in _NETWORKS:
            raise click.UsageError(f"--network: {named!r} is not host, none or bridge")
        return _NETWORKS[named]

    def pull_policy(self, option: str) -> str:
        """Return the policy of an option, by the builder's name of it."""
        return pull_policy(self[option])

    def artifacts(self) -> tuple[tuple[str, str], ...]:
        """Return the mappings of --runtime-artifact; raises click.UsageError."""
        try:
            return artifact_mappings(";".join(self["runtime_artifact"]))
        except S2iError as error:
            raise click.UsageError(f"--runtime-artifact: {error}") from error


def pull_policy(text: str) -> str:
    """Return the builder's name of a pull policy."""
    return {"if-not-present": "missing"}.get(text, text)


def image(text: str, what: str) -> Reference:
    """Parse the name of an image; raises click.UsageError."""
    try:
        return Reference.parse(text)
    except InvalidReferenceError as error:
        raise click.UsageError(f"{what}: {error}") from error


def _variable(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name.strip():
        raise click.UsageError(f"--env: {name!r} is not NAME=VALUE")
    return name.strip(), value


def _pairs(values: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for value in ";".join(values).split(";"):
        if value.strip():
            origin, _, target = value.strip().partition(":")
            yield origin, target


def _place(origin: Path, target: str) -> tuple[str, str]:
    """Return the folder that gets the files, and the name of a single one that has a new name."""
    if not origin.is_file() or not target or target.endswith("/"):
        return target, ""
    return posixpath.split(target)


def _files(origin: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files below a folder, with links resolved, as the reference does."""
    if origin.is_file():
        yield origin.name, origin
    elif not origin.is_dir():
        raise click.UsageError(f"--inject: {str(origin)!r} does not exist")
    for path in sorted(origin.rglob("*")):
        if path.is_file():
            yield path.relative_to(origin).as_posix(), path


def _bounded(path: Path, limit: int) -> bytes:
    with path.open("rb") as file:
        content = file.read(limit + 1)
    if len(content) > limit:
        raise click.UsageError(f"{path}: larger than {limit} bytes")
    return content
