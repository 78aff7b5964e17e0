"""The Job of a check, and the request to a CI."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.pipeline import Check, JobCheck, Pipeline
from upwell.api.promotion import CheckPhase, CheckResult, Promotion, Release
from upwell.policy.promotion.verification.checks import CheckAttempt
from upwell.policy.promotion.verification.jobs import (
    NoTestError,
    VerifiedRelease,
    build_job,
    container_of_test,
    is_over,
    job_name,
    promotion_of,
)
from upwell.policy.promotion.verification.request import build_request

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
WEB, MAIL = (f"registry.test/shop/{name}@sha256:{name[0].encode().hex() * 32}" for name in "wm")
FIRST = CheckResult(name="e2e", started=NOW)


def subject(mirror: str | None = None, promotion: str = "shop-7.dev") -> VerifiedRelease:
    stage = {"name": "dev", "namespace": "shop-dev", "mirror": mirror}
    release = {"components": [{"name": "web", "image": WEB}, {"name": "mail-er", "image": MAIL}]}

    def made(name: str, **parts: Any) -> dict[str, Any]:
        return {"metadata": {"namespace": "shop", "name": name, "uid": name}, **parts}

    pipeline = decode_as(Pipeline, made("shop", spec={"stages": [stage]}))
    return VerifiedRelease(
        pipeline,
        pipeline.spec.stages[0],
        decode_as(Release, made("shop-7", spec=release)),
        decode_as(Promotion, made(promotion, spec={"release": "shop-7", "stage": "dev"})),
        "http://web.shop-dev:8080",
    )


def test_a_test_is_told_what_it_tests() -> None:
    test = JobCheck(component="web", command=("/e2e",))
    job = build_job(subject(), Check(name="e2e", job=test, timeout_seconds=60), test, FIRST)
    [container] = job.spec.template.spec.containers
    assert (job.namespace, container.image, container.command) == ("shop-dev", WEB, ("/e2e",))
    assert {one.name: one.value for one in container.env} == {
        "UPWELL_PIPELINE": "shop",
        "UPWELL_STAGE": "dev",
        "UPWELL_RELEASE": "shop-7",
        "UPWELL_ADDRESS": "http://web.shop-dev:8080",
        "UPWELL_IMAGE_WEB": WEB,
        "UPWELL_IMAGE_MAIL_ER": MAIL,
    }
    assert (job.spec.backoff_limit, job.spec.template.spec.restart_policy) == (0, "Never")
    # The check ends it at 60 s, and keeps its log; nobody there, it ends by itself.
    assert job.spec.active_deadline_seconds == 360
    assert promotion_of(job) == subject().promotion.key


def test_a_template_says_everything_else() -> None:
    test = job_check(
        {
            "image": "registry.test/e2e:1",
            "env": [{"name": "TARGET", "value": "$(UPWELL_ADDRESS)/cart"}],
            "template": {
                "spec": {
                    "containers": [{"name": "run", "args": ["-v"]}, {"name": "db", "image": "pg"}],
                    "volumes": [{"name": "out", "emptyDir": {}}],
                }
            },
        }
    )
    job = build_job(subject(), Check(name="e2e", job=test), test, FIRST)
    run, database = job.spec.template.spec.containers
    assert container_of_test(job) == "run"
    assert (run.image, run.args, database.image) == ("registry.test/e2e:1", ("-v",), "pg")
    assert run.env[-1].name == "TARGET"
    assert len(job.spec.template.spec.volumes) == 1
    assert database.env == ()


def test_the_images_are_those_of_the_stages_mirror() -> None:
    test = JobCheck(component="web")
    mirrored = subject(mirror="near.test:5000/prod")
    job = build_job(mirrored, Check(name="e2e", job=test), test, FIRST)
    assert job.spec.template.spec.containers[0].image.startswith("near.test:5000/prod/shop/w@sha")


@pytest.mark.parametrize(
    ("test", "message"),
    [
        (JobCheck(component="db"), "shop-7 has no component db"),
        (JobCheck(), "no image: set component, image"),
    ],
)
def test_a_test_that_cannot_run_says_why(test: JobCheck, message: str) -> None:
    with pytest.raises(NoTestError, match=message):
        build_job(subject(), Check(name="e2e", job=test), test, FIRST)


def test_each_attempt_of_each_check_of_each_promotion_has_one_name() -> None:
    promotions = [subject(promotion=name).promotion for name in ("shop-7.dev", "shop-7.dev.2")]
    names = {
        job_name(promotion, check, attempt)
        for promotion in promotions
        for check in ("e2e", "smoke")
        for attempt in (1, 2)
    }
    assert len(names) == 8
    long = job_name(subject(promotion=f"{'x' * 200}.dev").promotion, "y" * 63, 11)
    assert len(long) <= 63
    assert all("." not in name for name in {*names, long})


@pytest.mark.parametrize(
    ("results", "over"),
    [
        ({}, True),
        ({"e2e": FIRST}, False),
        ({"e2e": CheckResult(name="e2e", phase=CheckPhase.FAILED)}, True),
        ({"e2e": CheckResult(name="e2e", attempt=2)}, True),
    ],
)
def test_a_job_is_over_when_its_attempt_is(results: dict[str, CheckResult], over: bool) -> None:  # noqa: FBT001 - a parameter of the test
    test = JobCheck(component="web")
    job = build_job(subject(), Check(name="e2e", job=test), test, FIRST)
    assert is_over(job, results) is over


def test_a_ci_is_told_the_same_whenever_it_is_told() -> None:
    attempt = CheckAttempt(Check(name="ci", timeout_seconds=60), FIRST, NOW)
    later = CheckAttempt(attempt.check, FIRST, datetime(2026, 3, 1, 12, 0, 30, tzinfo=UTC))

    def request(one: CheckAttempt) -> bytes:
        where, route = "http://10.0.0.1:8080", "https://dev.shop.test/"
        url = "http://upwell/verdicts/t"
        return build_request(subject(), one, where=where, route=route, url=url)

    assert request(attempt) == request(later)
    event = json.loads(request(attempt))
    assert event["type"] == "dev.upwell.verification.requested"
    assert event["id"] == "shop-7.dev/e2e/1"
    data = event["data"]
    assert (data["release"], data["stage"], data["address"]) == (
        "shop-7",
        "dev",
        "http://10.0.0.1:8080",
    )
    assert data["images"] == {"web": WEB, "mail-er": MAIL}
    assert data["deadline"] == "2026-03-01T12:01:00+00:00"
    assert data["answer"] == {"method": "POST", "url": "http://upwell/verdicts/t"}


def job_check(document: dict[str, Any]) -> JobCheck:
    stage = {"name": "dev", "verification": {"checks": [{"name": "e2e", "job": document}]}}
    spec = {"metadata": {"name": "shop"}, "spec": {"stages": [stage]}}
    found = decode_as(Pipeline, spec).spec.stages[0].verification.checks[0].job
    assert found is not None
    return found
