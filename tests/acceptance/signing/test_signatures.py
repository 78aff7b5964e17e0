"""Images that builds make are signed and attested, as Debian's cosign checks them."""

import base64
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from tests.support.installation.applications import base_stream, docker_build, stream
from tests.support.installation.installation import Installation, installation, until
from tests.support.installation.vendor_images import publish
from tests.support.registry.signed_images import cluster_policy
from tests.support.signing.keyless_policies import fulcio_policy
from tests.support.signing.keyless_signers import BUILDER
from tests.support.signing.sigstore_services import (
    ISSUER,
    Sigstore,
    identity_token,
    sigstore_services,
)

from upwell.api.builds.build import Build
from upwell.api.codec import encode
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import AttestationRequirement
from upwell.store.interface import ApiClient

DOCKERFILE = "FROM base:1\nRUN cp /etc/base-version /here\n"


@pytest.fixture
async def services() -> AsyncIterator[Sigstore]:
    async with sigstore_services() as running:
        yield running


@pytest.fixture
async def made(services: Sigstore) -> AsyncIterator[Installation]:
    if shutil.which("cosign") is None:
        pytest.skip("needs cosign: apt-get install cosign")
    async with installation(prepare=partial(sign_keyless, services)) as running:
        yield running


def sign_keyless(services: Sigstore, made: Installation) -> None:
    """Let the server sign by certificates too."""
    (made.folder / "fulcio.pem").write_bytes(services.authority.pem())
    (made.folder / "rekor.pub").write_bytes(services.log.pem())
    (made.folder / "identity-token").write_text(identity_token(BUILDER))
    config = made.folder / "upwell.toml"
    config.write_text(f"""\
[keyless]
fulcio = "{services.url}"
rekor = "{services.url}"
fulcio-ca-file = "{made.folder}/fulcio.pem"
rekor-key-file = "{made.folder}/rekor.pub"
identity-token-file = "{made.folder}/identity-token"
issuer = "{ISSUER}"
identity = "{BUILDER}"
""")
    made.options = (*made.options, "--config", str(config))


async def test_cosign_verifies_what_a_build_pushes_here_and_elsewhere(
    made: Installation, client: ApiClient, services: Sigstore, tmp_path: Path
) -> None:
    base = await publish(made.vendor, "vendor/base:1", "1.0")
    outside = docker_build("outside", dockerfile=DOCKERFILE).replace(
        "kind: ImageStreamTag, name: 'outside:latest'",
        f"kind: DockerImage, name: '{made.vendor}/built/outside:1'",
    )
    await made.apply(
        client,
        base_stream(made.vendor)
        + stream("app")
        + docker_build("app", dockerfile=DOCKERFILE)
        + outside,
    )
    app, other = await signed(client, "app-1"), await signed(client, "outside-1")

    logins = tmp_path / "config.json"
    logins.write_text(json.dumps({"auths": {f"127.0.0.1:{made.port}": {"auth": login(made)}}}))
    key = tmp_path / "image-signing.pub"
    key.write_text(public_key(made))
    for image, build in (
        (f"127.0.0.1:{made.port}/default/app@{digest(app)}", app),
        (f"{made.vendor}/built/outside@{digest(other)}", other),
    ):
        (claim,) = cosign("verify", key, image, tmp_path)
        assert claim["critical"]["image"]["docker-manifest-digest"] == image.partition("@")[2]
        (envelope,) = cosign("verify-attestation", key, image, tmp_path, "slsaprovenance1")
        predicate = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        assert predicate["runDetails"]["metadata"]["invocationId"].endswith(f"/{build.uid}")
        await attested(client, build.name)
        (envelope,) = cosign("verify-attestation", key, image, tmp_path, "spdxjson")
        document = json.loads(base64.b64decode(envelope["payload"]))["predicate"]
        assert "libc6" in {package["name"] for package in document["packages"]}
        assert {"sha256": base.hex} in [
            each["digest"] for each in predicate["buildDefinition"]["resolvedDependencies"]
        ]
    wanted = AttestationRequirement(predicate_type="https://spdx.dev/Document")
    keyless = cluster_policy("keyless", fulcio_policy(services, BUILDER, attestations=(wanted,)))
    (tmp_path / "policy.json").write_text(json.dumps(encode(keyless)))
    answer = made.upwell("image", "verify", image, "-f", str(tmp_path / "policy.json"))
    assert f"passed: signed by {BUILDER} at issuer {ISSUER}, logged at" in answer.stdout
    assert made.upwell("signing", "rotate").stdout == public_key(made) != key.read_text()
    assert key.read_text() in public_key(made, "--all")
    # Signatures are no images of the stream.
    tags = (await client.get(ImageStream, "default", "app")).status.tags
    assert [tag.tag for tag in tags] == ["latest"]


def public_key(made: Installation, *options: str) -> str:
    return made.upwell("signing", "public-key", *options).stdout


async def attested(client: ApiClient, name: str) -> Build:
    """Wait until a build says that the packages of its image are attested."""
    return await signed(client, name, "SBOMAttested")


async def signed(client: ApiClient, name: str, kind: str = "Signed") -> Build:
    """Wait until a build says that its image is signed."""

    async def build() -> Build | None:
        return next((one for one in (await client.list(Build)).items if one.name == name), None)

    def is_signed(one: Build | None) -> bool:
        condition = find(one.status.conditions, kind) if one else None
        return condition is not None and condition.is_true

    found = await until(build, is_signed)
    assert found is not None
    return found


def digest(build: Build) -> str:
    assert build.status.output is not None
    assert build.status.output.to is not None
    return build.status.output.to.image_digest


def login(made: Installation) -> str:
    return base64.b64encode(f"upwell:{made.token}".encode()).decode()


def cosign(
    verb: str, key: Path, image: str, folder: Path, predicate: str = ""
) -> list[dict[str, Any]]:
    """Return what cosign has verified; fails with its words."""
    done = subprocess.run(
        [
            *("cosign", verb, "--key", str(key), "--insecure-ignore-tlog"),
            *("--allow-http-registry", "--output", "json"),
            *(("--type", predicate) if predicate else ()),
            image,
        ],
        env={"DOCKER_CONFIG": str(folder), "HOME": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines() if line.strip()]
    return found[0] if found and isinstance(found[0], list) else found
