"""Subscriptions that people test, and dead letters that they send again."""

import json
from pathlib import Path

import pytest
from tests.support.notifications.notifier_setup import NotifierSetup, settled, until

from upwell.api.codec import decode
from upwell.api.core import Secret
from upwell.api.subscription import Subscription
from upwell.delivery.interface import DeliveryError


@pytest.fixture
def setup(tmp_path: Path) -> NotifierSetup:
    return NotifierSetup(tmp_path)


async def test_what_is_refused_for_good_is_a_dead_letter_that_can_be_replayed(
    setup: NotifierSetup,
) -> None:
    setup.receivers.answer = lambda _: DeliveryError("answered 404", permanent=True)
    await setup.subscribe()
    async with setup.running():
        await setup.push("sha256:a")
        await setup.push("sha256:b")
        await until(lambda: len(setup.receivers.refused) == 2)

        async def dead() -> int:
            return (await setup.store.get(Subscription, "shop", "ci")).status.dead_letters

        await settled(dead, 2)
        letters = await setup.actions.dead_letters("shop", "ci")
        assert [one.error for one in letters] == ["answered 404", "answered 404"]
        assert json.loads(letters[0].envelope.body)["data"]["new"] == "sha256:a"

        setup.receivers.answer = lambda _: None
        assert await setup.actions.replay("shop", "ci", None) == 2
        await until(lambda: setup.told() == ["sha256:a", "sha256:b"])
        await settled(dead, 0)


async def test_a_secret_of_another_namespace_is_out_of_reach(setup: NotifierSetup) -> None:
    secret = Secret.model_validate({"metadata": {"name": "people", "namespace": "bank"}})
    await setup.store.create(secret)
    await setup.subscribe(webhook=None, notice={"secret": {"name": "people"}})
    async with setup.running():
        answer = await setup.actions.test("shop", "ci")
    assert answer.message == "Secret people does not exist in namespace shop: create it"


async def test_the_urls_of_a_notice_stand_one_a_line(setup: NotifierSetup) -> None:
    text = "# the team\nslack://token/channel\n\nmailto://user:pw@mail.test\n"
    await setup.store.create(
        decode(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "people", "namespace": "shop"},
                "stringData": {"urls": text},
            }
        )
    )
    await setup.subscribe(webhook=None, notice={"secret": {"name": "people"}})
    async with setup.running():
        assert (await setup.actions.test("shop", "ci")).delivered
    assert setup.receivers.urls == ["slack://token/channel", "mailto://user:pw@mail.test"]
    assert setup.receivers.types == ["test", "test"]  # one at each address
