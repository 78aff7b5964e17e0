"""Replay of the fix on a cluster, step by step: see `upwell demo --help`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.image import ImageStream
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.demo.archive import find_archive
from upwell.cli.demo.children import ChildProcesses
from upwell.cli.demo.cluster import NAMESPACE, DemoCluster
from upwell.cli.demo.outcomes import DemoClaim, stages_claim
from upwell.cli.demo.ports import HOST, Ports
from upwell.cli.demo.preflight import ContainerSetup
from upwell.cli.demo.rootfs import Pair, RootFileSystems
from upwell.cli.demo.server import DemoServer, adapt_manifests, data_dir
from upwell.cli.demo.source import find_example, make_repository, serve_repositories
from upwell.cli.demo.vendor import Vendor
from upwell.cli.demo.view import DemoView
from upwell.oci import Digest
from upwell.policy.builds.run_policy import number_of
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import output_digest, short
from upwell.store.interface import ApiClient, Selector

APPLICATION = "gate"
STAGES = ("dev", "production")
_PORT = 8080
"""Port at which the application answers."""
_SECONDS = 300.0
_POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class SeenPromotions:
    """Builds and promotions at one moment."""

    builds: Sequence[Build]
    releases: Sequence[Release]
    promotions: Sequence[Promotion]

    def release_of(self, digest: str) -> Release | None:
        """Return the Release of an image."""
        for one in self.releases:
            if any(digest_of(part.image) == digest for part in one.spec.components):
                return one
        return None

    def promotion(self, release: str, stage: str) -> Promotion | None:
        """Return the newest promotion of a Release into a stage."""
        wanted = (release, stage)
        found = [one for one in self.promotions if (one.spec.release, one.spec.stage) == wanted]
        return max(found, key=lambda one: (len(one.name), one.name), default=None)

    def fault(self) -> str:
        """Say what has failed for good; empty: nothing has."""
        for build in self.builds:
            status = build.status
            if status.phase.is_terminal and status.phase is not BuildPhase.COMPLETE:
                return f"build {build.name} {status.phase}: {status.message}"
        for one in self.promotions:
            phase = one.status.phase
            if phase.is_final and phase is not PromotionPhase.SUCCEEDED:
                return f"{one.name} {phase}: {one.status.message}"
        return ""


class ClusterReplay:
    """Replay of the fix on a cluster, whose own controllers roll out and test.

    `tear_down` stops what it starts, and removes what it makes there.
    """

    def __init__(
        self,
        folder: Path,
        cache: Path,
        cluster: DemoCluster,
        machine: ContainerSetup,
        view: DemoView,
    ) -> None:
        self._folder = folder
        self._cache = cache
        self._cluster = cluster
        self._view = view
        self._ports = Ports.choose()
        self._children = ChildProcesses(folder)
        self._server = DemoServer(folder, self._ports)
        self._vendor = Vendor(
            folder / "vendor", self._ports, machine.containers_conf, machine.storage_driver
        )
        self._said: set[str] = set()

    async def run(self) -> Sequence[DemoClaim]:
        """Run the replay to its end and return the claims; raises CommandError if it cannot."""
        example = find_example()
        roots = RootFileSystems(await find_archive(), self._cache, self._folder / "tmp")
        async with asyncio.TaskGroup() as group:
            making = group.create_task(self._first_image(roots))
            group.create_task(self._start(example))
        pair, name = making.result()
        old = await self._vendor.publish(name)
        self._view.say(f"the vendor publishes {self._vendor.image}: {short(str(old))}")
        async with self._server.client() as client, self._checking():
            fixing = asyncio.create_task(self._vendor.prepare(pair.new))
            await self._apply(example)
            first = await self._until_in_production(client, frozenset())
            before = frozenset(one.name for one in first.builds)
            await self._say_versions()
            new = await self._vendor.publish(await fixing)
            self._view.say(
                f"the vendor publishes the fix: {short(str(new))}; no manual step follows"
            )
            seen = await self._until_in_production(client, before)
            return await self._claims(client, seen, before, pair, new)

    async def _first_image(self, roots: RootFileSystems) -> tuple[Pair, str]:
        pair = await roots.pair(self._view.say)
        for root in (pair.old, pair.new):
            self._view.say(f"root file system of {root.title}: glibc {root.glibc}")
        return pair, await self._vendor.prepare(pair.old)

    async def _start(self, example: Path) -> None:
        await self._vendor.start(self._children)
        await make_repository(example / "source", self._folder / "git")
        await serve_repositories(self._children, self._folder / "git", self._ports.git)
        await self._cluster.claim(self._folder)
        self._view.say(f"the cluster has Upwell's kinds, and namespace {NAMESPACE}")
        settings = self._folder / "upwell.toml"
        settings.write_text(
            f'[kubernetes]\nnamespaces = ["{NAMESPACE}"]\nlease-namespace = "{NAMESPACE}"\n'
            # Nodes pull from there without a login.
            f'[external-registry]\nprefix = "{self._ports.vendor_host}/upwell"\n'
            f'[[registry]]\nprefix = "{self._ports.vendor_host}"\ninsecure = true\n'
        )
        await self._server.start_on(
            self._children,
            *("--on", "kubernetes", "--kubeconfig", self._cluster.kubeconfig),
            *("--config", settings, "--data-dir", data_dir(self._folder)),
            *("--listen", f"{HOST}:{self._ports.api}"),
        )
        self._view.say(f"upwell serve --on kubernetes listens on {self._ports.server}")

    async def _apply(self, example: Path) -> None:
        manifests = self._folder / "manifests"
        adapt_manifests(example / "kubernetes", manifests, self._ports.moved())
        self._view.say("kubectl apply -f examples/glibc/kubernetes")
        applied = await self._cluster.kubectl("-n", NAMESPACE, "apply", "-f", manifests)
        for line in applied.splitlines():
            self._view.say(f"  {line}")

    async def _until_in_production(
        self, client: ApiClient, before: frozenset[str]
    ) -> SeenPromotions:
        """Wait until what was built besides the builds `before` is verified in production."""

        def is_there(seen: SeenPromotions) -> bool:
            newest = _newest(seen, before)
            release = None if newest is None else seen.release_of(output_digest(newest))
            last = None if release is None else seen.promotion(release.name, STAGES[-1])
            return last is not None and last.status.phase is PromotionPhase.SUCCEEDED

        return await self._until(client, is_there)

    async def _until(
        self, client: ApiClient, reached: Callable[[SeenPromotions], bool]
    ) -> SeenPromotions:
        try:
            async with asyncio.timeout(_SECONDS):
                while not reached(seen := await self._look(client)):
                    if why := seen.fault():
                        raise CommandError(why)
                    await asyncio.sleep(_POLL_SECONDS)
        except TimeoutError as error:
            message = f"the image is not in production after {_SECONDS:g} s"
            raise CommandError(message, Exit.TIMEOUT) from error
        return seen

    async def _look(self, client: ApiClient) -> SeenPromotions:
        near = Selector(NAMESPACE)
        seen = SeenPromotions(
            (await client.list(Build, near)).items,
            (await client.list(Release, near)).items,
            (await client.list(Promotion, near)).items,
        )
        for build in seen.builds:
            self._say_once(f"build {build.name} {build.status.phase}")
        for one in seen.promotions:
            self._say_once(f"promotion {one.name} {one.status.phase}")
        return seen

    def _say_once(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._view.say(line)

    async def _say_versions(self) -> None:
        for stage in STAGES:
            answers = await self._cluster.answers(f"{APPLICATION}-{stage}", _PORT)
            versions = {str(one.get("glibc")) for one in answers}
            self._view.say(f"{APPLICATION}-{stage} answers with glibc {', '.join(versions)}")

    async def _claims(
        self,
        client: ApiClient,
        seen: SeenPromotions,
        before: frozenset[str],
        pair: Pair,
        new: Digest,
    ) -> Sequence[DemoClaim]:
        """Check the claims, those about what runs from outside: by kubectl alone."""
        stream = await client.get(ImageStream, NAMESPACE, "debian")
        tag = stream.status.tag("11")
        base = tag.latest.image if tag is not None and tag.latest is not None else "nothing"
        built = [one for one in seen.builds if one.name not in before]
        digest = output_digest(built[0]) if built else ""
        release = seen.release_of(digest)
        made = release.name if release is not None else ""
        claims = [
            DemoClaim(f"debian:11 is {short(str(new))}", base == str(new), f"it is {base}"),
            DemoClaim(
                f"{APPLICATION} was built exactly once more",
                [one.status.phase for one in built] == [BuildPhase.COMPLETE],
                ", ".join(f"{one.name} {one.status.phase}" for one in built),
            ),
            stages_claim(APPLICATION, STAGES, partial(seen.promotion, made)),
        ]
        for stage in STAGES:
            name = f"{APPLICATION}-{stage}"
            images = await self._cluster.running_images(name)
            runs = bool(images) and all(one == (digest, True) for one in images)
            shown = ", ".join(short(one) for one, _ in images) or "nothing"
            claims.append(DemoClaim(f"the cluster runs that image alone in {stage}", runs, shown))
            answers = await self._cluster.answers(name, _PORT)
            versions = [str(one.get("glibc")) for one in answers]
            text = f"{name} went from glibc {pair.old.glibc} to {pair.new.glibc}"
            claims.append(DemoClaim(text, {*versions} == {pair.new.glibc}, ", ".join(versions)))
        return claims

    @asynccontextmanager
    async def _checking(self) -> AsyncIterator[None]:
        """Raise during the block if a process has ended."""
        async with asyncio.TaskGroup() as group:
            task = group.create_task(self._check())
            try:
                yield
            finally:
                task.cancel()

    async def _check(self) -> None:
        while True:
            self._children.check()
            await asyncio.sleep(_POLL_SECONDS)


def _newest(seen: SeenPromotions, before: frozenset[str]) -> Build | None:
    found = [one for one in seen.builds if one.name not in before]
    newest = max(found, key=number_of, default=None)
    return newest if newest is not None and output_digest(newest) else None
