"""Keyless signatures: what cosign has signed with Fulcio and Rekor passes, as it left it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.integration.signatures.test_cosign import PREDICATE
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.registry.signed_images import image_judge
from tests.support.rollouts.memory_machine import MemoryClock
from tests.support.signing.cosign import Cosign, cosign_in
from tests.support.signing.keyless_policies import fulcio_policy
from tests.support.signing.sigstore_services import Sigstore, identity_token, sigstore_services

from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ImagePolicySpec,
    PolicyPoint,
    SignedIdentity,
)
from upwell.formats.sigstore.statement import COSIGN_SIGNATURE
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.signatures.verification import Verdict, VerdictReason
from upwell.reconcilers.signatures.questions import ImageQuestion
from upwell.registry.client.client import RegistryClient
from upwell.store.memory import MemoryStore

DEVELOPER = "developer@vendor.test"
FORMS = ("--rekor-entry-type=dsse", "--rekor-entry-type=intoto", "--new-bundle-format")


@pytest.fixture
async def services() -> AsyncIterator[Sigstore]:
    async with sigstore_services() as running:
        yield running


@pytest.fixture
def cosign(tmp_path: Path, services: Sigstore) -> Cosign:
    (tmp_path / "rekor.pub").write_bytes(services.log.pem())
    (tmp_path / "fulcio.pem").write_bytes(services.authority.pem())
    (tmp_path / "predicate.json").write_text(PREDICATE)
    return cosign_in(
        tmp_path, SIGSTORE_REKOR_PUBLIC_KEY="rekor.pub", SIGSTORE_ROOT_FILE="fulcio.pem"
    )


async def test_what_cosign_has_signed_keyless_passes(
    cosign: Cosign, services: Sigstore, tmp_path: Path
) -> None:
    keyless = (
        f"--fulcio-url={services.url}", f"--rekor-url={services.url}", "--yes",
        f"--identity-token={identity_token(DEVELOPER)}", "--insecure-skip-verify",
        "--allow-http-registry",
    )  # fmt: skip
    store = MemoryStore(MemoryClock())
    folder = tmp_path / "registry"
    folder.mkdir()
    async with docker_registry(folder) as host, RegistryClient(unrestricted()) as client:
        manifest = await push_image(host, "team/app", "1")
        image = Reference.parse(f"{host}/team/app").with_digest(manifest.digest)
        judge = image_judge(store, client, MemoryClock())

        async def verdict(spec: ImagePolicySpec, of: Reference = image) -> Verdict:
            asked = ImageQuestion(of, "shop", PolicyPoint.ROLLOUT, trial=spec, quiet=True)
            (found,) = (await judge.judge(asked)).verdicts
            return found.verdict

        wanted = fulcio_policy(services, DEVELOPER)
        assert (await verdict(wanted)).reason is VerdictReason.NOT_SIGNED
        await cosign.run("sign", *keyless, str(image))
        passed = await verdict(wanted)
        assert passed.passed
        assert passed.message.startswith(f"signed by {DEVELOPER} at issuer https://accounts.test,")
        assert not (await verdict(fulcio_policy(services, "other@vendor.test"))).passed

        for form in FORMS:
            kind = f"https://predicates.test/{form.strip('-')}"
            wanted = fulcio_policy(
                services, DEVELOPER, attestations=(AttestationRequirement(predicate_type=kind),)
            )
            assert (await verdict(wanted)).reason is VerdictReason.NOT_ATTESTED
            await cosign.run(
                "attest", *keyless, form, f"--type={kind}", "--predicate=predicate.json",
                str(image),
            )  # fmt: skip
            assert (await verdict(wanted)).passed, form

        # A signature of cosign 3: a bundle, which refers to an image that has nothing else.
        other = Reference.parse(f"{host}/team/other").with_digest(manifest.digest)
        await push_image(host, "team/other", "1")
        by_digest = fulcio_policy(
            services, DEVELOPER, identity=SignedIdentity(match_policy="MatchDigest")
        )
        assert (await verdict(by_digest, other)).reason is VerdictReason.NOT_SIGNED
        await cosign.run(
            "attest", *keyless, "--new-bundle-format", f"--type={COSIGN_SIGNATURE}",
            "--predicate=predicate.json", str(other),
        )  # fmt: skip
        assert (await verdict(by_digest, other)).passed
        named = fulcio_policy(services, DEVELOPER)
        assert (await verdict(named, other)).reason is VerdictReason.NOT_SIGNED
