"""Subscriptions over a store in memory, an outbox on disk and receivers of the test."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from tests.support.delivery.receivers import Receivers

from upwell.actions.notifications import SubscriptionActions
from upwell.api.codec import decode
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import Condition, Resource
from upwell.api.subscription import Subscription
from upwell.controller import ObjectCache
from upwell.delivery.sqlite import SqliteOutbox
from upwell.machine.components import Components
from upwell.reconcilers.authority import Authority, AuthorRights
from upwell.reconcilers.notifications import Senders, Subscriptions
from upwell.reconcilers.notifications.shared_outbox import SharedOutbox
from upwell.store.interface import NotFoundError
from upwell.store.memory import MemoryStore

START = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


DEADLINE = 30.0


SOURCE = "http://upwell.test"


@dataclass
class NotifierSetup:
    """A store, an outbox on disk and receivers; `running` is a process that ends at its end."""

    folder: Path
    now: datetime = START
    receivers: Receivers = field(default_factory=Receivers)
    authors: AuthorRights | None = None
    actions: SubscriptionActions = field(init=False)

    def __post_init__(self) -> None:
        self.store = MemoryStore(lambda: self.now)

    @asynccontextmanager
    async def running(self, replica: str = "") -> AsyncIterator[Subscriptions]:
        """Run the server, or the replica of that name: one that leads."""
        outbox = SqliteOutbox(self.folder / replica / "deliveries.db")
        shared = self.shared(outbox) if replica else None
        senders = Senders(outbox, self.receivers, self.receivers, shared)
        cache = ObjectCache(self.store)
        subscriptions = Subscriptions(
            cache, senders, SOURCE, lambda: self.now, Authority(self.authors)
        )
        self.actions = SubscriptionActions(
            self.store,
            outbox,
            subscriptions.targets,
            subscriptions.dispatcher,
            SOURCE,
            lambda: self.now,
            shared,
        )
        try:
            async with asyncio.TaskGroup() as group:
                running = (cache, *subscriptions.controllers)
                loops = [*(one.run for one in running), *subscriptions.loops]
                tasks = [group.create_task(loop()) for loop in loops]
                yield subscriptions
                for task in tasks:
                    task.cancel()
        finally:
            outbox.close()

    def shared(self, outbox: SqliteOutbox) -> SharedOutbox:
        """Return what a replica shares of its outbox."""
        component = Components(lambda: self.now).add("outbox")
        return SharedOutbox(self.store, outbox, "upwell", "upwell", lambda: self.now, component)

    async def subscribe(self, name: str = "ci", **spec: Any) -> Subscription:
        spec = {"webhook": {"url": "http://ci.test/"}, **spec}
        made = await self.store.create(_upwell("Subscription", name, spec))
        assert isinstance(made, Subscription)
        return made

    async def change(self, name: str, **spec: Any) -> None:
        found = await self.store.get(Subscription, "shop", name)
        wanted = decode({**found.model_dump(mode="json"), "spec": spec})
        await self.store.update(wanted)

    async def taken_in(self, name: str) -> None:
        """Wait until what a Subscription asks for now is what is sent."""
        async with asyncio.timeout(DEADLINE):
            while True:
                found = await self.store.get(Subscription, "shop", name)
                if found.status.observed_generation == found.generation:
                    return
                await asyncio.sleep(0.005)

    async def push(self, digest: str, stream: str = "base", namespace: str = "shop") -> None:
        """Let the stream's tag name a digest."""
        try:
            found = await self.store.get(ImageStream, namespace, stream)
        except NotFoundError:
            found = await self.store.create(
                ImageStream.model_validate({"metadata": {"name": stream, "namespace": namespace}})
            )
        history = found.status.tag("1")
        items = [] if history is None else [one.model_dump(mode="json") for one in history.items]
        new = {
            "created": self.now.isoformat(),
            "dockerImageReference": f"x@{digest}",
            "image": digest,
        }
        document = found.model_dump(mode="json")
        document["status"] = {"tags": [{"tag": "1", "items": [new, *items]}]}
        await self.store.update_status(decode(document))

    async def ready(self, name: str = "ci") -> Condition:
        found = await self.store.get(Subscription, "shop", name)
        condition = find(found.status.conditions, "Ready")
        assert condition is not None
        return condition

    def told(self) -> list[str]:
        """Return the digests that the receivers have, in order of arrival."""
        documents = [json.loads(one.body) for one in self.receivers.received]
        return [one["data"]["new"] for one in documents if one["type"].endswith("image.changed")]


def _upwell(kind: str, name: str, spec: dict[str, Any]) -> Resource:
    metadata = {"name": name, "namespace": "shop"}
    return decode(
        {"apiVersion": "upwell.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": spec}
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE):
        while not condition():  # noqa: ASYNC110 - it is read, not told
            await asyncio.sleep(0.005)


async def settled[T](read: Callable[[], Any], wanted: T) -> None:
    async with asyncio.timeout(DEADLINE):
        while await read() != wanted:  # noqa: ASYNC110 - it is read, not told
            await asyncio.sleep(0.005)
