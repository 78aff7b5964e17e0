"""Stages on clusters: one by its name, many by steps; mirrors; clusters that are away."""

from typing import Any

import pytest
from tests.support.promotion.clustered_pipeline import (
    PRODUCTION,
    ClusteredPipeline,
    begun,
    degradation,
    many,
)
from tests.support.promotion.reconciled_pipeline import NAMESPACE, image

from upwell.api.pipeline import Pipeline
from upwell.cluster.errors import AccessDeniedError
from upwell.policy.promotion.stages import with_hold


async def test_a_stage_names_one_cluster() -> None:
    pipelines = await begun(cluster="east")
    await pipelines.cluster("east")
    await pipelines.push("one")

    await pipelines.settle()

    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"
    assert await pipelines.image_in("east") == image("one")
    assert await pipelines.progress(PRODUCTION) == {"east": "Complete"}
    assert await pipelines.behind("production") == {}


async def test_a_release_that_fails_there_is_put_back_and_rejected() -> None:
    pipelines = await begun(cluster="east")
    await pipelines.cluster("east")
    await pipelines.push("one")
    await pipelines.settle()

    pipelines.stuck_in.add("east")
    await pipelines.push("two")
    await pipelines.settle()

    assert (await pipelines.phases())["shop-2.production"] == "Failed"
    assert await pipelines.image_in("east") == image("one")
    assert (await pipelines.release("shop-2")).status.rejection is not None


async def test_the_next_leader_tells_once_of_images_that_the_last_one_has_set_there() -> None:
    pipelines = await begun(cluster="east")
    await pipelines.cluster("east")
    there = pipelines.remotes.known["east"].memory
    there.mute = AccessDeniedError("cannot create events")
    pipelines.slow_in.add("east")
    await pipelines.push("one")
    await pipelines.settle()
    assert await pipelines.image_in("east") == image("one")

    there.mute = None
    pipelines.restart()
    asked = there.events_asked
    for _ in range(2):
        await pipelines.settle()
    pipelines.slow_in.clear()
    await pipelines.settle()

    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"
    assert [one.message for one in there.told] == [f"set web = {image('one')}"]
    assert there.events_asked - asked == 1


@pytest.mark.parametrize(
    ("stage", "reason", "why"),
    [
        ({"cluster": "west"}, "ClusterNotFound", "there is no Cluster west"),
        ({"clusters": {"selector": {"matchLabels": {"a": "b"}}}}, "ClusterNotFound", "no Cluster"),
        ({"cluster": "east", "namespace": "other"}, "ClusterUnavailable", "none of its"),
        (
            {
                "cluster": "east",
                "verification": {
                    "checks": [{"name": "t", "job": {"component": "web", "junit": "/r.xml"}}]
                },
            },
            "UnsupportedCheck",
            "check t asks for a report",
        ),
    ],
)
async def test_what_keeps_a_release_from_a_cluster_is_said(
    stage: dict[str, Any], reason: str, why: str
) -> None:
    pipelines = await begun(**stage)
    await pipelines.cluster("east", namespaces=[NAMESPACE])
    await pipelines.push("one")

    await pipelines.settle()

    assert (await pipelines.phases()).get(PRODUCTION, "Waiting") == "Waiting"
    found = await degradation(pipelines)
    assert found[0] == reason
    assert why in found[1]


async def test_a_cluster_that_may_run_no_jobs_gets_no_release_that_they_check() -> None:
    checks = {"checks": [{"name": "t", "job": {"component": "web"}}]}
    pipelines = await begun(cluster="east", verification=checks)
    await pipelines.cluster("east")
    pipelines.remotes.known["east"].denied = {("create", "jobs")}
    await pipelines.goes_away("east")
    await pipelines.comes_back("east")
    await pipelines.push("one")

    await pipelines.settle()

    reason, why = await degradation(pipelines)
    assert reason == "MissingRights"
    assert "create jobs.batch in all namespaces" in why
    assert await pipelines.image_in("east") != image("one")


