"""Read all objects that decide what is built and rolled out, at once."""

import asyncio

from upwell.api.build import Build, BuildConfig
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.policy.rollout_settings import WORKLOADS
from upwell.policy.standing import Snapshot
from upwell.store.interface import ApiClient, Selector

_KINDS: tuple[type[Resource], ...] = (ImageStream, BuildConfig, Build, *WORKLOADS)


async def read_snapshot(client: ApiClient) -> Snapshot:
    """Return the objects of every namespace: images cross namespaces."""
    async with asyncio.TaskGroup() as tasks:
        lists = [tasks.create_task(client.list(kind)) for kind in _KINDS]
    return Snapshot(item for task in lists for item in task.result().items)


async def read_entrances(client: ApiClient, namespace: str = "") -> list[Resource]:
    """Return the Routes and Services of a namespace, or of every one."""
    wanted = Selector(namespace=namespace)
    async with asyncio.TaskGroup() as tasks:
        routes = tasks.create_task(client.list(Route, wanted))
        services = tasks.create_task(client.list(Service, wanted))
    return [*routes.result().items, *services.result().items]
