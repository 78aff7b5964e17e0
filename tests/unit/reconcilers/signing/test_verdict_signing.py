"""Verdicts of stages beside the images that they are about, and beside no others."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.registry.hosted_images import push

from upwell.api.codec import decode
from upwell.api.conditions import find
from upwell.api.meta import ObjectKey, Resource
from upwell.api.promotion import Promotion
from upwell.formats.sigstore import PredicateType
from upwell.oci import Digest, Reference
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.signing.images import ImageSigning
from upwell.reconcilers.signing.promotions import ATTESTED, VerdictPorts, VerdictSigning
from upwell.reconcilers.signing.reporting import ConditionWriter
from upwell.registry.attachments.targets import HostedArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.signing.key_signer import KeySigner
from upwell.signing.keys import SigningKeys
from upwell.store.memory import MemoryStore

HOST = "registry.test"
NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = ObjectKey("Promotion", "shop", "web-1.dev")
CHECKS = [
    {"name": "smoke", "phase": "Passed"},
    {"name": "load", "phase": "Passed", "flaky": True},
]


class VerdictBench:
    """A store, the embedded registry, and what attests verdicts."""

    def __init__(self, folder: Path) -> None:
        self.store = MemoryStore(clock=lambda: NOW)
        self.registry = EmbeddedRegistry(folder / "registry", HOST)
        target = HostedArtifacts(self.registry)
        keys = SigningKeys(folder)
        self.signing = ImageSigning(
            ImageAttachments(self.registry, HOST, target, target), KeySigner(lambda: keys.signer)
        )
        ports = VerdictPorts(
            self.signing,
            PullSecrets(self.store),
            InsecureRegistries(self.store),
            HOST,
            "https://upwell.test",
        )
        self.verdicts = VerdictSigning(self.store, ports, ConditionWriter(self.store, lambda: NOW))

    async def create(self, kind: str, name: str, spec: Any, status: Any = None) -> Resource:
        made = await self.store.create(
            decode(
                {
                    "apiVersion": "upwell.dev/v1alpha1",
                    "kind": kind,
                    "metadata": {"name": name, "namespace": "shop"},
                    "spec": spec,
                }
            )
        )
        if status is None:
            return made
        shaped = decode({
            "apiVersion": "upwell.dev/v1alpha1",
            "kind": kind,
            "metadata": {"name": name, "namespace": "shop"},
            "status": status,
        })  # fmt: skip
        assert isinstance(made, Promotion)
        assert isinstance(shaped, Promotion)
        return await self.store.update_status(made.with_status(shaped.status))

    async def promoted(
        self,
        *images: str,
        mirror: str = "",
        purpose: str = "Promote",
        phase: str = "Succeeded",
        tested: Sequence[str] | None = None,
    ) -> None:
        """Create a Pipeline, a Release of these images, and a Promotion that has ended."""
        ran = [image.partition("@")[2] for image in (images if tested is None else tested)]
        components = [{"name": f"c{at}", "image": image} for at, image in enumerate(images)]
        stage = {"name": "dev", **({"mirror": mirror} if mirror else {})}
        await self.create("Pipeline", "web", {"stages": [stage]})
        await self.create("Release", "web-1", {"pipeline": "web", "components": components})
        await self.create(
            "Promotion",
            "web-1.dev",
            {"pipeline": "web", "release": "web-1", "stage": "dev", "purpose": purpose},
            {"phase": phase, "checks": CHECKS, "soakedSeconds": 5.0, "tested": ran},
        )

    async def results(self, repository: str, digest: Digest) -> list[dict[str, Any]]:
        image = Reference(HOST, repository, digest=digest)
        found = await self.signing.statements(image, PredicateType.TEST_RESULT, DEFAULT_ACCESS)
        return [dict(one.predicate) for one in found]

    async def condition(self) -> tuple[str, str]:
        promotion = await self.store.get(Promotion, "shop", "web-1.dev")
        found = find(promotion.status.conditions, ATTESTED)
        return (found.status, found.reason) if found else ("", "")


@pytest.fixture
def bench(tmp_path: Path) -> VerdictBench:
    return VerdictBench(tmp_path)


async def test_an_image_says_in_which_stage_it_passed_which_tests(bench: VerdictBench) -> None:
    digest = await push(bench.registry, "shop/web")
    await bench.promoted(f"{HOST}/shop/web@{digest}")

    for _ in range(2):
        await bench.verdicts.reconcile(KEY)

    (result,) = await bench.results("shop/web", digest)
    assert result["result"] == "PASSED"
    assert result["configuration"][0]["name"] == "shop/web/dev"
    assert result["passedTests"] == ["rollout", "soak", "smoke"]
    assert (result["warnedTests"], result["failedTests"]) == (["load"], [])
    assert result["url"].endswith("/namespaces/shop/promotions/web-1.dev")
    assert await bench.condition() == ("True", ATTESTED)


async def test_a_component_that_nothing_ran_in_the_stage_is_not_attested(
    bench: VerdictBench,
) -> None:
    ran = await push(bench.registry, "shop/web")
    idle = await push(bench.registry, "shop/cli", mark="another")
    images = [f"{HOST}/shop/web@{ran}", f"{HOST}/shop/cli@{idle}"]
    await bench.promoted(*images, tested=images[:1])

    await bench.verdicts.reconcile(KEY)

    assert len(await bench.results("shop/web", ran)) == 1
    assert await bench.results("shop/cli", idle) == []
    assert await bench.condition() == ("True", ATTESTED)


@pytest.mark.parametrize(
    ("purpose", "phase"),
    [("RollBack", "Succeeded"), ("Promote", "Failed"), ("Promote", "Verifying")],
)
async def test_what_was_not_verified_is_not_attested(
    bench: VerdictBench, purpose: str, phase: str
) -> None:
    digest = await push(bench.registry, "shop/web")
    await bench.promoted(f"{HOST}/shop/web@{digest}", purpose=purpose, phase=phase)

    await bench.verdicts.reconcile(KEY)

    assert await bench.results("shop/web", digest) == []
    assert await bench.condition() == ("", "")


async def test_images_of_other_namespaces_are_not_added_to_but_their_copies_are(
    bench: VerdictBench,
) -> None:
    digest = await push(bench.registry, "bank/vault")
    await push(bench.registry, "mirror/bank/vault")
    await bench.promoted(f"{HOST}/bank/vault@{digest}", mirror=f"{HOST}/mirror")

    await bench.verdicts.reconcile(KEY)

    assert await bench.results("bank/vault", digest) == []
    assert len(await bench.results("mirror/bank/vault", digest)) == 1


async def test_an_image_that_is_gone_holds_nothing_up(bench: VerdictBench) -> None:
    await bench.promoted(f"{HOST}/shop/web@{Digest.of(b'gone')}")

    result = await bench.verdicts.reconcile(KEY)

    assert result.requeue_after is None
    assert await bench.condition() == ("False", "ImageGone")


async def test_a_stages_first_verdict_on_an_image_is_the_one_that_stays(
    bench: VerdictBench,
) -> None:
    digest = await push(bench.registry, "shop/web")
    await bench.promoted(f"{HOST}/shop/web@{digest}")
    await bench.verdicts.reconcile(KEY)
    await bench.create(
        "Promotion",
        "web-1.dev.again",
        {"pipeline": "web", "release": "web-1", "stage": "dev", "purpose": "Verify"},
        {"phase": "Succeeded", "tested": [str(digest)]},
    )

    await bench.verdicts.reconcile(ObjectKey("Promotion", "shop", "web-1.dev.again"))

    (result,) = await bench.results("shop/web", digest)
    assert result["url"].endswith("/promotions/web-1.dev"), "not that of the second one"