async def test_a_cluster_that_is_away_holds_up_its_stage_alone() -> None:
    pipelines = await begun(cluster="east")
    await pipelines.cluster("east")
    await pipelines.goes_away("east")
    await pipelines.push("one")
    await pipelines.settle()

    assert (await pipelines.phases())["shop-1.dev"] == "Succeeded"
    assert "No route to host" in (await degradation(pipelines))[1]
    asked = pipelines.remotes.known["east"].asked

    await pipelines.settle()
    assert pipelines.remotes.known["east"].asked == asked, "whoever waits does not ask it"

    await pipelines.comes_back("east")
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"


async def test_one_that_goes_away_in_mid_rollout_is_waited_for_without_end() -> None:
    pipelines = await begun(cluster="east", rolloutSeconds=60)
    await pipelines.cluster("east")
    pipelines.slow_in.add("east")
    await pipelines.push("one")
    await pipelines.settle()
    assert await pipelines.progress(PRODUCTION) == {"east": "RollingOut"}

    pipelines.remotes.known["east"].is_away = True  # before anybody has looked
    await pipelines.settle()
    assert await pipelines.progress(PRODUCTION) == {"east": "Away"}
    await pipelines.look("east")
    pipelines.clock.advance(3600)
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "RollingOut"

    pipelines.slow_in.clear()
    await pipelines.comes_back("east")
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"


async def test_rights_that_are_taken_in_mid_rollout_hold_it_up_until_they_are_back() -> None:
    pipelines = await begun(cluster="east", rolloutSeconds=60)
    await pipelines.cluster("east")
    pipelines.remotes.known["east"].denied = {("patch", "deployments")}  # nobody has looked yet
    await pipelines.push("one")

    await pipelines.settle()

    promotion = await pipelines.promotion(PRODUCTION)
    [there] = promotion.status.clusters
    assert there.phase.value == "Away"
    assert "grant patch" in there.message
    assert "grant patch" in promotion.status.message
    await pipelines.look("east")
    await pipelines.settle()
    reason, why = await degradation(pipelines)
    assert reason == "MissingRights"
    assert "the access lacks: patch deployments.apps" in why
    pipelines.clock.advance(3600)
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "RollingOut"

    pipelines.remotes.known["east"].denied.clear()
    await pipelines.look("east")
    await pipelines.settle()
    assert (await pipelines.phases())[PRODUCTION] == "Succeeded"
    assert await pipelines.image_in("east") == image("one")


async def test_images_are_copied_to_the_mirror_of_each_cluster_first() -> None:
    pipelines = await begun(cluster="east", mirror="mirror.example/all")
    await pipelines.cluster("east", mirror="registry.east.example/apps")
    await pipelines.push("one")

    await pipelines.settle()

    digest = image("one").partition("@")[2]
    goal = await pipelines.image_in("east")
    assert goal.startswith("registry.east.example/apps/")
    assert goal.endswith(digest)
    assert (image("one"), goal) in pipelines.registry.copied


async def test_what_cannot_be_copied_yet_is_set_nowhere_until_it_is() -> None:
    pipelines = await begun(cluster="east", mirror="mirror.example/all")
    await pipelines.cluster("east", mirror="registry.east.example/apps")
    pipelines.registry.away.add("registry.east.example")
    await pipelines.push("one")
    await pipelines.settle()
    assert await pipelines.image_in("east") == "registry.test/shop/web:declared"
    assert await pipelines.progress(PRODUCTION) == {"east": "Waiting"}

    pipelines.registry.away.clear()
    await pipelines.settle()
    goal = await pipelines.image_in("east")
    assert (image("one"), goal) in pipelines.registry.copied


NEXT = "shop-2.production"


async def images(pipelines: ClusteredPipeline) -> str:
    """Return which clusters run the second Release, in order."""
    return "".join([n for n in "abcd" if await pipelines.image_in(n) == image("two")])


async def test_a_release_goes_to_the_canary_first_and_then_in_steps() -> None:
    pipelines = await many(maxConcurrency=2)
    pipelines.slow_in |= {"a", "b", "c", "d"}
    await pipelines.push("two")
    await pipelines.settle()
    assert await images(pipelines) == "a"

    pipelines.slow_in.discard("a")
    await pipelines.settle()
    assert await images(pipelines) == "abc"
    assert await pipelines.progress(NEXT) == {
        "a": "Complete",
        "b": "RollingOut",
        "c": "RollingOut",
        "d": "Waiting",
    }

    pipelines.slow_in.clear()
    await pipelines.settle()
    assert await images(pipelines) == "abcd"
    assert (await pipelines.phases())[NEXT] == "Succeeded"
    assert "two" not in await pipelines.image_in("other")


