"""Replay of the fix, step by step: see `upwell demo --help`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.archive import find_archive
from upwell.cli.demo.children import ChildProcesses
from upwell.cli.demo.load import Load, LoadConnection, LoadError, LoadStats
from upwell.cli.demo.observed import APPLICATIONS, CONFIGS, PRODUCTION, STAGES, Observed
from upwell.cli.demo.outcomes import ExpectedOutcome, FixInProduction, FixRejected
from upwell.cli.demo.ports import Ports
from upwell.cli.demo.preflight import ContainerSetup
from upwell.cli.demo.progress import (
    FixProgress,
    Publication,
    first_failed_build,
    is_ready,
    standing,
)
from upwell.cli.demo.report import changed_packages, test_log
from upwell.cli.demo.rootfs import Pair, RootFileSystems
from upwell.cli.demo.server import DemoServer, adapt_manifests
from upwell.cli.demo.source import find_example, make_repository, serve_repositories
from upwell.cli.demo.vendor import Vendor
from upwell.cli.demo.view import DemoView
from upwell.oci import Digest
from upwell.policy.explain.freshness import short
from upwell.policy.explain.package_changes import PackageChange

_FIRST_SECONDS = 300.0
_FIX_SECONDS = 300.0
_BEFORE_SECONDS = 3.0
"""Seconds of load before the fix is published, to see the old version under load."""
_AFTER_SECONDS = 3.0
"""Seconds of load after the end: late failures count."""
_TICK_SECONDS = 0.25
_POLL_SECONDS = 0.1
_ZONES = "usr/share/zoneinfo"
"""Folder that the broken base lacks."""
_SHORT_INTERVAL, _LONG_INTERVAL = (
    "upwell.dev/import-interval: 2s",
    "upwell.dev/import-interval: 30s",
)


@dataclass(frozen=True, slots=True)
class DemoSetup:
    """Setup of a replay: folders and variants."""

    folder: Path
    cache: Path
    """Cache of root file systems."""
    fresh: bool = False
    webhook: bool = False
    """True to import on the registry's webhook, and to poll every 30 s instead of every 2 s."""
    broken: bool = False
    """True for a fixed base that lacks something that `gate` needs."""

    @property
    def outcome(self) -> ExpectedOutcome:
        """Expected outcome."""
        return FixRejected() if self.broken else FixInProduction()


@dataclass(frozen=True, slots=True)
class DemoResult:
    """Result of a replay: the progress of the fix, and its contents."""

    progress: FixProgress
    packages: Sequence[PackageChange]
    refusal: Sequence[str]
    """Log lines of failed tests."""
    ports: Ports


