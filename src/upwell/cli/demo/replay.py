"""The story, step by step: see `upwell demo --help`."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.archive import find_archive
from upwell.cli.demo.children import Children
from upwell.cli.demo.endings import DemoEnding, FixInProduction, FixRefused
from upwell.cli.demo.facts import Publication, Story, broken_before, is_ready
from upwell.cli.demo.load import Load, LoadConnection, LoadError, LoadStats
from upwell.cli.demo.observed import APPLICATIONS, CONFIGS, PRODUCTION, STAGES, Observed
from upwell.cli.demo.ports import Ports
from upwell.cli.demo.preflight import ContainerSetup
from upwell.cli.demo.report import changed_packages, test_log
from upwell.cli.demo.rootfs import Pair, RootFileSystems
from upwell.cli.demo.server import DemoServer, adapt_manifests
from upwell.cli.demo.source import find_example, make_repository, serve_repositories
from upwell.cli.demo.vendor import Vendor
from upwell.cli.demo.view import DemoView
from upwell.oci import Digest
from upwell.policy.explain.changes import PackageChange
from upwell.policy.explain.freshness import short

_FIRST_SECONDS = 300.0
_FIX_SECONDS = 300.0
_BEFORE_SECONDS = 3.0
"""Of load before the fix is published, so that the old version is seen under load."""
_AFTER_SECONDS = 3.0
"""Of load after all is done: late failures count."""
_TICK_SECONDS = 0.25
_POLL_SECONDS = 0.1
_ZONES = "usr/share/zoneinfo"
"""What the broken base lacks."""
_POLLED, _SELDOM = "upwell.dev/import-interval: 2s", "upwell.dev/import-interval: 30s"


@dataclass(frozen=True, slots=True)
class Setting:
    """Where and how the story is played."""

    folder: Path
    cache: Path
    """Of root file systems."""
    fresh: bool = False
    webhook: bool = False
    """Whether the vendor's registry tells of the push, and Upwell looks every 30 s, not every 2."""
    broken: bool = False
    """Whether the fixed base lacks something that `gate` needs."""

    @property
    def ending(self) -> DemoEnding:
        """How the story has to end."""
        return FixRefused() if self.broken else FixInProduction()


@dataclass(frozen=True, slots=True)
class Played:
    """The whole story, and what the fix was made of."""

    story: Story
    packages: Sequence[PackageChange]
    refusal: Sequence[str]
    """What a test said that failed."""
    ports: Ports


