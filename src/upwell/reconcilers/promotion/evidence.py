"""Keeps what shows how a test went: its log, its JUnit report, its artifacts, within limits."""

import asyncio
import io
import tarfile
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import PurePosixPath

from upwell.api.promotion import Evidence
from upwell.policy.promotion.verification.job_results import Findings
from upwell.policy.promotion.verification.junit import (
    PRINTED,
    InvalidReportError,
    Report,
    printed_reports,
)
from upwell.reconcilers.promotion.instances import StageInstances
from upwell.uploads.interface import BinaryInputs, InputError
from upwell.workers.interface import MIB, WorkerError, WorkerLimits
from upwell.workers.runner import run_worker
from upwell.workload.errors import UnreadableFilesError, WorkloadError
from upwell.workload.interface import ContainerFile, FileLimits

_REPORT_TASK = "upwell.reconcilers.promotion.report_reading"
_REPORT_LIMITS = WorkerLimits(memory_bytes=256 * MIB, cpu_seconds=60, wall_seconds=300)
_LINE_BYTES = 400
LOG_BYTES = 1024 * 1024
JUNIT_BYTES = 16 * 1024 * 1024
FILES_BYTES = 64 * 1024 * 1024
"""Of a test's report and artifacts together."""
_MAX_FILES = 2000
_LOG_SECONDS = 60


@dataclass(frozen=True, slots=True)
class Test:
    """A container that is or was a test."""

    instance: str
    container: str
    namespace: str
    """Namespace of the Promotion, whose evidence it leaves."""
    started_at: datetime | None = None
    """Time before which the test has written nothing."""

    def wrote(self, file: ContainerFile) -> bool:
        """Return True if a file may be this test's: a volume can hold one of another run."""
        # Archives have whole seconds.
        return self.started_at is None or file.modified >= int(self.started_at.timestamp())


class Collector:
    """Fetches and keeps the evidence of one attempt. What cannot be kept is said, not raised."""

    def __init__(self, instances: StageInstances, kept: BinaryInputs, test: Test) -> None:
        self._instances = instances
        self._kept = kept
        self._test = test
        self._left = FILES_BYTES
        self._log = b""
        self._is_log_whole = False
        self._evidence: list[Evidence] = []
        self.last_words = ""
        """The last line of the log."""
        self.notes: list[str] = []
        """Evidence that is missing, and why."""

    @property
    def evidence(self) -> tuple[Evidence, ...]:
        """Evidence that is kept so far."""
        return tuple(self._evidence)

    async def log(self) -> None:
        """Keep the end of the log."""
        last, size = bytearray(), 0
        is_read = False
        try:
            async with asyncio.timeout(_LOG_SECONDS):
                async for piece in self._instances.logs(self._test.instance, self._test.container):
                    size += len(piece)
                    last += piece
                    if len(last) > 2 * LOG_BYTES:  # rarely: pieces are small, and may be many
                        del last[:-LOG_BYTES]
                is_read = True
        except TimeoutError:
            self.notes.append(f"log: not read to its end within {_LOG_SECONDS} s")
        except WorkloadError as error:
            self.notes.append(f"log: {error}")
        del last[:-LOG_BYTES]
        self._log, self._is_log_whole = bytes(last), is_read and size == len(last)
        if size > len(last):
            self.notes.append(f"log: the last {len(last)} of {size} bytes are kept")
        if last:
            self.last_words = _last_line(last)
            await self._keep("log.txt", self._log)

    async def junit(self, path: str) -> Findings:
        """Keep and read a report: a file, all XML files below a folder, or those in the log.

        Raises a WorkloadError that may pass.
        """
        if path == PRINTED:
            return await self._printed()
        try:
            files = await self._read(path, JUNIT_BYTES)
        except WorkloadError as error:
            if error.retryable:
                raise
            return Findings(fault=f"the report cannot be read: {error}")
        found = [one for one in files if one.path.endswith(".xml") or len(files) == 1]
        reports = [one for one in found if self._test.wrote(one)]
        if not reports:
            old = f"the report in {path} is older than the test: it is of another run"
            return Findings(fault=old if found else f"there is no report in {path}")
        await self._keep_files("junit", reports)
        return await _findings(reports)

    async def _printed(self) -> Findings:
        if not self._is_log_whole:
            return Findings(fault="the report cannot be read: the log is not whole")
        try:
            reports = printed_reports(self._log)
        except InvalidReportError as error:
            return Findings(fault=f"the report cannot be read: {error}")
        if not reports:
            return Findings(fault="there is no report in the log")
        files = [
            ContainerFile(f"printed-{number}.xml", one) for number, one in enumerate(reports, 1)
        ]
        await self._keep_files("junit", files)
        return await _findings(files)

    async def artifact(self, path: str) -> None:
        """Keep a file, or a folder as an archive."""
        try:
            files = await self._read(path, self._left)
        except WorkloadError as error:
            self.notes.append(f"{path}: {error}")
            return
        await self._keep_files(f"artifacts/{path.strip('/')}", files)

    async def _read(self, path: str, limit: int) -> Sequence[ContainerFile]:
        limits = FileLimits(min(limit, self._left), _MAX_FILES)
        if not limits.content_bytes:
            raise UnreadableFilesError("no room is left for it")
        name, container = self._test.instance, self._test.container
        files = await self._instances.read_files(name, path, limits, container)
        self._left -= sum(len(one.content) for one in files)
        return files

    async def _keep_files(self, name: str, files: Sequence[ContainerFile]) -> None:
        if len(files) == 1:
            suffix = PurePosixPath(files[0].path).suffix
            plain = name if name.endswith(suffix) else f"{name}{suffix}"
            await self._keep(plain, files[0].content)
        elif files:
            await self._keep(f"{name}.tar", await asyncio.to_thread(_packed, files))

    async def _keep(self, name: str, content: bytes) -> None:
        try:
            self._evidence.append(await keep(self._kept, self._test.namespace, name, content))
        except InputError as error:
            self.notes.append(f"{name} is not kept: {error}")


