"""`upwell status -w`: the tree again after each change that it shows."""

import asyncio

import pytest
from tests.unit.cli.conftest import SHOP_OLD, FakeClient, deployment

from upwell.api.apps import Deployment
from upwell.api.core import Service
from upwell.cli.presentation.following import on_changes

SECONDS = 10


async def test_it_acts_after_changes_again_and_again(client: FakeClient) -> None:
    acted = asyncio.Event()

    async def act() -> bool:
        acted.set()
        return False

    watching = asyncio.create_task(on_changes(client, (Deployment, Service), "default", act))
    try:
        async with asyncio.timeout(SECONDS):
            for _ in range(2):
                acted.clear()
                while not acted.is_set():  # the first changes may come before it looks
                    await client.put(deployment((1, "Complete", SHOP_OLD)))
                    await client.delete(Deployment, "default", "shop")
                    await asyncio.sleep(0)
    finally:
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
