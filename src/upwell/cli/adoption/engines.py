"""Container engines of this machine, by their own programs: what runs, and stop and start of it."""

import asyncio
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo
from upwell.formats.compose.inspected import InspectedContainer, read_container
from upwell.formats.compose.run_units import container_units
from upwell.machine.process import run_command

PODMAN = "podman"
PROGRAMS = (PODMAN, "docker")
_SECONDS = 60.0
_STOP_SECONDS = 180.0
COPY_SECONDS = 3600.0
OWN_LABEL = "upwell.dev/instance"
"""Label of containers that an Upwell runs: they are nobody's to adopt."""
MAX_CONTAINERS = 500
_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class OldContainer:
    """Facts by which an engine stops a container, and starts it again."""

    name: str
    unit: str = ""
    """systemd unit that runs it."""
    restart: str = ""
    """Restart policy of the engine."""
    runs: bool = True
    """False: its unit is declared, and does not run."""

    @classmethod
    def of(cls, found: InspectedContainer) -> "OldContainer":
        """Return what there is to know of one that was found."""
        return cls(found.name, found.unit, found.restart, found.runs)


@dataclass(frozen=True, slots=True)
class Engine:
    """One engine, by the name of its program."""

    program: str

    async def containers(self) -> list[InspectedContainer]:
        """Return the running containers that no Upwell runs; raises CommandError."""
        listed = await self._output("ps", "--quiet", "--no-trunc")
        ids = [line for line in listed.split() if _ID.fullmatch(line)]
        if not ids:
            return []
        if len(ids) > MAX_CONTAINERS:
            raise CommandError(f"{self.program} runs more than {MAX_CONTAINERS} containers")
        inspected = [one for one in await self._inspect("container", ids) if not _is_ours(one)]
        if not inspected:
            return []
        images = sorted({str(one.get("Image") or "") for one in inspected})
        found = await asyncio.gather(*(self._image(image) for image in images))
        by_id = dict(zip(images, found, strict=True))
        units = await _units()
        return [
            read_container(
                one,
                by_id[str(one.get("Image") or "")],
                units.get((self.program, str(one.get("Name") or "").lstrip("/")), ""),
            )
            for one in inspected
        ]

    async def stop(self, container: OldContainer) -> None:
        """Stop a container, which after a reboot may start again; raises CommandError."""
        if container.unit:
            await self._run("systemctl", "stop", container.unit)
        else:
            await self._run(self.program, "stop", container.name)

    async def retire(self, container: OldContainer) -> None:
        """Keep a container that was stopped from starting by itself; raises CommandError."""
        if container.unit:
            # What a generator made (a Quadlet) cannot be disabled, and what is a file not masked.
            masked = await run_command("systemctl", "mask", container.unit)
            if masked.code:
                await self._run("systemctl", "disable", container.unit)
        elif container.restart not in {"", "no"}:
            # An engine that cannot change it (Podman before 5) starts what was stopped no more.
            await run_command(self.program, "update", "--restart=no", container.name)

    async def start(self, container: OldContainer) -> None:
        """Start a container again that was stopped, if it ran; raises CommandError."""
        if not container.unit:
            await self._run(self.program, "start", container.name)
        elif container.runs:
            await self._run("systemctl", "start", container.unit)

    async def _image(self, image: str) -> Mapping[str, Any]:
        """Return what an image is; nothing for one that was removed."""
        done = await run_command(
            self.program, "image", "inspect", image, seconds=_SECONDS, whole=True
        )
        return _json(done.output)[0] if done.code == 0 else {}

    async def _inspect(self, kind: str, names: Sequence[str]) -> list[Mapping[str, Any]]:
        return _json(await self._output(kind, "inspect", *names))

    async def _output(self, *arguments: str) -> str:
        done = await run_command(self.program, *arguments, seconds=_SECONDS, whole=True)
        if done.code:
            raise CommandError(f"{self.program} {arguments[0]} failed: {done.last_line}")
        return done.output

    async def _run(self, *argv: str) -> None:
        done = await run_command(*argv, seconds=_STOP_SECONDS)
        if done.code:
            raise CommandError(f"{' '.join(argv)} failed: {done.last_line}")


async def engines() -> list[Engine]:
    """Return the engines that answer on this machine; a note says which of them does not, and why.

    What runs in that one is not seen: it is no evidence that nothing runs.
    """
    present = [one for one in PROGRAMS if shutil.which(one)]
    answers = await asyncio.gather(*(run_command(one, "ps", "--quiet") for one in present))
    answering: list[Engine] = []
    for program, done in zip(present, answers, strict=True):
        if done.code == 0:
            answering.append(Engine(program))
        else:
            why = done.last_line or "no answer"
            echo(f"note: what runs in {program} is not seen: `{program} ps`: {why}", err=True)
    return answering


async def _units() -> Mapping[tuple[str, str], str]:
    """Return the units that run containers by a command; none where there is no systemd."""
    if shutil.which("systemctl") is None:
        return {}
    done = await run_command(
        *("systemctl", "show", "--property=Id,ExecStart", "*.service"),
        seconds=_SECONDS,
        whole=True,
    )
    return container_units(done.output) if done.code == 0 else {}


async def copy_volume(source: str, folder: str) -> None:
    """Copy the files of a volume with their owners and modes; raises CommandError."""
    done = await run_command(
        "cp", "-a", "--reflink=auto", "--", f"{source}/.", folder, seconds=COPY_SECONDS
    )
    if done.code:
        raise CommandError(f"cannot copy {source} to {folder}: {done.last_line}")


def _json(text: str) -> list[Mapping[str, Any]]:
    """Return the objects of an inspection, around which an engine may have printed warnings."""
    lines = text.splitlines()
    try:
        end = len(lines) - lines[::-1].index("]")
        found = json.loads("\n".join(lines[lines.index("[") : end]))
    except ValueError as error:
        raise CommandError(f"the engine printed no JSON: {error}") from error
    return [one for one in found if isinstance(one, dict)]


def _is_ours(inspected: Mapping[str, Any]) -> bool:
    labels = (inspected.get("Config") or {}).get("Labels") or {}
    return OWN_LABEL in labels
