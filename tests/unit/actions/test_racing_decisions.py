"""Two people who decide the same at once: one outcome, which both of them are told."""

from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.builds.build_namespace import BuildNamespace
from tests.support.promotion.promotion_api import PIPELINE
from tests.support.server.api_server import ApiClock
from tests.support.store.racing_store import RacingStore

from upwell.actions.promotion import PromotionActions
from upwell.actions.rollouts import RolloutActions
from upwell.actions.waves import WaveActions
from upwell.api.codec import decode, decode_as
from upwell.api.meta import ObjectMeta
from upwell.api.promotion import Promotion, Rejection, Release, Vote
from upwell.api.waves.wave import (
    Wave,
    WaveApproval,
    WaveCancellation,
    WaveDecision,
    WavePhase,
    WaveSpec,
)
from upwell.controller import ObjectCache
from upwell.oci import Digest
from upwell.policy.promotion.requests import Asked, RefusedError
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.waves.index import WaveIndex

NOW = datetime(2026, 5, 1, tzinfo=UTC)
NAMES = ("ada", "grace")


@pytest.fixture
def store() -> RacingStore:
    return RacingStore(ApiClock())


@pytest.fixture
async def waves(store: RacingStore) -> WaveActions:
    """Return the actions about a Wave that waits for approval."""
    spec = WaveSpec(
        image="vendor.test/debian:11",
        digest=str(Digest.of(b"new")),
        approval=WaveApproval.MANUAL,
    )
    await store.create(Wave(metadata=ObjectMeta(name="debian"), spec=spec))
    index = WaveIndex(BuildIndex(ObjectCache(store)))
    builds = BuildNamespace().actions
    return WaveActions(index, builds, RolloutActions(store, lambda: NOW), lambda: NOW)


@pytest.fixture
async def promotions(store: RacingStore) -> PromotionActions:
    """Return the actions about a Release that is in no stage yet."""
    await store.create(decode(PIPELINE))
    image = f"registry.test/shop@sha256:{'1' * 64}"
    document: dict[str, Any] = {
        "metadata": {
            "name": "shop-1",
            "namespace": "shop",
            "labels": {"upwell.dev/pipeline": "shop"},
        },
        "spec": {
            "pipeline": "shop",
            "number": 1,
            "components": [{"name": "web", "image": image}],
        },
    }
    await store.create(decode_as(Release, document))
    return PromotionActions(store, ApiClock())


async def test_of_two_who_approve_a_wave_one_does(store: RacingStore, waves: WaveActions) -> None:
    results = await store.race(
        *(waves.approve("debian", WaveDecision(by=name, at=NOW)) for name in NAMES)
    )
    [refused] = [one for one in results if isinstance(one, RefusedError)]
    given = (await store.get(Wave, "", "debian")).status.approval
    assert given is not None
    assert f"approved already, by {given.by}" in str(refused)


async def test_who_cancels_a_wave_while_another_approves_it_is_not_gone_over(
    store: RacingStore, waves: WaveActions
) -> None:
    cancellation = WaveCancellation(by="grace", at=NOW, reason="broken")
    await store.race(
        waves.approve("debian", WaveDecision(by="ada", at=NOW)),
        waves.cancel("debian", cancellation),
    )
    status = (await store.get(Wave, "", "debian")).status
    assert (status.phase, status.cancelled) == (WavePhase.CANCELLED, cancellation)


async def test_of_two_who_promote_a_release_one_makes_the_promotion(
    store: RacingStore, promotions: PromotionActions
) -> None:
    results = await store.race(
        *(promotions.promote("shop", "shop", Asked("dev", name, "shop-1")) for name in NAMES)
    )
    [made] = (await store.list(Promotion)).items
    told = [
        (one.created, one.promotion.uid) for one in results if not isinstance(one, BaseException)
    ]
    assert sorted(told) == [(False, made.uid), (True, made.uid)]


async def test_of_two_who_reject_a_release_the_first_stands(
    store: RacingStore, promotions: PromotionActions
) -> None:
    rejections = [Rejection(reason=f"{name}'s", by=name, at=NOW) for name in NAMES]
    results = await store.race(
        *(promotions.reject("shop", "shop-1", rejection) for rejection in rejections)
    )
    stored = (await store.get(Release, "shop", "shop-1")).status.rejection
    told = [one.status.rejection for one in results if isinstance(one, Release)]
    assert stored in rejections
    assert told == [stored, stored]


async def test_what_two_say_of_a_promotion_is_both_recorded(
    store: RacingStore, promotions: PromotionActions
) -> None:
    asked = Asked("staging", "ci", "shop-1", bypass="fire")
    name = (await promotions.promote("shop", "shop", asked)).promotion.name
    votes = [Vote(by=voter, approved=voter == "ada", at=NOW) for voter in ("ada", "bob")]
    await store.race(*(promotions.vote("shop", name, vote) for vote in votes))
    stored = (await store.get(Promotion, "shop", name)).status.votes
    assert sorted(one.by for one in stored) == ["ada", "bob"]
