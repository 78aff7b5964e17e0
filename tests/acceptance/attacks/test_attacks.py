"""Attacks at once on a running server, which answers everybody else meanwhile."""

import asyncio

from tests.support.attacks.attacks import ATTACKS
from tests.support.attacks.measurement import attacked, attacker_of
from tests.support.installation.applications import stream
from tests.support.installation.installation import installation

SECONDS = 30
MOST_MIB = 160
"""Above idle: the aim is 64, and machines differ in what their allocators keep of a burst."""


async def test_a_server_under_every_attack_stays_small_and_answers() -> None:
    async with installation("--log-level", "warning") as made, made.client() as client:
        target = attacker_of(made)
        async with attacked(target, made.pid, list(ATTACKS)) as found:
            await asyncio.sleep(SECONDS)
            await made.apply(client, stream("beside"))
        print(found)  # noqa: T201
        assert made.is_alive
        assert found.failures == []
        assert found.seconds
        assert found.above_idle_mib < MOST_MIB
