"""Builds that a person or a webhook asks for."""

import asyncio

import pytest
from tests.support.builds.build_namespace import (
    NAMESPACE,
    BuildNamespace,
)

from upwell.api.builds.build import (
    BuildRequest,
    BuildTriggerCause,
    SourceStrategyOptions,
    WebHookCause,
)
from upwell.api.pod_template import EnvVar
from upwell.policy.builds.requests import BuildRefusedError
from upwell.store.interface import NotFoundError


@pytest.fixture
async def setup() -> BuildNamespace:
    setup = BuildNamespace()
    await setup.stream("base", "old")
    return setup


async def test_a_person_starts_a_build_with_the_next_number_and_more_environment(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest")
    await setup.reconcile("app")
    request = BuildRequest(
        env=(EnvVar(name="MODE", value="debug"),),
        triggered_by=(BuildTriggerCause(message="asked for"),),
    )
    build = await setup.actions.instantiate(NAMESPACE, "app", request)
    assert (build.name, build.spec.forced) == ("app-2", True)
    assert [cause.message for cause in build.spec.triggered_by] == ["asked for"]
    assert [(e.name, e.value) for e in build.spec.strategy.env] == [("MODE", "debug")]
    await setup.reconcile("app")
    assert (await setup.get("app")).status.last_version == 2
    retried = await setup.actions.instantiate(NAMESPACE, "app", BuildRequest(unless_built=True))
    assert not retried.spec.forced


async def test_builds_that_are_asked_for_at_once_get_numbers_of_their_own(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest", [])
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(setup.actions.instantiate(NAMESPACE, "app", BuildRequest()))
    assert await setup.names("app") == [f"app-{number}" for number in range(1, 6)]


async def test_what_a_person_asks_for_in_vain_is_refused_and_a_webhooks_wish_is_not(
    setup: BuildNamespace,
) -> None:
    await setup.config("app", "base:latest", [])
    options = SourceStrategyOptions(incremental=True)
    wish = BuildRequest(source_strategy_options=options)
    with pytest.raises(BuildRefusedError, match="incremental needs sourceStrategy"):
        await setup.actions.instantiate(NAMESPACE, "app", wish)
    hook = BuildTriggerCause(message="Generic WebHook", generic_web_hook=WebHookCause())
    by_webhook = BuildRequest(source_strategy_options=options, triggered_by=(hook,))
    build = await setup.actions.instantiate(NAMESPACE, "app", by_webhook)
    with pytest.raises(BuildRefusedError, match="incremental needs sourceStrategy"):
        await setup.actions.clone(NAMESPACE, build.name, wish)


async def test_a_build_of_what_does_not_exist_is_refused(setup: BuildNamespace) -> None:
    with pytest.raises(NotFoundError):
        await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
    await setup.config("app", "missing:latest", [])
    with pytest.raises(BuildRefusedError, match="shop/missing:latest does not exist"):
        await setup.actions.instantiate(NAMESPACE, "app", BuildRequest())
