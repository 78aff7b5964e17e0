"""An outside CI in charge: Buildbot is told of a base image, and brings it to production."""

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Any

import aiohttp
from tests.support.faults.on_demand import on_demand
from tests.support.installation.buildbot import EXAMPLE, REPOSITORY, Buildbot, buildbot
from tests.support.installation.installation import Installation, until
from tests.support.installation.python_images import publish_python

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build
from upwell.api.image import ImageStream
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.store.interface import ApiClient, Selector

STAGES = ("dev", "staging", "production")
NAMESPACE = "greeter"
BASE = "vendor/python:3-slim"


async def test_a_base_change_goes_through_the_ci_to_production(
    made: Installation, client: ApiClient
) -> None:
    async with _delivered(made, client) as ci:
        assert await _systems(made) == ["Vendor Linux 1.0"] * 3

        await publish_python(made.vendor, BASE, "2.0")
        log = await ci.succeeded(2)

        assert "runs on Vendor Linux 2.0" in log
        assert await _systems(made) == ["Vendor Linux 2.0"] * 3
        await _went_stage_by_stage(client, "greeter-2")
        await _is_not_started_by_strangers(ci, [1, 2])


@on_demand(
    "tests/unit/examples/test_deliver.py::test_the_verdict_is_that_of_the_stages_tests",
    "tests/unit/cli/builds/test_builds_on_demand.py::test_a_job_may_be_retried",
    "tests/unit/reconcilers/builds/test_builds_from_inputs.py::"
    "test_a_job_that_is_retried_makes_no_second_image",
    "tests/integration/cli/test_promotion_over_http.py::"
    "test_a_release_is_tested_approved_and_promoted",
    "tests/integration/cli/test_promotion_over_http.py::test_a_failed_verdict_rejects_the_release",
)
async def test_a_rebuild_changes_nothing_and_what_fails_in_dev_stays_there(
    made: Installation, client: ApiClient
) -> None:
    async with _delivered(made, client) as ci:
        before = await _state(client)
        await ci.again(1)
        await ci.succeeded(2)
        assert await _state(client) == before

        await publish_python(made.vendor, BASE, version="")
        broken = await ci.build(3)

        assert "greeter-2.dev" in broken["log"]
        assert "FAILED (failures=1)" in broken["log"]
        assert broken["results"] != 0
        await until(partial(_systems, made), ["Vendor Linux 1.0"].__mul__(3).__eq__)
        await _was_rejected_in_dev(client, "greeter-2")


@asynccontextmanager
async def _delivered(made: Installation, client: ApiClient) -> AsyncIterator[Buildbot]:
    """Have Buildbot deliver the first version to every stage."""
    await publish_python(made.vendor, BASE, "1.0")
    made.commit(REPOSITORY, _sources())
    async with buildbot(made, _token(made)) as ci:
        await _apply(made, client, ci)
        await ci.force()
        await ci.succeeded(1)
        yield ci


async def _went_stage_by_stage(client: ApiClient, release: str) -> None:
    """One image, made once: tested in each stage, and only then promoted into the next."""
    moved = [await client.get(Promotion, NAMESPACE, f"{release}.{stage}") for stage in STAGES]
    assert [one.status.phase for one in moved] == [PromotionPhase.SUCCEEDED] * 3
    assert [one.spec.requested_by for one in moved[1:]] == ["buildbot", "buildbot"]
    for earlier, later in pairwise(moved):
        assert earlier.status.ended is not None
        assert later.status.started is not None
        assert earlier.status.ended <= later.status.started
    for one, stage in zip(moved, STAGES, strict=True):
        [check] = one.status.checks
        assert check.by == "buildbot"
        assert f"report-{stage}.txt" in [piece.name for piece in check.evidence]
    assert len({image for _, image, _ in await _deployments(client)}) == 1
    assert len((await client.list(Build, Selector(NAMESPACE))).items) == 2


