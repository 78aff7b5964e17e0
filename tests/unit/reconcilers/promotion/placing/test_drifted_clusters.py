"""Clusters on which somebody has set another image: a person has the Release put back there."""

from tests.support.cluster.workloads import APPLIED
from tests.support.promotion.clustered_pipeline import (
    PRODUCTION,
    WORKLOAD,
    ClusteredPipeline,
    begun,
    degradation,
    many,
)
from tests.support.promotion.reconciled_pipeline import NAMESPACE, image

from upwell.api.apps import Deployment
from upwell.policy.rollouts.triggers import HOLD_ANNOTATION

OTHER = "registry.test/shop/web:debug"
AGAIN = f"{PRODUCTION}.2"


async def drifted(name: str, manager: str = APPLIED, **clusters: int) -> ClusteredPipeline:
    """Return a Pipeline to four clusters, of which one has another image, and is told so."""
    pipelines = await many(**clusters)
    await pipelines.sets_by_hand(name, OTHER, manager)
    await looked(pipelines)
    assert await pipelines.progress(PRODUCTION) == {
        one: "Drifted" if one == name else "Complete" for one in "abcd"
    }
    return pipelines


async def looked(pipelines: ClusteredPipeline) -> None:
    """Have clusters be compared with what was promoted."""
    pipelines.clock.advance(300)
    await pipelines.catch_up()
    await pipelines.settle()


async def test_a_person_who_promotes_what_serves_has_it_put_back_where_it_drifted() -> None:
    pipelines = await drifted("b")
    told = (await degradation(pipelines))[1]
    assert "`upwell promote shop-1 --stage production` puts it back" in told
    writes = pipelines.remotes.known["c"].memory.writes

    asked = await pipelines.asks("shop-1")
    await pipelines.settle()

    assert (asked.created, asked.promotion.name) == (True, AGAIN)
    ended = (await pipelines.promotion(AGAIN)).status
    assert (ended.phase, ended.message) == ("Succeeded", "")
    assert await pipelines.image_in("b") == image("one")
    assert pipelines.remotes.known["c"].memory.writes == writes
    assert await pipelines.behind("production") == {}
    assert await degradation(pipelines) == ("AsExpected", "")


async def test_a_person_who_promotes_what_serves_everywhere_gets_the_promotion_of_it() -> None:
    pipelines = await many()
    await pipelines.catch_up()

    asked = await pipelines.asks("shop-1")

    assert (asked.created, asked.promotion.name) == (False, PRODUCTION)


async def test_an_image_that_somebody_else_owns_stays_and_the_promotion_says_so() -> None:
    pipelines = await drifted("b", "kubectl-set")

    await pipelines.asks("shop-1")
    await pipelines.settle()

    assert await pipelines.image_in("b") == OTHER
    ended = (await pipelines.promotion(AGAIN)).status
    assert ended.phase == "Succeeded"
    assert ended.message.startswith("without cluster b, Drifted: Deployment shop/web: ")
    assert "owned by field manager kubectl-set: apply the manifest again" in ended.message
    assert (await degradation(pipelines))[0] == "WorkloadDrifted"
    assert (await pipelines.behind("production"))["b"].phase == "Drifted"

    await pipelines.sets_by_hand("b", OTHER, APPLIED)
    await looked(pipelines)
    assert await pipelines.image_in("b") == OTHER, "it stays until a person asks"
    await pipelines.asks("shop-1")
    await pipelines.settle()
    assert await pipelines.image_in("b") == image("one")
    assert await degradation(pipelines) == ("AsExpected", "")


async def test_a_canary_that_somebody_else_owns_is_waited_for_and_rejects_no_release() -> None:
    pipelines = await drifted("a", "kubectl-set")

    await pipelines.push("two")
    await pipelines.settle()

    going = (await pipelines.promotion("shop-2.production")).status
    assert going.phase == "RollingOut"
    assert "cluster a: Deployment shop/web: the image of container web is owned" in going.message
    assert await pipelines.image_in("b") == image("one")
    assert (await pipelines.release("shop-2")).status.rejection is None

    pipelines.clock.advance(3600)
    await pipelines.sets_by_hand("a", OTHER, APPLIED)
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.production"] == "Succeeded"
    assert [await pipelines.image_in(one) for one in "abcd"] == [image("two")] * 4


async def test_the_one_cluster_of_a_stage_is_waited_for_too() -> None:
    pipelines = await begun(cluster="east")
    await pipelines.cluster("east")
    await pipelines.push("one")
    await pipelines.settle()
    await pipelines.sets_by_hand("east", OTHER, "kubectl-set")
    await looked(pipelines)

    await pipelines.asks("shop-1")
    await pipelines.settle()

    assert (await pipelines.phases())[AGAIN] == "RollingOut"
    assert "owned by field manager kubectl-set" in (await pipelines.promotion(AGAIN)).status.message
    await pipelines.sets_by_hand("east", OTHER, APPLIED)
    await pipelines.settle()
    assert (await pipelines.phases())[AGAIN] == "Succeeded"
    assert await pipelines.image_in("east") == image("one")


async def test_a_workload_that_is_held_in_one_cluster_is_never_told_to_have_the_release() -> None:
    pipelines = await many()
    store = pipelines.remotes.known["b"].store
    found = await store.get(Deployment, NAMESPACE, WORKLOAD)
    held = {**found.annotations, HOLD_ANNOTATION: "incident"}
    await store.update(found.with_metadata(annotations=held))

    await pipelines.push("two")
    await pipelines.settle()
    await looked(pipelines)

    ended = (await pipelines.promotion("shop-2.production")).status
    assert (ended.phase, "held by a person: incident" in ended.message) == ("Succeeded", True)
    assert (await pipelines.progress("shop-2.production"))["b"] == "Drifted"
    assert await pipelines.image_in("b") == image("one")
