"""`upwell wave` against objects of a fix that has risen, and the Wave that tells of it."""

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import NEW, NOW, OLD

from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectMeta
from upwell.api.waves.plan import ImpactPlanSpec
from upwell.api.waves.wave import HeldObject, Wave, WavePhase, WaveSpec, WaveStatus
from upwell.cli.core.errors import CommandError
from upwell.cli.core.output import Format
from upwell.cli.waves.asked_plan import asked_plan
from upwell.cli.waves.wave import DescriptionReader

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

NAME = "debian-11-0123456789ab"


@pytest.fixture(autouse=True)
async def _wave(fixed: "FakeClient") -> None:
    """Have the Wave of the fix beside its objects."""
    spec = WaveSpec(image="vendor.test/debian:11", digest=NEW, previous=OLD)
    wave = await fixed.create(Wave(metadata=ObjectMeta(name=NAME), spec=spec))
    end = NOW + timedelta(minutes=5 + 3)  # the command line runs five minutes later
    text = "0 of 1 builds and 0 of 1 workloads have it"
    status = WaveStatus(phase=WavePhase.RUNNING, message=text, estimated_end=end)
    await fixed.update_status(wave.with_status(status))


def test_list_tells_how_far_each_is(upwell: Upwell) -> None:
    head, line = upwell("wave", "list").stdout.splitlines()
    assert head.split() == ["NAME", "PHASE", "AGE", "ENDS", "MESSAGE"]
    assert line.split()[:2] == [NAME, "Running"]
    assert "in about 3m" in line
    assert line.endswith("0 of 1 builds and 0 of 1 workloads have it")


def test_describe_tells_what_has_the_image(upwell: Upwell) -> None:
    lines = upwell("wave", "describe", f"wave/{NAME}", "--packages=none").stdout.splitlines()
    assert lines[0] == f"wave.upwell.dev/{NAME}"
    assert lines[1] == f"  vendor.test/debian:11 changed from {'a' * 12} to {'b' * 12}"
    assert any("Deployment default/shop  runs it" in line for line in lines)


def test_describe_says_when_the_server_makes_no_plans(upwell: Upwell, fixed: "FakeClient") -> None:
    fixed.is_older = True
    result = upwell("wave", "describe", NAME)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "the server is older than this command" in result.stderr


async def test_a_wave_that_is_deleted_while_it_is_described_is_named(fixed: "FakeClient") -> None:
    await fixed.delete(Wave, "", NAME)
    with pytest.raises(CommandError, match=f"wave/{NAME} does not exist"):
        await asked_plan(fixed, "default", ImpactPlanSpec(wave=NAME))


