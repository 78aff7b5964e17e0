"""Signatures and attestations that cosign itself has made, judged where it left them."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.registry.embedded_server import serving
from tests.support.registry.signed_images import (
    PROVENANCE,
    CosignKey,
    image_judge,
)
from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.signing.cosign import Cosign, cosign_in

from upwell.api.image_policies.policy import AttestationRequirement, ImagePolicySpec, PolicyPoint
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.signatures.verification import VerdictReason
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.registry.client.client import RegistryClient
from upwell.store.memory import MemoryStore

PREDICATE = """{
  "buildDefinition": {"buildType": "https://example.test", "externalParameters": {}},
  "runDetails": {"builder": {"id": "https://builder.test/one"}}
}"""


class KeyedCosign(Cosign):
    """cosign with a key of its own."""

    async def sign(self, image: Reference) -> None:
        await self.run(
            "sign", "--key=cosign.key", "--tlog-upload=false", "--yes", "--allow-http-registry",
            str(image),
        )  # fmt: skip

    async def attest(self, image: Reference) -> None:
        (self.folder / "predicate.json").write_text(PREDICATE)
        await self.run(
            "attest", "--key=cosign.key", "--tlog-upload=false", "--yes", "--allow-http-registry",
            f"--type={PROVENANCE}", "--predicate=predicate.json", str(image),
        )  # fmt: skip

    def policy(self, *scopes: str, builder: str = "") -> ImagePolicySpec:
        """Return a policy that asks for this key, and for provenance if a builder is named."""
        signer = CosignKey()
        signer.pem = (self.folder / "cosign.pub").read_bytes()
        wanted = AttestationRequirement(predicate_type=PROVENANCE, builder=builder)
        return signer.spec(*scopes, attestations=(wanted,) if builder else ())


@pytest.fixture
async def cosign(tmp_path: Path) -> KeyedCosign:
    found = KeyedCosign(cosign_in(tmp_path).program, tmp_path)
    await found.run("generate-key-pair")
    return found


@pytest.fixture(params=["docker-registry", "embedded"])
async def host(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[str]:
    folder = tmp_path / "registry"
    folder.mkdir()
    if request.param == "embedded":
        async with serving(folder) as served:
            yield served.registry.host
        return
    async with docker_registry(folder) as found:
        yield found


async def test_what_cosign_has_signed_and_attested_passes(cosign: KeyedCosign, host: str) -> None:
    manifest = await push_image(host, "team/app", "1")
    image = Reference.parse(f"{host}/team/app").with_digest(manifest.digest)
    clock = MemoryClock()
    store = MemoryStore(clock)
    async with RegistryClient(unrestricted()) as client:
        judge = image_judge(store, client, clock)

        async def reason(spec: ImagePolicySpec) -> VerdictReason:
            asked = ImageQuestion(image, "shop", PolicyPoint.ROLLOUT, trial=spec, quiet=True)
            (found,) = (await judge.judge(asked)).verdicts
            return found.verdict.reason

        signed = cosign.policy(host)
        assert await reason(signed) is VerdictReason.NOT_SIGNED
        await cosign.sign(image)
        assert await reason(signed) is VerdictReason.VERIFIED
        assert await reason(CosignKey().spec(host)) is VerdictReason.NOT_TRUSTED

        built = cosign.policy(host, builder="https://builder\\.test/.*")
        assert await reason(built) is VerdictReason.NOT_ATTESTED
        await cosign.attest(image)
        assert await reason(built) is VerdictReason.VERIFIED
        elsewhere = cosign.policy(host, builder="https://other\\.test/.*")
        assert await reason(elsewhere) is VerdictReason.ATTESTATION_DIFFERS
