"""Keyless signing: cosign verifies it, and services that are away or lie sign nothing."""

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from tests.support.registry.docker_registry import docker_registry, push_image
from tests.support.signing.cosign import cosign_in
from tests.support.signing.keyless_signers import BUILDER, keyless_signer
from tests.support.signing.sigstore_services import (
    ISSUER,
    CodeAuthority,
    Sigstore,
    TransparencyLog,
    sigstore_services,
)

from upwell.formats.sigstore import InTotoStatement, Subject
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.reconcilers.signing.images import ImageSigning, SignerAwayError
from upwell.registry.attachments.targets import RemoteArtifacts
from upwell.registry.attachments.writer import ImageAttachments
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.interface import DEFAULT_ACCESS
from upwell.signing.interface import SigningServiceError
from upwell.signing.key_signer import KeySigner
from upwell.signing.keyless import KeylessSigner
from upwell.signing.keys import ImageSigner

KIND = "https://predicates.test/one"


@pytest.fixture
async def services() -> AsyncIterator[Sigstore]:
    async with sigstore_services() as running:
        yield running


@pytest.fixture
async def signer(services: Sigstore, tmp_path: Path) -> AsyncIterator[KeylessSigner]:
    async with keyless_signer(services, tmp_path) as made:
        yield made


async def test_cosign_verifies_what_was_signed_when_the_log_was_back(
    services: Sigstore, signer: KeylessSigner, tmp_path: Path
) -> None:
    (tmp_path / "rekor.pub").write_bytes(services.log.pem())
    (tmp_path / "fulcio.pem").write_bytes(services.authority.pem())
    cosign = cosign_in(
        tmp_path, SIGSTORE_REKOR_PUBLIC_KEY="rekor.pub", SIGSTORE_ROOT_FILE="fulcio.pem"
    )
    whom = (
        f"--certificate-identity={BUILDER}", f"--certificate-oidc-issuer={ISSUER}",
        "--certificate-chain=fulcio.pem", "--insecure-ignore-sct", "--offline",
        f"--rekor-url={services.url}", "--allow-http-registry",
    )  # fmt: skip
    own = ImageSigner.generate()
    (tmp_path / "own.pub").write_bytes(own.key.pem())
    folder = tmp_path / "registry"
    folder.mkdir()
    async with docker_registry(folder) as host, RegistryClient(unrestricted()) as client:
        manifest = await push_image(host, "team/app", "1")
        image = Reference.parse(f"{host}/team/app").with_digest(manifest.digest)
        target = RemoteArtifacts(client, RegistryPusher(client.connection))
        attachments = ImageAttachments(client, "", target, target)
        signing = ImageSigning(attachments, KeySigner(lambda: own), [signer])
        statement = InTotoStatement((Subject(image.name, manifest.digest),), KIND, {"so": True})

        services.rekor_status = 503
        with pytest.raises(SignerAwayError, match="HTTP 503"):
            await signing.sign(image, DEFAULT_ACCESS)
        assert await signing.is_signed(image, DEFAULT_ACCESS)  # by the server's key
        services.rekor_status = 0
        for _ in range(2):
            await signing.sign(image, DEFAULT_ACCESS)
            await signing.attest(image, statement, DEFAULT_ACCESS)
        assert len(await attachments.signatures(image)) == 2
        assert len(await attachments.attestations(image, KIND)) == 2
        assert len(services.tokens) == 3

        await cosign.run("verify", *whom, str(image))
        await cosign.run("verify-attestation", *whom, f"--type={KIND}", str(image))
        await cosign.run(
            "trusted-root", "create", "--certificate-chain=fulcio.pem", "--rekor-key=rekor.pub",
            "--rekor-start-time=2020-01-01T00:00:00Z", "--out=root.json",
        )  # fmt: skip
        await cosign.run(
            "verify-attestation", *whom[:2], "--new-bundle-format", "--trusted-root=root.json",
            "--insecure-ignore-sct", "--allow-http-registry", f"--type={KIND}", str(image),
        )  # fmt: skip
        keyed = ("--key=own.pub", "--insecure-ignore-tlog", "--allow-http-registry")
        await cosign.run("verify", *keyed, str(image))
        await cosign.run("verify-attestation", *keyed, f"--type={KIND}", str(image))


def _other_authority(services: Sigstore) -> None:
    services.authority = CodeAuthority("intermediate", above=CodeAuthority("root"))


def _other_log(services: Sigstore) -> None:
    services.log = TransparencyLog()


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        (lambda one: setattr(one, "fulcio_status", 401), "identity-token-file"),
        (lambda one: setattr(one, "fulcio_status", 500), "HTTP 500"),
        (lambda one: setattr(one, "identity", "other@upwell.test"), "other@upwell.test"),
        (_other_authority, "does not ask for"),
        (lambda one: setattr(one, "rekor_status", 429), "HTTP 429"),
        (lambda one: setattr(one, "foreign_body", True), "another entry"),
        (_other_log, "not of the policy's log"),
    ],
)
async def test_services_that_are_away_or_lie_sign_nothing(
    services: Sigstore, signer: KeylessSigner, wrong: Callable[[Sigstore], None], why: str
) -> None:
    wrong(services)
    with pytest.raises(SigningServiceError, match=why):
        await signer.sign_payload(b"payload")
    with pytest.raises(SigningServiceError, match=why):
        await signer.sign_statement(b"{}")


async def test_a_certificate_for_somebody_else_is_not_logged(
    services: Sigstore, signer: KeylessSigner
) -> None:
    services.identity = "other@upwell.test"
    with pytest.raises(SigningServiceError):
        await signer.sign_payload(b"payload")
    assert services.log.leaves == []


async def test_a_token_is_read_when_it_is_needed(
    services: Sigstore, signer: KeylessSigner, tmp_path: Path
) -> None:
    token = tmp_path / "identity-token"
    renewed = token.read_text()
    for content, why in (("", "is empty"), ("é", "no identity token")):
        token.write_text(content)
        with pytest.raises(SigningServiceError, match=why):
            await signer.sign_payload(b"payload")
    token.unlink()
    with pytest.raises(SigningServiceError, match="cannot be read"):
        await signer.sign_payload(b"payload")
    token.write_text(renewed)
    await signer.sign_payload(b"payload")
    assert services.tokens == [renewed.strip()]