class Replay:
    """Replay of the fix in a folder of its own; `tear_down` stops what it starts."""

    def __init__(self, setup: DemoSetup, machine: ContainerSetup, view: DemoView) -> None:
        folder = setup.folder
        self.ports = Ports.choose()
        self._setup = setup
        self._view = view
        self._children = ChildProcesses(folder)
        self._observed = Observed()
        self._load_stats: Mapping[str, LoadStats] = {
            name: LoadStats(f"{name}.localhost") for name in APPLICATIONS
        }
        self._progress: FixProgress | None = None
        self._server = DemoServer(folder, self.ports)
        self._vendor = Vendor(
            folder / "vendor", self.ports, machine.containers_conf, machine.storage_driver
        )

    async def run(self) -> DemoResult:
        """Run the replay to its end; raises CommandError if it cannot continue."""
        example = find_example()
        for usual, port in self.ports.moved().items():
            self._view.say(f"{usual} is in use: using {port} instead")
        pair, name = await self._prepare(example)
        old = await self._vendor.publish(name)
        self._view.say(f"the vendor publishes {self._vendor.image}: {short(str(old))}")
        async with (
            self._server.client() as client,
            self._observed.following(client),
            self._ticking(),
            asyncio.TaskGroup() as group,
        ):
            without = _ZONES if self._setup.broken else ""
            fixed = group.create_task(self._vendor.prepare(pair.new, without))
            await self._apply(example)
            await self._until_answering()
            progress = await self._fix(pair, old, await fixed)
            packages = await changed_packages(client, progress)
            return DemoResult(progress, packages, await test_log(client, progress), self.ports)

    async def _prepare(self, example: Path) -> tuple[Pair, str]:
        """Start all services, and make the first image meanwhile."""
        async with asyncio.TaskGroup() as group:
            first = group.create_task(self._make_first())
            group.create_task(self._start(example))
        return first.result()

    async def _make_first(self) -> tuple[Pair, str]:
        setup, say = self._setup, self._view.say
        work = setup.folder / "tmp"
        roots = RootFileSystems(await find_archive(), setup.cache, work, setup.fresh)
        pair = await roots.pair(say)
        for root in (pair.old, pair.new):
            say(f"root file system of {root.title}: glibc {root.glibc}")
        return pair, await self._vendor.prepare(pair.old)

    async def _start(self, example: Path) -> None:
        folder = self._setup.folder
        webhook_url = f"{self.ports.server}/webhooks/registry" if self._setup.webhook else ""
        await self._vendor.start(self._children, webhook_url=webhook_url)
        await make_repository(example / "source", folder / "git")
        await serve_repositories(self._children, folder / "git", self.ports.git)
        await self._server.start(self._children)
        self._view.say(f"upwell serve listens on {self.ports.server}")

    async def _apply(self, example: Path) -> None:
        changes = {
            **self.ports.moved(),
            **({_SHORT_INTERVAL: _LONG_INTERVAL} if self._setup.webhook else {}),
        }
        for old, new in changes.items():
            self._view.say(f"manifests: {old!r} becomes {new!r} here")
        manifests = self._setup.folder / "manifests"
        adapt_manifests(example / "manifests", manifests, changes)
        self._view.say("upwell apply -f examples/glibc/manifests")
        applied = await self._server.apply(manifests)
        for stage in STAGES:
            self._view.say(f"upwell process examples/glibc/stage.yaml -p STAGE={stage} … | apply")
            domain = "localhost" if stage == PRODUCTION else f"{stage}.localhost"
            replicas = 2 if stage == PRODUCTION else 1
            values = {"STAGE": stage, "DOMAIN": domain, "REPLICAS": str(replicas)}
            applied += await self._server.apply_template(
                example / "stage.yaml", values, manifests / f"{stage}.yaml"
            )
        for line in applied.splitlines():
            self._view.say(f"  {line}")

    async def _until_answering(self) -> None:
        """Wait until both applications are in production, and answer requests."""
        self._view.say("waiting for the first builds, rollouts and tests, stage by stage")
        try:
            async with asyncio.timeout(_FIRST_SECONDS), asyncio.TaskGroup() as group:
                for stats in self._load_stats.values():
                    group.create_task(self._first_answer(stats))
        except TimeoutError as error:
            why = first_failed_build(self._observed) or standing(self._observed)
            message = f"the applications do not answer after {_FIRST_SECONDS:g} s: {why}"
            raise CommandError(message) from error
        await self._observed.until(
            lambda: is_ready(self._observed),
            _FIRST_SECONDS,
            "not all stages are rolled out and tested",
        )

    async def _first_answer(self, stats: LoadStats) -> None:
        connection = LoadConnection(self.ports.router, stats.host)
        while True:
            if why := first_failed_build(self._observed):
                raise CommandError(why)
            with suppress(LoadError):
                version = await connection.ask(keep=False)
                self._view.say(f"http://{stats.host} answers with glibc {version}")
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _fix(self, pair: Pair, old: Digest, name: str) -> FixProgress:
        """Publish the fix under load, and wait for the outcome."""
        load = Load(self.ports.router)
        self._view.say(f"load: {load.per_second:g} requests a second to each application")
        async with load.running(list(self._load_stats.values())):
            await asyncio.sleep(_BEFORE_SECONDS)
            before = frozenset(
                build.name for config in CONFIGS for build in self._observed.builds(config)
            )
            new = await self._vendor.publish(name)
            fix = Publication(
                self._vendor.published_at(), old, new, pair.old.glibc, pair.new.glibc, before
            )
            self._progress = progress = FixProgress(fix, self._observed, self._load_stats)
            what = f"the fix, without /{_ZONES}" if self._setup.broken else "the fix"
            self._view.say(
                f"the vendor publishes {what}: {short(str(new))}; no manual step follows"
            )
            await self._until_over(progress)
            await asyncio.sleep(_AFTER_SECONDS)
        return progress

    async def _until_over(self, progress: FixProgress) -> None:
        """Wait for the outcome; after the time limit, the claims show what is missing."""
        outcome = self._setup.outcome
        try:
            await self._observed.until(
                lambda: outcome.is_complete(progress) or bool(outcome.failure(progress)),
                _FIX_SECONDS,
                "the demo has not reached its outcome",
            )
        except CommandError as error:
            self._view.say(error.message)
        if why := outcome.failure(progress):
            self._view.say(why)

    @asynccontextmanager
    async def _ticking(self) -> AsyncIterator[None]:
        """Refresh the view during the block, and raise if a process has ended."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._tick())
            try:
                yield
            finally:
                task.cancel()

    async def _tick(self) -> None:
        while True:
            self._children.check()
            self._view.refresh(self._observed, self._load_stats, self._progress)
            await self._observed.touch()  # responses are no objects: waiters must check again
            await asyncio.sleep(_TICK_SECONDS)
