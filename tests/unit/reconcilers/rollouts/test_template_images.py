"""Images of templates: the logins to pull them."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from tests.support.rollouts.memory_machine import GOOD, RolloutSetup

from upwell.api.codec import decode_as
from upwell.api.core import Secret, ServiceAccount
from upwell.api.meta import LocalReference
from upwell.api.pod_template import PodTemplate
from upwell.oci import Digest, Reference
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.images import LocalImageUnknownError, TemplateImages
from upwell.registry.errors import ManifestUnknownError


async def images_of_a_namespace_with(
    setup: RolloutSetup, *secrets: str, **accounts: dict[str, Any]
) -> TemplateImages:
    """Return the images of namespaces; each Secret of `shop` has the login of its name."""
    for name in secrets:
        logins = {"registry.test": {"username": name, "password": "hunter2"}}
        config = json.dumps({"auths": logins}).encode()
        secret = Secret(
            type="kubernetes.io/dockerconfigjson",
            data=Secret.encode_values({".dockerconfigjson": config}),
        )
        await setup.apply(secret.with_metadata(namespace="shop", name=name))
    for name, links in accounts.items():
        place = {"name": name, "namespace": "shop"}
        await setup.apply(decode_as(ServiceAccount, {"metadata": place, **links}))
    return TemplateImages(setup.registry, PullSecrets(setup.store), InsecureRegistries(setup.store))


def template(account: str = "", secrets: Sequence[str] = ()) -> PodTemplate:
    made = PodTemplate()
    named = [LocalReference(name=name) for name in secrets]
    update = {"service_account_name": account, "image_pull_secrets": named}
    return made.model_copy(update={"spec": made.spec.model_copy(update=update)})


async def test_pull_secrets_become_logins() -> None:
    images = await images_of_a_namespace_with(RolloutSetup(), "robot")

    logins = await images.logins([GOOD, GOOD], "shop", PodTemplate())

    assert logins == (("registry.test", "robot", "hunter2"),)
    assert await images.logins([GOOD], "elsewhere", PodTemplate()) == ()


async def test_what_the_template_and_its_account_link_comes_before_the_others() -> None:
    links = {"imagePullSecrets": [{"name": "b-linked"}]}
    mine = {"secrets": [{"name": "c-mine"}]}
    images = await images_of_a_namespace_with(
        RolloutSetup(), "a-first", "b-linked", "c-mine", default=links, mine=mine
    )

    async def user_for(template: PodTemplate) -> str:
        ((_, user, _),) = await images.logins([GOOD], "shop", template)
        return user

    assert await user_for(template()) == "b-linked"
    assert await user_for(template("mine")) == "c-mine"
    assert await user_for(template("mine", ["b-linked"])) == "b-linked"
    assert await user_for(template("none")) == "a-first"


async def test_an_image_of_this_machine_is_what_its_storage_has() -> None:
    setup = RolloutSetup()
    own = {"localhost/tool:1": Digest.of(b"tool")}

    async def found(reference: Reference) -> Digest | None:
        return own.get(str(reference))

    images = TemplateImages(
        setup.registry, PullSecrets(setup.store), InsecureRegistries(setup.store), own=found
    )

    def template_of(image: str) -> PodTemplate:
        spec = {"containers": [{"name": "tool", "image": image}]}
        return PodTemplate.model_validate_json(json.dumps({"spec": spec}))

    pinned = await images.pin(template_of("localhost/tool:1"), "shop")
    assert pinned == {"tool": f"localhost/tool@{Digest.of(b'tool')}"}
    with pytest.raises(LocalImageUnknownError, match="no image localhost/other:1"):
        await images.pin(template_of("localhost/other:1"), "shop")
    # A registry on this machine is one like any other.
    with pytest.raises(ManifestUnknownError):
        await images.pin(template_of("localhost:5000/tool:1"), "shop")