async def test_a_canary_that_fails_stops_the_stage_and_spares_all_others() -> None:
    pipelines = await many(maxUnavailable=4)
    pipelines.stuck_in.add("a")
    await pipelines.push("two")

    await pipelines.settle()

    assert (await pipelines.phases())[NEXT] == "Failed"
    assert await images(pipelines) == ""
    assert "cluster a: " in (await pipelines.promotion(NEXT)).status.message
    assert await pipelines.image_in("a") == image("one")


async def test_as_many_may_fail_as_the_stage_allows() -> None:
    pipelines = await many(maxUnavailable=1)
    pipelines.stuck_in.add("b")
    await pipelines.push("two")

    await pipelines.settle()

    assert (await pipelines.phases())[NEXT] == "Succeeded"
    assert await images(pipelines) == "acd"
    assert await pipelines.image_in("b") == image("one"), "it was put back there"
    behind = await pipelines.behind("production")
    assert behind["b"].phase == "Failed"
    reason, why = await degradation(pipelines)
    assert reason == "ClusterBehind"
    assert why.startswith("stage production: cluster b is behind: ")


async def test_one_more_that_fails_puts_all_back() -> None:
    pipelines = await many(maxUnavailable=1)
    pipelines.stuck_in |= {"b", "c"}
    await pipelines.push("two")

    await pipelines.settle()

    assert (await pipelines.phases())[NEXT] == "Failed"
    assert await images(pipelines) == ""
    message = (await pipelines.promotion(NEXT)).status.message
    assert "cluster b: " in message
    assert "shop-1 was restored" in message


async def test_clusters_that_are_away_are_left_behind_and_catch_up() -> None:
    pipelines = await many(maxUnavailable=1)
    await pipelines.goes_away("c")
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())[NEXT] == "Succeeded"
    behind = await pipelines.behind("production")
    assert behind["c"].phase == "Away"
    assert "No route to host" in behind["c"].message

    await pipelines.comes_back("c")
    await pipelines.catch_up()
    await pipelines.settle()

    assert await images(pipelines) == "abcd"
    assert await pipelines.behind("production") == {}
    assert await degradation(pipelines) == ("AsExpected", "")


async def test_a_mirror_that_takes_no_image_is_a_fault_of_the_pipeline() -> None:
    pipelines = await many(maxUnavailable=1)
    await pipelines.cluster("e", mirror="broken.example/apps")
    pipelines.registry.refusing.add("broken.example")
    await pipelines.push("two")
    await pipelines.settle()

    assert (await pipelines.phases())[NEXT] == "Succeeded"
    reason, why = await degradation(pipelines)
    assert reason == "ClusterBehind"
    assert "cluster e is behind: its images cannot be copied" in why


async def test_with_more_clusters_away_than_may_be_no_further_one_begins() -> None:
    pipelines = await many(maxUnavailable=1)
    pipelines.slow_in.add("a")
    await pipelines.push("two")
    await pipelines.settle()
    await pipelines.goes_away("c")
    await pipelines.goes_away("d")
    pipelines.slow_in.clear()
    await pipelines.settle()

    assert await images(pipelines) == "a"
    found = (await pipelines.promotion(NEXT)).status
    assert found.phase == "RollingOut"
    assert "no further cluster begins: 2 are behind, 1 may be" in found.message

    await pipelines.comes_back("d")
    await pipelines.settle()
    assert (await pipelines.phases())[NEXT] == "Succeeded"
    assert await images(pipelines) == "abd"


async def test_one_that_was_away_when_all_went_back_goes_back_too() -> None:
    pipelines = await many(maxUnavailable=1, maxConcurrency=3)
    pipelines.slow_in |= {"b", "c", "d"}
    await pipelines.push("two")
    await pipelines.settle()
    assert await images(pipelines) == "abcd"
    await pipelines.goes_away("b")
    pipelines.slow_in.clear()
    pipelines.stuck_in |= {"c", "d"}
    await pipelines.settle()
    assert (await pipelines.phases())[NEXT] == "Failed"
    assert await images(pipelines) == "b"

    await pipelines.comes_back("b")
    await pipelines.catch_up()
    assert await pipelines.image_in("b") == image("one")


