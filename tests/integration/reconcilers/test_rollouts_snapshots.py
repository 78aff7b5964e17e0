"""A database whose new version spoils its files and dies: the version before has them as they were.

Containers are played; what is copied before the update and put back after it are real files.
"""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
from tests.support.rollouts.memory_machine import (
    BETTER,
    CRASHING,
    GOOD,
    HANGING,
    FakeRuntime,
    RolloutSetup,
)
from tests.support.store.mortal_store import KilledError
from tests.unit.reconcilers.rollouts.test_rollouts_deployment import (
    KEY,
    change,
    database,
    stored,
)

from upwell.policy.rollouts.volumes.snapshots import SNAPSHOT_ANNOTATION
from upwell.workload.instance_spec import InstanceSpec
from upwell.workload.interface import State
from upwell.workload.podman.volumes.snapshots import settle_snapshots

KEPT, CONVERTED = "rows of the good version", "half converted"
SPOILING = {CRASHING, HANGING}


class DatabaseRuntime(FakeRuntime):
    """Databases on one claim: some begin to convert its files, the others need them whole."""

    def __init__(
        self, clock: Callable[[], datetime], before: Callable[[str], None], folder: Path
    ) -> None:
        super().__init__(clock, before)
        self._claims, self._snapshots = folder / "claims", folder / "snapshots"
        self._before = before
        self.rows = self._claims / "shop" / "pg" / "rows"
        self.rows.parent.mkdir(parents=True)
        self.rows.write_text(KEPT)

    async def start(self, spec: InstanceSpec) -> None:
        self._before(f"settle the files of {spec.name}")
        await settle_snapshots(spec, self._claims, self._snapshots)
        await super().start(spec)
        if str(spec.containers[0].image) in SPOILING:
            self.rows.write_text(CONVERTED)

    def turn(self) -> None:
        for name, (spec, instance) in list(self.running.items()):
            needs_them_whole = str(spec.containers[0].image) not in SPOILING
            if instance.state is State.RUNNING and needs_them_whole and self.text != KEPT:
                self.end(name, "the files are of another version")
        super().turn()

    @property
    def text(self) -> str:
        return self.rows.read_text()


class UpdatedDatabase:
    """A machine with a database that serves, and is updated."""

    def __init__(self, folder: Path, *, snapshots: bool = True) -> None:
        self.setup = RolloutSetup()
        self.runtime = DatabaseRuntime(self.setup.clock, self.setup._before, folder)
        self.setup.runtime = self.runtime
        self.setup.restart()
        self._annotations = {SNAPSHOT_ANNOTATION: "true"} if snapshots else {}

    async def update(self, image: str, *, kill_at: int = 0) -> None:
        """Serve the good version, then apply an image and wait for its end.

        With `kill_at`, the process is killed before that call of the update, and begins anew.
        """
        await self.setup.apply(database(GOOD).with_metadata(annotations=self._annotations))
        await self.setup.settle(KEY)
        self.setup.calls.clear()
        self.setup.kill_at = kill_at
        await change(self.setup, database(image))
        await self._settle()

    async def _settle(self) -> None:
        while True:
            try:
                return await self.setup.settle(KEY, limit=1800)
            except (KilledError, BaseExceptionGroup):  # a TaskGroup wraps what kills a task of it
                self.setup.restart()

    async def phases(self) -> list[str]:
        return [one.phase for one in (await stored(self.setup)).status.revisions]


@pytest.mark.parametrize("image", [CRASHING, HANGING])
async def test_the_version_before_serves_its_files_as_they_were(tmp_path: Path, image: str) -> None:
    updated = UpdatedDatabase(tmp_path)
    await updated.update(image)

    assert updated.runtime.images() == [GOOD]
    assert [one.ready for one in updated.runtime.observed()] == [True]
    assert updated.runtime.text == KEPT
    assert await updated.phases() == ["Failed", "Complete"]


async def test_without_snapshots_the_files_stay_as_the_new_version_left_them(
    tmp_path: Path,
) -> None:
    updated = UpdatedDatabase(tmp_path, snapshots=False)
    await updated.update(CRASHING)
    assert updated.runtime.text == CONVERTED


async def test_a_version_that_serves_keeps_the_files_that_it_has(tmp_path: Path) -> None:
    updated = UpdatedDatabase(tmp_path)
    await updated.update(BETTER)
    assert updated.runtime.images() == [BETTER]
    assert updated.runtime.text == KEPT


async def test_a_kill_before_any_call_takes_no_file(tmp_path: Path) -> None:
    undisturbed = UpdatedDatabase(tmp_path / "undisturbed")
    await undisturbed.update(CRASHING)
    for kill_at in range(1, len(undisturbed.setup.calls) + 1):
        updated = UpdatedDatabase(tmp_path / str(kill_at))
        await updated.update(CRASHING, kill_at=kill_at)
        assert updated.setup.kills == 1
        assert (updated.runtime.images(), updated.runtime.text) == ([GOOD], KEPT), kill_at