class Replay:
    """Plays the story once in a folder of its own; what it starts, `tear_down` stops."""

    def __init__(self, setting: Setting, machine: ContainerSetup, view: DemoView) -> None:
        folder = setting.folder
        self.ports = Ports.choose()
        self._setting = setting
        self._view = view
        self._children = Children(folder)
        self._observed = Observed()
        self._tallies: Mapping[str, LoadStats] = {
            name: LoadStats(f"{name}.localhost") for name in APPLICATIONS
        }
        self._story: Story | None = None
        self._server = DemoServer(folder, self.ports)
        self._vendor = Vendor(
            folder / "vendor", self.ports, machine.containers_conf, machine.storage_driver
        )

    async def run(self) -> Played:
        """Play it to its end; raises CommandError when it cannot go on."""
        example = find_example()
        for usual, port in self.ports.moved().items():
            self._view.say(f"{usual} is taken: {port} is used instead")
        pair, name = await self._prepare(example)
        old = await self._vendor.publish(name)
        self._view.say(f"the vendor publishes {self._vendor.image}: {short(str(old))}")
        async with (
            self._server.client() as client,
            self._observed.following(client),
            self._ticking(),
            asyncio.TaskGroup() as group,
        ):
            without = _ZONES if self._setting.broken else ""
            fixed = group.create_task(self._vendor.prepare(pair.new, without))
            await self._apply(example)
            await self._until_answering()
            story = await self._fix(pair, old, await fixed)
            packages = await changed_packages(client, story)
            return Played(story, packages, await test_log(client, story), self.ports)

    async def _prepare(self, example: Path) -> tuple[Pair, str]:
        """Start all services, and make the first image while they start."""
        async with asyncio.TaskGroup() as group:
            first = group.create_task(self._make_first())
            group.create_task(self._start(example))
        return first.result()

    async def _make_first(self) -> tuple[Pair, str]:
        setting, say = self._setting, self._view.say
        work = setting.folder / "tmp"
        roots = RootFileSystems(await find_archive(), setting.cache, work, setting.fresh)
        pair = await roots.pair(say)
        for root in (pair.old, pair.new):
            say(f"root file system of {root.title}: glibc {root.glibc}")
        return pair, await self._vendor.prepare(pair.old)

    async def _start(self, example: Path) -> None:
        folder = self._setting.folder
        tell = f"{self.ports.server}/webhooks/registry" if self._setting.webhook else ""
        await self._vendor.start(self._children, tell=tell)
        await make_repository(example / "source", folder / "git")
        await serve_repositories(self._children, folder / "git", self.ports.git)
        await self._server.start(self._children)
        self._view.say(f"upwell serve listens on {self.ports.server}")

    async def _apply(self, example: Path) -> None:
        changes = {**self.ports.moved(), **({_POLLED: _SELDOM} if self._setting.webhook else {})}
        for old, new in changes.items():
            self._view.say(f"manifests: {old!r} becomes {new!r} here")
        manifests = self._setting.folder / "manifests"
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
        """Wait until both applications are in production, and answer from outside."""
        self._view.say("waiting for the first builds, rollouts and tests, stage by stage")
        try:
            async with asyncio.timeout(_FIRST_SECONDS), asyncio.TaskGroup() as group:
                for tally in self._tallies.values():
                    group.create_task(self._first_answer(tally))
        except TimeoutError as error:
            why = broken_before(self._observed) or "`upwell demo --keep` keeps all to look at"
            message = f"the applications do not answer after {_FIRST_SECONDS:g} s: {why}"
            raise CommandError(message) from error
        await self._observed.until(
            lambda: is_ready(self._observed),
            _FIRST_SECONDS,
            "not every stage is rolled out and tested",
        )

    async def _first_answer(self, tally: LoadStats) -> None:
        connection = LoadConnection(self.ports.router, tally.host)
        while True:
            if why := broken_before(self._observed):
                raise CommandError(why)
            with suppress(LoadError):
                version = await connection.ask(keep=False)
                self._view.say(f"http://{tally.host} answers with glibc {version}")
                return
            await asyncio.sleep(_POLL_SECONDS)

    async def _fix(self, pair: Pair, old: Digest, name: str) -> Story:
        """Publish the fix under load, and watch what Upwell does about it."""
        load = Load(self.ports.router)
        self._view.say(f"load: {load.per_second:g} requests a second to each application")
        async with load.running(list(self._tallies.values())):
            await asyncio.sleep(_BEFORE_SECONDS)
            before = frozenset(
                build.name for config in CONFIGS for build in self._observed.builds(config)
            )
            new = await self._vendor.publish(name)
            fix = Publication(
                self._vendor.published_at(), old, new, pair.old.glibc, pair.new.glibc, before
            )
            self._story = story = Story(fix, self._observed, self._tallies)
            what = f"the fix, without /{_ZONES}" if self._setting.broken else "the fix"
            self._view.say(
                f"the vendor publishes {what}: {short(str(new))}; nobody touches anything now"
            )
            await self._until_over(story)
            await asyncio.sleep(_AFTER_SECONDS)
        return story

    async def _until_over(self, story: Story) -> None:
        """Wait for the end; what is missing then, the claims say."""
        ending = self._setting.ending
        try:
            await self._observed.until(
                lambda: ending.is_over(story) or bool(ending.broken(story)),
                _FIX_SECONDS,
                "the story has not come to its end",
            )
        except CommandError as error:
            self._view.say(error.message)
        if why := ending.broken(story):
            self._view.say(why)

    @asynccontextmanager
    async def _ticking(self) -> AsyncIterator[None]:
        """Keep the view up to date, and notice when a process has ended."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._tick())
            try:
                yield
            finally:
                task.cancel()

    async def _tick(self) -> None:
        while True:
            self._children.check()
            self._view.refresh(self._observed, self._tallies, self._story)
            await self._observed.touch()  # answers are no objects: who waits must look again
            await asyncio.sleep(_TICK_SECONDS)
