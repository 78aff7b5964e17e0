"""Images of templates: the logins to pull them."""

from tests.support.rollouts.memory_machine import GOOD, RolloutSetup

from upwell.api.core import PodTemplate, Secret
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.rollouts.images import TemplateImages


async def test_pull_secrets_become_logins() -> None:
    setup = RolloutSetup()
    config = b'{"auths":{"registry.test":{"username":"robot","password":"hunter2"}}}'
    secret = Secret(
        type="kubernetes.io/dockerconfigjson",
        data=Secret.encode_values({".dockerconfigjson": config}),
    )
    await setup.apply(secret.with_metadata(namespace="shop", name="pull"))
    insecure = InsecureRegistries(setup.store)
    images = TemplateImages(setup.registry, PullSecrets(setup.store), insecure)

    logins = await images.logins([GOOD, GOOD], "shop", PodTemplate())

    assert logins == (("registry.test", "robot", "hunter2"),)
    assert await images.logins([GOOD], "elsewhere", PodTemplate()) == ()