async def test_a_cluster_that_comes_later_gets_what_serves() -> None:
    pipelines = await many()
    await pipelines.cluster("e")

    await pipelines.catch_up()

    assert await pipelines.image_in("e") == image("one")
    assert (await pipelines.progress(PRODUCTION))["e"] == "Complete"


async def test_an_image_that_is_set_by_hand_is_told_and_stays_until_it_is_set_right() -> None:
    pipelines = await many()
    await pipelines.catch_up()
    await pipelines.sets_by_hand("b", "registry.test/shop/web:debug")

    await pipelines.catch_up()
    assert (await pipelines.progress(PRODUCTION))["b"] == "Complete", "it was looked at just now"
    pipelines.clock.advance(300)
    await pipelines.catch_up()
    await pipelines.settle()

    assert (await pipelines.progress(PRODUCTION))["b"] == "Drifted"
    assert await pipelines.image_in("b") == "registry.test/shop/web:debug"
    reason, why = await degradation(pipelines)
    assert reason == "WorkloadDrifted"
    assert "cluster b: Deployment shop/web: container web has registry.test/shop/web:debug" in why

    await pipelines.goes_away("b")
    await pipelines.comes_back("b")
    await pipelines.sets_by_hand("b", image("one"))
    pipelines.clock.advance(300)
    await pipelines.catch_up()
    await pipelines.settle()
    assert await degradation(pipelines) == ("AsExpected", "")


async def test_what_a_cluster_had_when_a_promotion_ended_is_kept_and_absence_is_told_now() -> None:
    pipelines = await many(maxUnavailable=1)
    ended = (await pipelines.promotion(PRODUCTION)).status.clusters
    pipelines.clock.advance(720)

    await pipelines.goes_away("b")
    await pipelines.catch_up()
    await pipelines.settle()
    away = (await pipelines.behind("production"))["b"]
    assert (away.phase, away.release) == ("Away", "shop-1")
    assert "No route to host" in away.message
    assert away.since == pipelines.clock()
    reason, why = await degradation(pipelines)
    assert reason == "ClusterBehind"
    assert "cluster b is behind: " in why
    assert (await pipelines.promotion(PRODUCTION)).status.clusters == ended

    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.progress(NEXT))["b"] == "Away"
    await pipelines.comes_back("b")
    await pipelines.catch_up()
    await pipelines.settle()
    assert (await pipelines.promotion(PRODUCTION)).status.clusters == ended
    assert (await pipelines.progress(NEXT))["b"] == "Complete"


async def test_an_absence_does_not_change_since_when_a_cluster_has_its_release() -> None:
    pipelines = await many(maxUnavailable=1)
    before = (await pipelines.promotion(PRODUCTION)).status.clusters
    pipelines.clock.advance(720)

    for _ in range(2):
        await pipelines.goes_away("b")
        await pipelines.catch_up()
        await pipelines.settle()
        pipelines.clock.advance(61)
        await pipelines.comes_back("b")
        await pipelines.catch_up()
        await pipelines.settle()

    assert (await pipelines.promotion(PRODUCTION)).status.clusters == before
    assert await pipelines.behind("production") == {}
    assert await degradation(pipelines) == ("AsExpected", "")


async def test_a_held_stage_brings_nothing_to_clusters_that_come() -> None:
    pipelines = await many()
    pipeline = await pipelines.store.get(Pipeline, NAMESPACE, "shop")
    await pipelines.store.update(with_hold(pipeline, "production", "incident"))
    await pipelines.cluster("e")

    await pipelines.catch_up()

    assert await pipelines.image_in("e") != image("one")


@pytest.mark.parametrize("lives", range(12))
async def test_a_killed_server_goes_on_where_it_was(lives: int) -> None:
    pipelines = await many(maxConcurrency=2)
    await pipelines.push("two")

    await pipelines.settle_killed(lives)
    await pipelines.settle()

    assert (await pipelines.phases())[NEXT] == "Succeeded"
    assert await images(pipelines) == "abcd"
