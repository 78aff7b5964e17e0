"""Promotions, rejections and votes that people ask for, while others write the same objects."""

from typing import Any

import pytest
from tests.support.promotion.promotion_api import PIPELINE
from tests.support.server.api_server import ApiClock
from tests.support.store.overtaken_store import OvertakenStore

from upwell.actions.promotion import PromotionActions
from upwell.api.codec import decode, decode_as
from upwell.api.image import ImageStream
from upwell.api.pipeline import Quarantine
from upwell.api.promotion import BaseImage, Promotion, Rejection, Release, Vote
from upwell.controller import ObjectCache
from upwell.policy.promotion.requests import Asked, RefusedError
from upwell.reconcilers.builds.index import BuildIndex
from upwell.store.interface import ConflictError


class PromotionActionsSetup:
    def __init__(self) -> None:
        self.clock = ApiClock()
        self.store = OvertakenStore(self.clock)
        self.actions = PromotionActions(self.store, self.clock)

    async def release(self, number: int, digest: str = "") -> Release:
        image = f"registry.test/shop@sha256:{(digest or str(number)) * 64}"
        document: dict[str, Any] = {
            "metadata": {
                "name": f"shop-{number}",
                "namespace": "shop",
                "labels": {"upwell.dev/pipeline": "shop"},
            },
            "spec": {
                "pipeline": "shop",
                "number": number,
                "components": [{"name": "web", "image": image}],
            },
        }
        return await self.store.create(decode_as(Release, document))


@pytest.fixture
async def setup() -> PromotionActionsSetup:
    setup = PromotionActionsSetup()
    await setup.store.create(decode(PIPELINE))
    return setup


async def test_a_name_that_is_taken_meanwhile_is_decided_anew(setup: PromotionActionsSetup) -> None:
    await setup.release(1)
    setup.store.times = 3

    made = await setup.actions.promote("shop", "shop", Asked("dev", "ci", "shop-1"))
    again = await setup.actions.promote("shop", "shop", Asked("dev", "ci", "shop-1"))

    assert (made.created, made.promotion.spec.requested_by) == (True, "ci")
    assert (again.created, again.promotion.uid) == (False, made.promotion.uid)


async def test_a_name_that_stays_taken_is_a_conflict(setup: PromotionActionsSetup) -> None:
    await setup.release(1)
    setup.store.times = 1000

    with pytest.raises(ConflictError, match="concurrent requests promote the same release"):
        await setup.actions.promote("shop", "shop", Asked("dev", "ci", "shop-1"))


async def test_a_refused_promotion_writes_nothing(setup: PromotionActionsSetup) -> None:
    await setup.release(1)

    with pytest.raises(RefusedError, match="not verified in dev"):
        await setup.actions.promote("shop", "shop", Asked("staging", "ci", "shop-1"))

    assert list((await setup.store.list(Promotion)).items) == []


async def test_a_rejection_survives_another_writer_and_the_first_one_stands(
    setup: PromotionActionsSetup,
) -> None:
    await setup.release(1)
    setup.store.times = 2
    first = Rejection(reason="leaks", by="ada", at=setup.clock())
    second = Rejection(reason="slow", by="bob", at=setup.clock())

    await setup.actions.reject("shop", "shop-1", first)
    await setup.actions.reject("shop", "shop-1", second)

    release = await setup.store.get(Release, "shop", "shop-1")
    assert release.status.rejection == first
    assert release.labels["by"] == "another"


async def test_a_rejection_names_a_stage_of_the_pipeline(setup: PromotionActionsSetup) -> None:
    await setup.release(1)
    wrong = Rejection(reason="leaks", by="ada", stage="prod", at=setup.clock())

    with pytest.raises(RefusedError, match="no stage 'prod'"):
        await setup.actions.reject("shop", "shop-1", wrong)


async def test_releases_with_the_same_images_are_restored_together(
    setup: PromotionActionsSetup,
) -> None:
    for number, digest in ((1, "a"), (2, "a"), (3, "b")):
        await setup.release(number, digest)
        rejection = Rejection(reason="leaks", by="ada", at=setup.clock())
        await setup.actions.reject("shop", f"shop-{number}", rejection)
    setup.clock.advance(seconds=1)

    await setup.actions.restore("shop", "shop-1", "bob", "was the test")

    releases = (await setup.store.list(Release)).items
    rejected = [one.name for one in releases if one.status.rejection is not None]
    assert rejected == ["shop-3"]


async def test_a_vote_survives_another_writer(setup: PromotionActionsSetup) -> None:
    await setup.release(1)
    asked = Asked("staging", "ada", "shop-1", bypass="fire")
    promotion = (await setup.actions.promote("shop", "shop", asked)).promotion
    setup.store.times = 2
    vote = Vote(by="bob", approved=True, at=setup.clock())

    voted = await setup.actions.vote("shop", promotion.name, vote)

    assert [one.by for one in voted.status.votes] == ["bob"]


@pytest.mark.parametrize(
    ("label", "image", "refused"),
    [
        ("wave", "vendor.test/shop:1", True),
        ("wave", "evil.test/base:1", False),
        ("", "evil.test/base:1", True),
    ],
)
async def test_a_quarantine_of_a_wave_is_about_the_image_that_is_followed(
    setup: PromotionActionsSetup, label: str, image: str, *, refused: bool
) -> None:
    tag = {"name": "latest", "from": {"kind": "DockerImage", "name": "vendor.test/shop:1"}}
    stream = {"metadata": {"name": "shop", "namespace": "shop"}, "spec": {"tags": [tag]}}
    await setup.store.create(decode_as(ImageStream, stream))
    base = {"image": "vendor.test/shop:1", "digest": f"sha256:{'b' * 64}"}
    release = await setup.release(1)
    [component] = release.spec.components
    known = component.model_copy(update={"bases": (BaseImage.model_validate(base),)})
    spec = release.spec.model_copy(update={"components": (known,)})
    await setup.store.update(release.model_copy(update={"spec": spec}))
    labels = {"upwell.dev/wave": label} if label else {}
    quarantine = {
        "metadata": {"name": "kept", "labels": labels},
        "spec": {"digest": base["digest"], "image": image, "reason": "it fails"},
    }
    await setup.store.create(decode_as(Quarantine, quarantine))
    builds = BuildIndex(ObjectCache(setup.store))
    actions = PromotionActions(setup.store, setup.clock, builds)
    if refused:
        with pytest.raises(RefusedError, match="is in quarantine: it fails"):
            await actions.promote("shop", "shop", Asked("dev", "ci", "shop-1"))
    else:
        assert (await actions.promote("shop", "shop", Asked("dev", "ci", "shop-1"))).created