async def test_describe_goes_on_without_what_others_delete(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    await fixed.delete(BuildConfig, "default", "shop")
    shown = await asyncio.to_thread(upwell, "wave", "describe", NAME, "--packages=none")
    assert "ImageStreamTag default/debian:11  has it" in shown.stdout
    assert "Deployment default/shop" not in shown.stdout, "nothing makes its image of this any more"

    await fixed.delete(ImageStream, "default", "debian")
    shown = await asyncio.to_thread(upwell, "wave", "describe", NAME, "--packages=none")
    assert (shown.exit_code, shown.stdout.splitlines()[0]) == (0, f"wave.upwell.dev/{NAME}")
    assert "nothing here stands on the image any more" in shown.stdout


def test_explain_names_the_command_that_tells_of_a_wave(upwell: Upwell) -> None:
    assert f"`upwell wave describe {NAME}`" in upwell("explain", f"wave/{NAME}").stderr


async def test_describe_tells_what_is_held_back(upwell: Upwell, fixed: "FakeClient") -> None:
    wave = await fixed.get(Wave, "", NAME)
    held = tuple(
        HeldObject(kind="BuildConfig", namespace="shop", name=f"app-{n}", reason=f"{n}\nlog")
        for n in range(7)
    )
    await fixed.update_status(wave.with_status(wave.status.model_copy(update={"held": held})))
    shown = await asyncio.to_thread(upwell, "wave", "describe", NAME, "--packages=none")
    lines = [line for line in shown.stdout.splitlines() if line.startswith("    ! ")]
    assert lines[0] == "    ! BuildConfig shop/app-0: 0"
    assert lines[-1] == "    ! and 2 more"
    assert len(lines) == 6


def test_a_pause_is_set_and_lifted_again(upwell: Upwell, fixed: "FakeClient") -> None:
    def spec() -> WaveSpec:
        return asyncio.run(fixed.get(Wave, "", NAME)).spec

    done = upwell("wave", "pause", NAME, "--reason", "weekend")
    assert (done.exit_code, done.stdout) == (0, f"wave.upwell.dev/{NAME} paused\n")
    assert (spec().paused, spec().reason, spec().digest) == (True, "weekend", NEW)

    assert upwell("wave", "resume", NAME).stdout == f"wave.upwell.dev/{NAME} resumed\n"
    assert (spec().paused, spec().reason, spec().digest) == (False, "", NEW)


@pytest.mark.parametrize("verb", ["describe", "pause", "resume"])
def test_a_wave_that_is_not_there_is_named(upwell: Upwell, verb: str) -> None:
    missing = upwell("wave", verb, "debian-12")
    assert (missing.exit_code, missing.stdout) == (3, "")
    assert "wave/debian-12 does not exist; `upwell wave list`" in missing.stderr


async def test_a_wave_that_has_ended_is_not_paused(upwell: Upwell, fixed: "FakeClient") -> None:
    wave = await fixed.get(Wave, "", NAME)
    ended = WaveStatus(phase=WavePhase.COMPLETE, message="1 of 1 builds have it")
    await fixed.update_status(wave.with_status(ended))

    result = await asyncio.to_thread(upwell, "wave", "pause", NAME)
    assert result.exit_code == 1
    assert "has ended: 1 of 1 builds have it" in result.stderr


def test_an_approval_is_asked_for_with_its_reason(upwell: Upwell, fixed: "FakeClient") -> None:
    verbs = (f"waves/{NAME}/approve", "imagestreams/debian/approve", f"waves/{NAME}/cancel")
    fixed.answers |= {path: {} for path in verbs}
    done = upwell("wave", "approve", NAME, "--reason", "seen")
    assert (done.exit_code, done.stdout) == (0, f"wave.upwell.dev/{NAME} approved\n")
    also = ("--override", "alone")
    for_stream = upwell("wave", "approve", NAME, "--stream", "imagestream/debian", *also)
    assert for_stream.stdout == f"wave.upwell.dev/{NAME} approved for imagestream/debian\n"
    done = upwell("wave", "cancel", f"wave/{NAME}", "--reason", "broken", "--running")
    assert (done.exit_code, done.stdout) == (0, f"wave.upwell.dev/{NAME} cancelled\n")

    asked = [(path, body) for method, path, body in fixed.calls if method == "POST"]
    assert asked == [
        (f"waves/{NAME}/approve", {"reason": "seen"}),
        ("imagestreams/debian/approve", {"wave": NAME, "override": "alone"}),
        (f"waves/{NAME}/cancel", {"reason": "broken", "running": True}),
    ]


def test_an_approval_needs_no_right_to_read_waves(upwell: Upwell, fixed: "FakeClient") -> None:
    fixed.forbidden.add("Wave")
    fixed.answers["imagestreams/debian/approve"] = {}
    done = upwell("wave", "approve", NAME, "--stream", "debian", "-n", "shop")
    assert (done.exit_code, done.stderr) == (0, "")

    missing = upwell("wave", "approve", "debian-12")
    assert (missing.exit_code, "`upwell wave list`" in missing.stderr) == (3, True)


def test_a_retry_tells_what_has_begun_and_what_has_not(upwell: Upwell, fixed: "FakeClient") -> None:
    fixed.answers[f"waves/{NAME}/retry"] = {"begun": ["BuildConfig shop/a"], "left": []}
    done = upwell("wave", "retry", NAME)
    assert (done.exit_code, done.stdout) == (0, "BuildConfig shop/a begun again\n")

    fixed.answers[f"waves/{NAME}/retry"] = {
        "begun": [],
        "left": ["BuildConfig shop/b: it is paused"],
    }
    left = upwell("wave", "retry", NAME)
    assert (left.exit_code, left.stdout) == (1, "")
    assert "left: BuildConfig shop/b: it is paused" in left.stderr

    fixed.answers[f"waves/{NAME}/retry"] = {"begun": [], "left": []}
    assert "nothing of" in upwell("wave", "retry", NAME).stderr


async def test_a_wave_is_read_again_when_its_status_changes(fixed: "FakeClient") -> None:
    read = DescriptionReader(fixed, "default", NAME, "none", Format.TABLE)
    first = await read()
    wave = await fixed.get(Wave, "", NAME)
    wave = await fixed.update(wave.with_metadata(labels={"team": "base"}))
    assert await read() is first, "the label is no news"

    status = wave.status.model_copy(update={"phase": WavePhase.COMPLETE})
    await fixed.update_status(wave.with_status(status))
    last = await read()
    assert (first.is_last, last.is_last) == (False, True)
    assert last.said() != first.said()


def test_a_wave_that_has_ended_is_shown_once(upwell: Upwell, fixed: "FakeClient") -> None:
    async def end() -> None:
        wave = await fixed.get(Wave, "", NAME)
        ended = wave.status.model_copy(update={"phase": WavePhase.COMPLETE})
        await fixed.update_status(wave.with_status(ended))

    asyncio.run(end())
    done = upwell("wave", "describe", NAME, "--packages=none", "-w")
    assert (done.exit_code, done.stdout.count("wave.upwell.dev/")) == (0, 1)