def _last_line(log: bytes | bytearray) -> str:
    lines = bytes(log[-_LINE_BYTES:]).decode(errors="replace").split("\n")
    found = next((line for line in reversed(lines) if line.strip()), "")
    return "".join(letter for letter in found.strip() if letter.isprintable())


async def keep(kept: BinaryInputs, namespace: str, name: str, content: bytes) -> Evidence:
    """Keep content and return what names it; raises InputError.

    It counts for the namespace, whose quota does not limit it.
    """

    async def pieces() -> AsyncIterator[bytes]:
        yield content

    stored = await kept.save(pieces(), namespace, limited=False)
    return Evidence(name=name, digest=str(stored.digest), size=stored.size)


async def _findings(
    reports: Sequence[ContainerFile], limits: WorkerLimits = _REPORT_LIMITS
) -> Findings:
    """Return what reports say, which a worker reads; nothing that they hold fails us."""
    sizes = [len(file.content) for file in reports]
    try:
        with tempfile.TemporaryFile(prefix="upwell-reports-") as source:
            await asyncio.to_thread(source.writelines, [file.content for file in reports])
            await asyncio.to_thread(source.seek, 0)
            found = await run_worker(_REPORT_TASK, source, {"sizes": sizes}, limits)
    except (WorkerError, OSError) as error:
        return Findings(fault=f"the report cannot be read: {error}")
    if not isinstance(found, list) or len(found) != len(reports):
        return Findings(fault="the report cannot be read: its worker answered for others")
    total, fault = Report(), ""
    for file, said in zip(reports, found, strict=True):
        match said:
            case {
                "tests": int(tests),
                "failures": int(failures),
                "errors": int(errors),
                "skipped": int(skipped),
                "failed": list(failed),
            }:
                total += Report(tests, failures, errors, skipped, tuple(map(str, failed)))
            case {"fault": why}:
                fault = fault or f"{file.path}: {why}"
            case _:
                fault = fault or f"{file.path}: its worker answered what is no report"
    return Findings(total, fault)


def _packed(files: Sequence[ContainerFile]) -> bytes:
    """Return an archive that is the same for the same files."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for file in files:
            entry = tarfile.TarInfo(file.path)
            entry.size = len(file.content)
            tar.addfile(entry, io.BytesIO(file.content))
    return archive.getvalue()