async def _is_not_started_by_strangers(ci: Buildbot, builds: Sequence[int]) -> None:
    event = {
        "type": "dev.upwell.image.changed",
        "subject": "greeter/ImageStream/python",
        "id": "1",
        "data": {"stream": "python", "tag": "3", "new": "sha256:0"},
    }
    headers = {"X-Upwell-Signature": "sha256=" + "0" * 64}
    async with (
        aiohttp.ClientSession() as session,
        session.post(ci.hook, data=json.dumps(event), headers=headers) as answer,
    ):
        assert answer.status == 400
    assert await ci.numbers() == builds


async def _was_rejected_in_dev(client: ApiClient, name: str) -> None:
    promotion = await client.get(Promotion, NAMESPACE, f"{name}.dev")
    assert promotion.status.phase is PromotionPhase.FAILED
    release = await client.get(Release, NAMESPACE, name)
    assert release.status.rejection is not None
    assert release.status.rejection.stage == "dev"
    promoted = (await client.list(Promotion, Selector(NAMESPACE))).items
    assert [one.spec.stage for one in promoted if one.spec.release == name] == ["dev"]


async def _state(client: ApiClient) -> object:
    """Return the releases, promotions and running images, which a run of the CI could change."""
    releases = (await client.list(Release, Selector(NAMESPACE))).items
    promotions = (await client.list(Promotion, Selector(NAMESPACE))).items
    return (
        {one.name: one.status for one in releases},
        {one.name: one.status for one in promotions},
        await _deployments(client),
    )


async def _deployments(client: ApiClient) -> Sequence[tuple[str, str, int]]:
    found = (await client.list(Deployment)).items
    return sorted(
        (one.namespace, one.spec.template.spec.containers[0].image, one.generation) for one in found
    )


async def _systems(made: Installation) -> list[str]:
    """Return the system that each stage says that it runs on."""
    url = f"http://127.0.0.1:{made.router_port}/about"
    async with aiohttp.ClientSession() as session:
        return [await _system(session, url, f"greeter-{stage}.localhost") for stage in STAGES]


async def _system(session: aiohttp.ClientSession, url: str, host: str) -> str:
    async with session.get(url, headers={"Host": host}) as answer:
        document: dict[str, Any] = await answer.json(content_type=None)
        return str(document["system"])


def _sources() -> dict[str, str]:
    root = EXAMPLE / "source"
    files = [path for path in root.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    return {path.relative_to(root).as_posix(): path.read_text() for path in files}


def _token(made: Installation) -> str:
    done = made.upwell("token", "create", "buildbot", "--grant", f"ci@{NAMESPACE}")
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


async def _apply(made: Installation, client: ApiClient, ci: Buildbot) -> None:
    """Apply the example's manifests, with this installation's places in place of the README's."""
    places = {
        "docker.io/library": f"{made.vendor}/vendor",
        "scheduled: true": "scheduled: true, insecure: true",
        "60s": "1s",
        "http://127.0.0.1:8010": ci.url,
    }
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "buildbot", "namespace": NAMESPACE},
        "stringData": {"secret": ci.webhook_secret},
    }
    files = sorted((EXAMPLE / "manifests").glob("*.yaml"), reverse=True)
    subscription, rest = files[0].read_text(), [path.read_text() for path in files[1:]]
    text = "\n---\n".join([json.dumps(secret), *rest, subscription])
    for place, here in places.items():
        assert place in text
        text = text.replace(place, here)
    *others, subscription = text.split("\n---\n")
    for part in ("\n---\n".join(others), subscription):
        done = made.upwell("apply", "-f", "-", text=part)
        assert done.returncode == 0, done.stderr
        await until(partial(_is_imported_before_now, client), bool)


async def _is_imported_before_now(client: ApiClient) -> bool:
    """Return True once a Subscription made now is not told of the first image: that is no news."""
    stream = await client.get(ImageStream, NAMESPACE, "python")
    seen = [event.created for tag in stream.status.tags for event in tag.items]
    return bool(seen) and datetime.now(UTC) >= max(seen) + timedelta(seconds=1)
