"""The machine's clock a day ahead and back: nothing fails or passes early, and it is said.

libfaketime sets the clock of the server alone; the time that passes stays true.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.faults.on_demand import on_demand
from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.promoted_installation import PromotedInstallation, manifests
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.cluster_operator import ClusterOperator
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.promotion import Promotion, PromotionPhase
from upwell.store.interface import ApiClient, NotFoundError

_LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))
_SERVER = """
import os, runpy, sys
del os.environ["LD_PRELOAD"]  # so that what it starts has the true time
sys.argv[0] = "upwell"
runpy.run_module("upwell", run_name="__main__", alter_sys=True)
"""
_SOAK = 15
SLOW = """\
FROM base:1
RUN sleep 8; mkdir -p /www && cp /etc/base-version /www/index.html
CMD ["serve"]
"""


class SetClock:
    """The clock of an installation's server."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "clock"
        self.turn("+0")

    def turn(self, offset: str) -> None:
        draft = self._file.with_suffix(".new")
        draft.write_text(f"{offset}\n")
        draft.replace(self._file)

    def program(self) -> tuple[str, ...]:
        return (
            "env",
            f"LD_PRELOAD={_LIBRARIES[0]}",
            f"FAKETIME_TIMESTAMP_FILE={self._file}",
            "FAKETIME_CACHE_DURATION=1",  # not read anew for every look at the clock
            "FAKETIME_DONT_FAKE_MONOTONIC=1",
            *(sys.executable, "-c", _SERVER),
        )


@asynccontextmanager
async def with_clock() -> AsyncIterator[tuple[Installation, SetClock]]:
    clocks: list[SetClock] = []

    def prepare(made: Installation) -> None:
        clocks.append(SetClock(made.folder))
        made.program = clocks[0].program()

    async with installation(prepare=prepare) as made:
        yield made, clocks[0]


async def clock_message(client: ApiClient) -> str:
    """Return what is said of the clock; empty while nothing is wrong."""
    try:
        conditions = (await client.get(ClusterOperator, "", "clock")).status.conditions
    except NotFoundError:
        return ""
    found = find(conditions, "Degraded")
    return found.message if found is not None and found.status == "True" else ""


async def build(client: ApiClient, name: str) -> BuildPhase | None:
    try:
        return (await client.get(Build, "default", name)).status.phase
    except NotFoundError:
        return None


@pytest.mark.skipif(not _LIBRARIES, reason="apt install faketime")
@pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all")
async def test_a_build_and_a_rollout_take_no_notice_and_imports_go_on() -> None:
    async with with_clock() as (made, clock), made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        await made.apply(
            client,
            base_stream(made.vendor)
            + stream("web")
            + docker_build("web", dockerfile=SLOW)
            + deployment("web")
            + published("web"),
        )
        await until(lambda: build(client, "web-1"), lambda seen: seen is BuildPhase.RUNNING)
        clock.turn("+1d")

        async def said() -> str:
            return await clock_message(client)

        message = await until(said, bool)
        assert "24h ahead of" in message
        await until(
            lambda: build(client, "web-1"),
            lambda seen: seen is not None and seen.is_terminal,
        )
        assert await build(client, "web-1") is BuildPhase.COMPLETE
        await until(lambda: answer(made.router_port, "web.test"), "1.0".__eq__)

        clock.turn("-1d")
        await until(said, lambda seen: "24h behind" in seen)
        await publish(made.vendor, "vendor/base:1", "2.0")
        await until(lambda: answer(made.router_port, "web.test"), "2.0".__eq__)


@pytest.mark.skipif(not _LIBRARIES, reason="apt install faketime")
@pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all")
@pytest.mark.parametrize("offset", ["+1d", "-1d"])
async def test_a_soak_takes_its_time(offset: str) -> None:
    async with with_clock() as (made, clock), made.client() as client:
        shop = PromotedInstallation(made, client)
        await shop.publish()
        await made.apply(client, manifests(made.vendor, approval=False, soak=_SOAK))

        async def in_dev() -> Promotion | None:
            found = (await client.list(Promotion)).items
            return next((one for one in found if one.spec.stage == "dev"), None)

        await until(in_dev, lambda one: one is not None and one.status.serving_since is not None)
        began = asyncio.get_running_loop().time()
        clock.turn(offset)
        ended = await until(in_dev, lambda one: one is not None and one.status.ended is not None)

        assert ended is not None
        assert ended.status.phase is PromotionPhase.SUCCEEDED, ended.status.message
        assert _SOAK - 2 < asyncio.get_running_loop().time() - began < _SOAK + 60


@pytest.mark.skipif(not _LIBRARIES, reason="apt install faketime")
@on_demand(
    "tests/unit/policy/images/test_import_schedule.py::"
    "test_a_check_that_was_made_under_a_clock_ahead_is_overdue",
    "tests/unit/reconcilers/images/test_imports.py::"
    "test_a_check_under_a_clock_that_was_set_back_is_written",
)
async def test_imports_of_a_clock_that_was_ahead_at_the_last_start_go_on() -> None:
    async with with_clock() as (made, clock), made.client() as client:
        await publish(made.vendor, "vendor/base:1", "1.0")
        made.stop()
        clock.turn("+1d")
        await made.start()
        await made.apply(client, base_stream(made.vendor))

        async def imported() -> int:
            tag = (await client.get(ImageStream, "default", "base")).status.tag("1")
            return len(tag.items) if tag is not None else 0

        await until(imported, (1).__eq__)
        made.stop()
        clock.turn("+0")
        await made.start()
        await publish(made.vendor, "vendor/base:1", "2.0")
        await until(imported, (2).__eq__)
