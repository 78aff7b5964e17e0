"""Messages of the commits of promotions, by which they are found again."""

from datetime import UTC, datetime
from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.pipeline import Pipeline
from upwell.api.promotion import (
    BaseImage,
    Component,
    Promotion,
    PromotionPhase,
    Release,
    ReleaseStage,
    Vote,
)
from upwell.policy.promotion.git_commits import (
    is_of,
    is_of_stage,
    marks,
    message,
    return_branch,
    review_branch,
    wanted_images,
)
from upwell.policy.promotion.moves import Move

NOW = datetime(2026, 1, 1, tzinfo=UTC)
OLD, NEW = f"sha256:{'a' * 64}", f"sha256:{'b' * 64}"


def release(number: int, digest: str, base: str, **component: Any) -> Release:
    one = Component(
        name="shop",
        image=f"registry.example/team/shop@{digest}",
        bases=(BaseImage(image="debian:12", digest=base),),
        **component,
    )
    found = decode_as(
        Release,
        {
            "metadata": {"name": f"shop-{number}", "namespace": "team"},
            "spec": {"pipeline": "shop", "number": number, "cause": "debian:12 has changed"},
        },
    )
    return found.model_copy(update={"spec": found.spec.model_copy(update={"components": (one,)})})


def move(git: dict[str, Any] | None = None, mirror: str | None = None, **spec: Any) -> Move:
    document = {
        "metadata": {"name": "shop", "namespace": "team"},
        "spec": {
            "stages": [
                {"name": "prod", "git": {"repository": "r", **(git or {})}, "mirror": mirror}
            ]
        },
    }
    pipeline = decode_as(Pipeline, document)
    promotion = decode_as(
        Promotion,
        {
            "metadata": {"name": "shop-2.prod", "namespace": "team", "uid": "u-1"},
            "spec": {"pipeline": "shop", "release": "shop-2", "stage": "prod", **spec},
        },
    )
    return Move(pipeline, pipeline.spec.stages[0], release(2, NEW, NEW), promotion)


def test_a_message_tells_who_approved_and_where_it_was_verified() -> None:
    one = move(requestedBy="ann", bypass="CVE-2026-1")
    votes = (Vote(by="bob", approved=True, at=NOW), Vote(by="eve", approved=False, at=NOW))
    status = one.promotion.status.model_copy(update={"votes": votes})
    verified = (ReleaseStage(name="dev", at=NOW), ReleaseStage(name="staging", at=NOW))
    tested = one.release.status.model_copy(update={"verified": verified})
    text = message(
        Move(
            one.pipeline,
            one.stage,
            one.release.with_status(tested),
            one.promotion.with_status(status),
        )
    )
    lines = text.splitlines()
    assert lines[0] == "Promote shop-2 to prod"
    assert "Asked for by ann." in lines
    assert "Emergency, order and approval passed over: CVE-2026-1" in lines
    assert "Approved by bob." in lines
    assert "Verified in dev, staging." in lines
    assert f"- shop: registry.example/team/shop@{NEW}" in lines
    assert "- debian:12: sha256:bbbbbbbbbbbb" in lines


@pytest.mark.parametrize(
    ("previous", "line"),
    [
        (None, ""),
        (release(1, OLD, OLD), " (was sha256:aaaaaaaaaaaa)"),
        (release(1, NEW, NEW), " (unchanged)"),
    ],
)
def test_a_message_compares_with_what_was_there(previous: Release | None, line: str) -> None:
    lines = message(move(), previous).splitlines()
    assert f"- shop: registry.example/team/shop@{NEW}{line}" in lines
    changed = previous is not None and bool(line) and "was" in line
    assert ("- debian:12: sha256:aaaaaaaaaaaa -> sha256:bbbbbbbbbbbb" in lines) == changed


def test_a_message_names_the_image_as_the_stage_has_it() -> None:
    assert f"- shop: mirror.example/prod/team/shop@{NEW}" in message(
        move(mirror="mirror.example/prod")
    )


def test_foreign_text_stays_on_its_line() -> None:
    text = message(move(reason=f"x\n\nUpwell-Release: y\u2028{'z' * 5000}", requestedBy="ann"))
    assert "Asked for by ann: x Upwell-Release: y zzz" in text
    assert max(map(len, text.splitlines())) <= 402
    assert text.splitlines()[-5:] == [f"{key}: {value}" for key, value in marks(move()).items()]


def test_a_commit_is_of_one_promotion_and_one_release() -> None:
    one = move()
    assert is_of(marks(one), one)
    assert is_of_stage(marks(one), one)
    assert not is_of({**marks(one), "Upwell-Promotion-Uid": "u-2"}, one)
    assert not is_of({**marks(one), "Upwell-Release": "shop-1"}, one)
    assert not is_of_stage({**marks(one), "Upwell-Stage": "dev"}, one)
    assert not is_of_stage({**marks(one), "Upwell-Pipeline": "other/shop"}, one)
    assert not is_of({}, one)


def test_a_review_branch_is_named_as_the_stage_says() -> None:
    assert review_branch(move()) == ""
    one = move({"pushBranch": "up/{stage}/{release}/{promotion}"})
    assert review_branch(one) == "up/prod/shop-2/shop-2.prod"
    assert return_branch(one) == "up/prod/shop-2/shop-2.prod-back"
    # Putting back what was good is still about the Release that failed.
    status = one.promotion.status.model_copy(update={"phase": PromotionPhase.ROLLING_BACK})
    back = Move(one.pipeline, one.stage, release(1, OLD, OLD), one.promotion.with_status(status))
    assert review_branch(back) == review_branch(one)


def test_images_are_wanted_where_the_stage_has_them_and_known_where_they_come_from() -> None:
    one = move({"keys": {"shop": "image"}}, mirror="mirror.example/prod")
    (wanted,) = wanted_images(one.release, one.stage)
    assert str(wanted.image) == f"mirror.example/prod/team/shop@{NEW}"
    assert wanted.key == "image"
    assert wanted.is_named("registry.example/team/shop:1")
    assert wanted.is_named("mirror.example/prod/team/shop")
    assert not wanted.is_named("other.example/team/shop")
