"""Image policies on real parts: what nobody has signed is kept out, the rest goes live."""

from functools import partial

from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import Installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish
from tests.support.registry.signed_images import PROVENANCE, CosignKey, cluster_policy, sign_at

from upwell.api.codec import encode
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import (
    AttestationRequirement,
    ClusterImagePolicy,
    ImagePolicySpec,
)
from upwell.oci.registry_names import OPENSHIFT_NAME
from upwell.store.interface import ApiClient

_DOCKERFILE = """\
FROM base:1
RUN mkdir -p /www && cat /etc/base-version > /www/index.html
CMD ["/bin/serve"]
"""
VENDOR, STRANGER = CosignKey(), CosignKey()


async def ask_for(client: ApiClient, name: str, spec: ImagePolicySpec) -> None:
    document = encode(cluster_policy(name, spec))
    await client.call("POST", ClusterImagePolicy, "", "", "", document)


def built_here(made: Installation) -> ImagePolicySpec:
    """Return a policy that asks for what this server has built, with its provenance."""
    own = CosignKey()
    own.pem = made.upwell("signing", "public-key").stdout.encode()
    wanted = AttestationRequirement(predicate_type=PROVENANCE)
    return own.spec(OPENSHIFT_NAME, at=("rollout",), attestations=(wanted,))


async def import_failure(client: ApiClient) -> str:
    tag = (await client.get(ImageStream, "default", "base")).status.tag("1")
    failed = find(tag.conditions, "ImportSuccess") if tag is not None else None
    return failed.reason if failed is not None else ""


async def found_at(client: ApiClient, name: str) -> set[str]:
    """Return the points at which a policy found an image that does not pass."""
    policy = await client.get(ClusterImagePolicy, "", name)
    return {one.at for one in policy.status.findings}


async def test_an_unsigned_base_is_kept_out_and_a_signed_one_goes_live(
    made: Installation, client: ApiClient
) -> None:
    built = built_here(made)
    await ask_for(client, "vendor", VENDOR.spec(made.vendor))
    await ask_for(client, "own", STRANGER.spec(OPENSHIFT_NAME, mode="warn"))
    await ask_for(client, "built", built)
    await publish(made.vendor, "vendor/base:1", "1.0")
    await made.apply(
        client,
        base_stream(made.vendor)
        + stream("shop")
        + docker_build("shop", dockerfile=_DOCKERFILE)
        + deployment("shop")
        + published("shop"),
    )
    await until(partial(import_failure, client), "ImagePolicyNotSatisfied".__eq__)
    image = f"{made.vendor}/vendor/base:1"
    refused = made.upwell("image", "verify", image, "--at", "import")
    assert refused.returncode == 1
    assert "ClusterImagePolicy vendor (enforce): NotSigned: it has no signature" in refused.stdout

    first = await publish(made.vendor, "vendor/base:1", "1.1")
    await sign_at(made.vendor, "vendor/base", first, VENDOR)
    await until(partial(answer, made.router_port, "shop.test"), "1.1".__eq__)
    passed = made.upwell("image", "verify", image)
    assert (passed.returncode, "ClusterImagePolicy vendor: passed" in passed.stdout) == (0, True)

    second = await publish(made.vendor, "vendor/base:1", "2.0")
    await sign_at(made.vendor, "vendor/base", second, STRANGER)
    await until(partial(import_failure, client), "ImagePolicyNotSatisfied".__eq__)
    assert await answer(made.router_port, "shop.test") == "1.1"
    await until(partial(found_at, client, "own"), {"rollout"}.__eq__)

    await sign_at(made.vendor, "vendor/base", second, VENDOR)
    await until(partial(answer, made.router_port, "shop.test"), "2.0".__eq__)
    assert await import_failure(client) == ""
    policy = await client.get(ClusterImagePolicy, "", "vendor")
    assert [one for one in policy.status.findings if one.image.endswith(str(second))] == []
