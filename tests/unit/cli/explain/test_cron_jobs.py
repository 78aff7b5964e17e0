"""CronJobs that follow a tag, in `status` and `explain`: what their next Job runs counts."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster.workloads import OWN_NOTE
from tests.unit.cli.conftest import SHOP_NEW, SHOP_OLD

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob
from upwell.api.codec import decode_as
from upwell.policy.cluster_rollouts.note import NOTE_ANNOTATION, RolloutNote
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

TRIGGERS = [
    {
        "from": {"kind": "ImageStreamTag", "name": "shop:latest"},
        "fieldPath": 'spec.jobTemplate.spec.template.spec.containers[?(@.name=="report")].image',
    }
]


def image(digest: str) -> str:
    return f"x.test/shop@{digest}"


def cron_job(digest: str, annotations: dict[str, str] | None = None, **spec: Any) -> CronJob:
    pod = {"containers": [{"name": "report", "image": image(digest)}]}
    follows = {TRIGGERS_ANNOTATION: json.dumps(TRIGGERS)} if annotations is None else annotations
    document = {
        "metadata": {"name": "report", "namespace": "default", "annotations": follows},
        "spec": {
            "schedule": "0 5 * * *",
            "jobTemplate": {"spec": {"template": {"spec": pod}}},
            **spec,
        },
    }
    return decode_as(CronJob, document)


def noted(digest: str, **more: str) -> CronJob:
    made = cron_job(digest)
    return made.with_metadata(annotations={**made.annotations, **more}, managed_fields=(OWN_NOTE,))


def create(client: "FakeClient", made: CronJob) -> None:
    asyncio.run(client.create(made))


def line_of(text: str) -> str:
    [line] = [one for one in text.splitlines() if "CronJob default/report" in one]
    return line


def test_status_counts_one_that_is_current(upwell: Upwell, fixed: "FakeClient") -> None:
    before = upwell("status").stdout
    create(fixed, cron_job(SHOP_NEW))

    text = upwell("status").stdout
    assert "schedule 0 5 * * *, dddddddddddd, current" in line_of(text)
    assert text.splitlines()[-1] != before.splitlines()[-1]
    nodes = json.loads(upwell("status", "-o", "json").stdout)["nodes"]
    [node] = [one for one in nodes if one["kind"] == "CronJob"]
    assert node["behind"] == 0
    assert node["inputs"][0]["automatic"] is True


@pytest.mark.parametrize(
    ("annotations", "why"),
    [
        ({HOLD_ANNOTATION: "audit"}, "behind by 1: held: audit"),
        (
            {
                NOTE_ANNOTATION: RolloutNote(
                    failed={"report": image(SHOP_NEW)}, why="it crashed"
                ).format()
            },
            "failed here before: it crashed",
        ),
    ],
)
def test_one_that_is_behind_says_why_in_both(
    upwell: Upwell, fixed: "FakeClient", annotations: dict[str, str], why: str
) -> None:
    create(fixed, noted(SHOP_OLD, **annotations))

    told = json.loads(upwell("status", "-o", "json").stdout)["nodes"]
    [node] = [one for one in told if one["kind"] == "CronJob"]
    assert node["behind"] == 1
    assert why in f"behind by {node['behind']}: {node['waitsFor']}"
    assert why in upwell("explain", "cj/report", "--packages=none").stdout


def test_explain_goes_back_to_the_build_of_what_runs_next(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    create(fixed, cron_job(SHOP_NEW, suspend=True))

    text = upwell("explain", "cronjob/report", "--packages=none").stdout
    assert "it makes Jobs by the schedule '0 5 * * *', and is suspended" in text
    assert "container report runs dddddddddddd, from default/shop:latest (automatic)" in text
    assert "build shop-2 made dddddddddddd" in text
    assert "nothing is due: its next Job runs the newest images" in text


def test_one_that_follows_nothing_is_no_part_of_the_tree(
    upwell: Upwell, fixed: "FakeClient"
) -> None:
    made = cron_job(SHOP_NEW, {})
    create(fixed, made)

    assert "CronJob" not in upwell("status").stdout
    assert "no image trigger" in upwell("explain", "cj/report", "--packages=none").stdout
