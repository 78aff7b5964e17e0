"""Root file systems of one Debian suite, before and after its security updates, kept in a cache."""

import asyncio
import hashlib
import json
import os
import re
import secrets
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.archive import Archive
from upwell.cli.demo.children import run

SUITES = ("bullseye", "bookworm", "trixie")
"""Suites in the order of trials, until a security archive has a newer glibc."""
_SECONDS = 600.0
_LIBC = re.compile(r"^Package: libc6\n(?:.+\n)*?Version: (\S+)$", re.MULTILINE)
_STATUS = "./var/lib/dpkg/status"
_LEFT_OUT = ("doc", "info", "lintian", "locale", "man")
"""Folders of /usr/share to leave out, as in Debian's slim images."""


@dataclass(frozen=True, slots=True)
class RootFileSystem:
    """Root file system as a tar file, with the version of its glibc package."""

    suite: str
    fixed: bool
    tar: Path
    glibc: str

    @property
    def title(self) -> str:
        """Suites that it is made from."""
        return f"{self.suite} with {self.suite}-security" if self.fixed else self.suite


@dataclass(frozen=True, slots=True)
class Pair:
    """Root file system before and after the fix."""

    old: RootFileSystem
    new: RootFileSystem


@dataclass(frozen=True, slots=True)
class RootFileSystems:
    """Builder of root file systems with mmdebstrap, with a cache."""

    archive: Archive
    cache: Path
    work: Path
    """Folder for mmdebstrap's temporary files."""
    fresh: bool = False
    """True to rebuild what is in the cache."""

    async def pair(self, say: Callable[[str], None]) -> Pair:
        """Return the first suite whose security archive has a newer glibc; raises CommandError."""
        reason = ""
        for suite in SUITES:
            try:
                pair = await self._make_both(suite, say)
            except CommandError as error:
                reason = f"{suite}: {error.message}"
            else:
                if pair.old.glibc != pair.new.glibc:
                    return pair
                reason = f"{suite}-security has no newer glibc than {suite}"
            say(f"{reason.splitlines()[0]}; trying the next suite")
        raise CommandError(f"no suite of {', '.join(SUITES)} has a newer glibc; {reason}")

    async def _make_both(self, suite: str, say: Callable[[str], None]) -> Pair:
        try:
            async with asyncio.TaskGroup() as group:
                old = group.create_task(self._make(suite, fixed=False, say=say))
                new = group.create_task(self._make(suite, fixed=True, say=say))
        except* CommandError as faults:
            raise _first(faults) from faults
        return Pair(old.result(), new.result())

    async def _make(self, suite: str, *, fixed: bool, say: Callable[[str], None]) -> RootFileSystem:
        tar = self.cache / f"{suite}{'-fixed' if fixed else ''}.tar"
        if not self.fresh and (known := await asyncio.to_thread(_load, tar)) is not None:
            return RootFileSystem(suite, fixed, tar, known)
        wanted = RootFileSystem(suite, fixed, tar, "")
        say(f"making a root file system from {wanted.title} with mmdebstrap")
        self.cache.mkdir(parents=True, exist_ok=True)
        draft = self.cache / f"{tar.stem}.{secrets.token_hex(4)}.tar"
        try:
            await self._debootstrap(suite, draft, fixed=fixed)
            glibc = await asyncio.to_thread(_store, draft, tar)
        finally:
            draft.unlink(missing_ok=True)
        return RootFileSystem(suite, fixed, tar, glibc)

    async def _debootstrap(self, suite: str, tar: Path, *, fixed: bool) -> None:
        self.work.mkdir(parents=True, exist_ok=True)
        self.work.chmod(0o755)  # apt's own user has to get through
        await run(
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            "--include=python3,tzdata",
            # A suite whose time is over has Release files whose time is over; they stay signed.
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{name}/*" for name in _LEFT_OUT),
            "--skip=output/dev",  # an image needs no device nodes, and not everyone may make them
            *(suite, tar),
            *self.archive.sources(suite, fixed=fixed),
            environment={"TMPDIR": str(self.work), "LC_ALL": "C"},
            seconds=_SECONDS,
        )


def default_cache() -> Path:
    """Return the folder of root file systems that are kept between demos."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "upwell" / "demo"


def _first(group: BaseExceptionGroup[CommandError]) -> CommandError:
    error = group.exceptions[0]
    return _first(error) if isinstance(error, BaseExceptionGroup) else error


def _load(tar: Path) -> str | None:
    """Return the glibc version of a cached file with the right hash; else None."""
    try:
        facts = json.loads(tar.with_suffix(".json").read_text())
        return str(facts["glibc"]) if facts["sha256"] == _hash(tar) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(draft: Path, tar: Path) -> str:
    """Move a finished file into the cache; the note that makes it valid comes last."""
    glibc = glibc_of(draft)
    note = tar.with_suffix(".json")
    note.unlink(missing_ok=True)
    facts = {"glibc": glibc, "sha256": _hash(draft)}
    draft.replace(tar)
    note_draft = note.with_suffix(f".{secrets.token_hex(4)}")
    note_draft.write_text(json.dumps(facts))
    note_draft.replace(note)
    return glibc


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def glibc_of(tar: Path) -> str:
    """Return the version of the package libc6 in a root file system; raises CommandError."""
    try:
        with tarfile.open(tar, "r:") as archive:
            status = archive.extractfile(_STATUS)
            text = status.read().decode(errors="replace") if status else ""
    except (tarfile.TarError, KeyError) as error:
        raise CommandError(f"{tar} is not a root file system of Debian: {error}") from error
    match = _LIBC.search(text)
    if match is None:
        raise CommandError(f"{tar}: the package libc6 is not installed")
    return match[1]
