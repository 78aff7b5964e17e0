"""Images of templates: the logins to pull them."""

from tests.support.rollouts.memory_machine import GOOD, World

from upwell.api.core import Secret
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.images import TemplateImages


async def test_pull_secrets_become_logins() -> None:
    world = World()
    config = b'{"auths":{"registry.test":{"username":"robot","password":"hunter2"}}}'
    secret = Secret(
        type="kubernetes.io/dockerconfigjson",
        data=Secret.encode_values({".dockerconfigjson": config}),
    )
    await world.apply(secret.with_metadata(namespace="shop", name="pull"))
    images = TemplateImages(world.registry, PullSecrets(world.store))  # type: ignore[arg-type]  # unused

    logins = await images.logins([GOOD, GOOD], "shop")

    assert logins == (("registry.test", "robot", "hunter2"),)
    assert await images.logins([GOOD], "elsewhere") == ()
