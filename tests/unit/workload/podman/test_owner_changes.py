import asyncio

from upwell.workload.instance_spec import Owner
from upwell.workload.podman.changes import OwnerChanges

WEB = Owner("Deployment", "shop", "web")
GATE = Owner("Deployment", "shop", "gate")


async def test_every_listener_is_told() -> None:
    changes = OwnerChanges()
    waiting = [asyncio.ensure_future(anext(changes.listen())) for _ in range(2)]
    await asyncio.sleep(0)
    changes.publish(WEB)
    assert await asyncio.gather(*waiting) == [WEB, WEB]


async def test_a_slow_listener_hears_of_each_owner_once() -> None:
    changes = OwnerChanges()
    listener = changes.listen()
    first = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    for owner in (WEB, GATE, WEB, GATE):
        changes.publish(owner)
    changes.publish(WEB)
    assert await first == WEB
    assert await anext(listener) == GATE
    more = asyncio.ensure_future(anext(listener))
    await asyncio.sleep(0)
    assert not more.done(), "nothing changed since"
    changes.publish(WEB)
    assert await more == WEB
