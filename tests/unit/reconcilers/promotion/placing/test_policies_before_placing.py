"""Image policies of rollouts before a stage's workloads on clusters are written."""

from dataclasses import replace

from tests.support.promotion.cluster_pipeline import ClusterPipeline
from tests.support.promotion.clustered_pipeline import ClusteredPipeline
from tests.support.promotion.reconciled_pipeline import ReconciledPipeline, image
from tests.support.registry.memory import RegistryInMemory
from tests.support.registry.signed_images import (
    CosignKey,
    add_evidence,
    cluster_policy,
    image_judge,
)

from upwell.formats.attachment_tags import signature_tag
from upwell.oci import Reference
from upwell.reconcilers.cluster_rollouts.image_policies import RolloutPolicies
from upwell.reconcilers.promotion.placing.cluster import ClusterRollouts
from upwell.reconcilers.promotion.placing.machine import MachineRollouts

KEY = CosignKey()


async def restrict(pipelines: ReconciledPipeline) -> RegistryInMemory:
    """Ask for signatures at rollouts, and return the registry that may have them."""
    registry = RegistryInMemory()
    pipelines.policies = image_judge(pipelines.store, registry, pipelines.clock)
    if isinstance(pipelines, ClusterPipeline):
        judged = replace(pipelines.parts, policies=RolloutPolicies(pipelines.policies))
        pipelines.rollouts = ClusterRollouts(
            judged, pipelines.clock, MachineRollouts(pipelines.store)
        )
    pipelines.restart()
    await pipelines.store.create(cluster_policy("signed", KEY.spec("*", at=("rollout",))))
    return registry


def sign(pipelines: ReconciledPipeline, registry: RegistryInMemory, version: str) -> None:
    reference = Reference.parse(image(version))
    assert reference.digest is not None
    add_evidence(registry, reference, [KEY.signature_blob(reference.name, reference.digest)])
    pipelines.policies.note_signed(signature_tag(reference.digest))


async def test_a_stage_gets_an_image_once_it_is_signed() -> None:
    pipelines = ClusterPipeline()
    await pipelines.pipeline({"name": "dev"})
    await pipelines.push("one")
    await pipelines.settle()
    registry = await restrict(pipelines)
    await pipelines.push("two")
    await pipelines.settle()
    assert await pipelines.running("dev-shop") == image("one")
    waiting = await pipelines.promotion("shop-2.dev")
    assert waiting.status.phase.value == "RollingOut"
    assert "ClusterImagePolicy signed: it has no signature" in waiting.status.message
    assert pipelines.cluster.told[-1].reason == "ImagePolicyNotSatisfied"

    sign(pipelines, registry, "two")
    await pipelines.settle()
    assert await pipelines.running("dev-shop") == image("two")


async def test_what_fails_is_put_back_whatever_policies_say() -> None:
    pipelines = ClusterPipeline()
    await pipelines.pipeline({"name": "dev"})
    await pipelines.push("one")
    await pipelines.settle()
    registry = await restrict(pipelines)
    pipelines.broken.add(image("two"))
    sign(pipelines, registry, "two")
    await pipelines.push("two")
    await pipelines.settle()
    assert (await pipelines.phases())["shop-2.dev"] == "Failed"
    assert await pipelines.running("dev-shop") == image("one")


async def test_another_cluster_gets_an_image_once_it_is_signed_here() -> None:
    pipelines = ClusteredPipeline()
    registry = await restrict(pipelines)
    there = {"name": "production", "workloads": [{"name": "web"}], "cluster": "east"}
    await pipelines.pipeline(there)
    await pipelines.cluster("east")
    await pipelines.push("one")
    await pipelines.settle()
    assert await pipelines.image_in("east") == "registry.test/shop/web:declared"
    waiting = await pipelines.promotion("shop-1.production")
    assert "ClusterImagePolicy signed: it has no signature" in waiting.status.message

    sign(pipelines, registry, "one")
    await pipelines.settle()
    assert await pipelines.image_in("east") == image("one")
    assert (await pipelines.phases())["shop-1.production"] == "Succeeded"
