"""freeze, quarantine, and holds of stages: what keeps promotions from beginning."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.promotion.pipeline_objects import HELD, of, put_promoted
from tests.unit.cli.conftest import NEW

from upwell.api.pipeline import Freeze, Pipeline

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

CREATE = ("freeze", "create")


async def kept(client: "FakeClient", name: str = "stop-the-line") -> Freeze:
    return await client.get(Freeze, "", name)


async def run(upwell: Upwell, *arguments: str) -> "Result":
    return await asyncio.to_thread(upwell, *arguments)


async def test_the_line_is_stopped_for_everything_until_it_is_lifted(
    upwell: Upwell, client: "FakeClient"
) -> None:
    made = await run(upwell, *CREATE, "--reason", "payments are down")
    listed = await run(upwell, "freeze", "list")

    assert made.stdout == "freeze.upwell.dev/stop-the-line created\n"
    spec = (await kept(client)).spec
    assert (spec.reason, spec.end, spec.namespaces, spec.pipelines) == (
        "payments are down",
        None,
        (),
        (),
    )
    assert listed.stdout.splitlines()[1].split(maxsplit=2)[:2] == ["stop-the-line", "everything"]
    assert "in force until it is lifted" in listed.stdout

    lifted = await run(upwell, "freeze", "lift", "freeze/stop-the-line")
    assert lifted.stdout == "freeze.upwell.dev/stop-the-line lifted\n"
    assert (await run(upwell, "freeze", "lift", "stop-the-line")).exit_code == 3
    empty = await run(upwell, "freeze", "list")
    assert (empty.exit_code, empty.stdout) == (0, "")


async def test_a_freeze_of_some_pipelines_between_two_times(
    upwell: Upwell, client: "FakeClient"
) -> None:
    where = ("--in", "bank", "--in", "shop", "--pipeline", "pipeline/ledger")
    times = ("--from", "2026-03-01T13:35+01:00", "--until", "2h")
    await run(upwell, *CREATE, "audit", "--reason", "audit", *where, *times)

    spec = (await kept(client, "audit")).spec
    row = (await run(upwell, "freeze", "list")).stdout.splitlines()[1]

    assert (spec.namespaces, spec.pipelines) == (("bank", "shop"), ("ledger",))
    assert spec.start is not None
    assert spec.start.isoformat() == "2026-03-01T12:35:00+00:00"
    assert spec.end is not None
    assert spec.end.isoformat() == "2026-03-01T14:05:00+00:00"
    assert "pipeline ledger in bank, shop" in row
    assert "begins in 30m" in row


async def test_the_same_freeze_again_takes_the_new_times(
    upwell: Upwell, client: "FakeClient"
) -> None:
    words = ("--reason", "payments are down")
    await run(upwell, *CREATE, *words)

    again = await run(upwell, *CREATE, *words)
    longer = await run(upwell, *CREATE, *words, "--until", "1h")
    other = await run(upwell, *CREATE, "--reason", "audit")

    assert again.stdout == "freeze.upwell.dev/stop-the-line unchanged\n"
    assert longer.stdout == "freeze.upwell.dev/stop-the-line changed\n"
    assert (await kept(client)).spec.end is not None
    assert other.exit_code == 1
    assert "with another scope or reason (payments are down)" in other.stderr
    assert (await kept(client)).spec.reason == "payments are down"


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--reason", "x", "--until", "yesterday"),
        ("--reason", "x", "--until", "2026-03-01T10:00Z"),
        ("--reason", "x", "--until", "2026-03-02T10:00"),
        ("--reason", "x", "--from", "2d", "--until", "1d"),
    ],
)
def test_a_freeze_that_makes_no_sense_is_exit_2(
    upwell: Upwell, client: "FakeClient", wrong: tuple[str, ...]
) -> None:
    assert upwell(*CREATE, *wrong).exit_code == 2
    assert upwell("freeze", "list", "-o", "name").stdout == ""
    assert client.calls == []


async def test_a_freeze_that_is_over_and_one_that_comes_back(
    upwell: Upwell, client: "FakeClient"
) -> None:
    weekly = {"cron": "0 18 * * 5", "durationSeconds": 3600, "timeZone": "UTC"}
    await client.put(of("Freeze", "old", spec={"end": "2026-03-01T12:00:00Z"}))
    await client.put(of("Freeze", "weekly", spec=weekly))

    rows = (await run(upwell, "freeze", "list")).stdout.splitlines()[1:]

    assert "over" in next(row for row in rows if row.startswith("old"))
    assert "begins in 5d5h" in next(row for row in rows if row.startswith("weekly"))


QUARANTINE = of(
    "Quarantine",
    "base-bbbbbbbbbbbb",
    spec={
        "digest": NEW,
        "image": "default/debian:11",
        "reason": "2 applications failed on it",
        "releases": ["bank/ledger-4", "default/shop-2"],
    },
)


@pytest.mark.parametrize("name", ["base-bbbbbbbbbbbb", "quarantine/base-bbbbbbbbbbbb", NEW[:20]])
async def test_a_quarantine_is_listed_and_lifted(
    upwell: Upwell, client: "FakeClient", name: str
) -> None:
    await client.put(QUARANTINE)

    listed = await run(upwell, "quarantine", "list")
    lifted = await run(upwell, "quarantine", "lift", name)

    assert listed.stdout.splitlines()[1].split()[:3] == [
        "base-bbbbbbbbbbbb",
        "default/debian:11",
        "bbbbbbbbbbbb",
    ]
    assert lifted.stdout == "quarantine.upwell.dev/base-bbbbbbbbbbbb lifted\n"
    assert "still rejected: bank/ledger-4, default/shop-2" in lifted.stderr
    assert "no quarantines found" in (await run(upwell, "quarantine", "list")).stderr


async def test_all_quarantines_are_known_before_any_is_lifted(
    upwell: Upwell, client: "FakeClient"
) -> None:
    await client.put(QUARANTINE)

    result = await run(upwell, "quarantine", "lift", "base-bbbbbbbbbbbb", "sha256:b")

    assert result.exit_code == 3
    assert "quarantine/sha256:b does not exist" in result.stderr
    shown = (await run(upwell, "quarantine", "list", "-o", "json")).stdout
    assert [one["spec"]["digest"] for one in json.loads(shown)["items"]] == [NEW]


class TestHolds:
    """Holds of a Pipeline's stages."""

    @pytest.fixture(autouse=True)
    async def _objects(self, fixed: "FakeClient") -> None:
        await put_promoted(fixed)

    @staticmethod
    def annotations(client: "FakeClient") -> dict[str, Any]:
        change: dict[str, Any] = client.calls[-1][2]["metadata"]["annotations"]
        return change

    @pytest.mark.parametrize("name", ["shop", "pipeline/shop"])
    def test_a_stage_is_held_until_a_time(
        self, upwell: Upwell, client: "FakeClient", name: str
    ) -> None:
        stage = ("--stage", "production", "--reason", "audit", "--until", "2h")
        result = upwell("hold", name, *stage)

        assert result.stdout == "stage production of pipeline.upwell.dev/shop held\n"
        assert self.annotations(client) == {
            HELD: "audit",
            "stage-hold-until.upwell.dev/production": "2026-03-01T14:05:00+00:00",
        }

    @pytest.mark.parametrize("name", ["shop", "pipeline/shop"])
    def test_a_whole_pipeline_is_held(
        self, upwell: Upwell, client: "FakeClient", name: str
    ) -> None:
        assert upwell("hold", name).stdout == "pipeline.upwell.dev/shop held\n"
        held = {"upwell.dev/hold": "held by a person", "upwell.dev/hold-until": None}
        assert self.annotations(client) == held

    def test_a_stage_that_is_not_there_is_not_held(
        self, upwell: Upwell, client: "FakeClient"
    ) -> None:
        result = upwell("hold", "shop", "--stage", "prod")

        assert result.exit_code == 2
        assert "has no stage 'prod'; its stages: dev, staging, production" in result.stderr
        assert client.calls == []

    @pytest.mark.parametrize(
        "what", [("deployment/shop", "--stage", "dev"), ("a", "b", "--stage", "dev"), ("cm/x",)]
    )
    def test_what_has_no_stage_is_not_held(self, upwell: Upwell, what: tuple[str, ...]) -> None:
        assert upwell("hold", *what).exit_code == 2

    def test_resume_lifts_one_hold_and_tells_of_another(
        self, upwell: Upwell, client: "FakeClient"
    ) -> None:
        upwell("hold", "shop", "--stage", "production", "--reason", "audit")
        upwell("hold", "shop", "--stage", "dev", "--until", "1h")

        result = upwell("resume", "shop", "--stage", "dev")

        assert result.stdout == "stage dev of pipeline.upwell.dev/shop resumed\n"
        assert "stage production is still held: audit" in result.stderr
        assert "`upwell resume pipeline/shop --stage production`" in result.stderr
        upwell("resume", "shop", "--stage", "production")
        assert self.annotations(client)[HELD] is None
        held = asyncio.run(client.get(Pipeline, "default", "shop"))
        assert held.annotations == {}
