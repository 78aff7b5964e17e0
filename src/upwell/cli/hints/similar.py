"""Names that were probably meant: those of objects that are there."""

import asyncio
from collections.abc import Callable
from difflib import get_close_matches

from upwell.api.codec import resource_of_kind
from upwell.api.meta import ObjectKey
from upwell.api.pipeline import Pipeline
from upwell.api.pod import Pod
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.store.interface import ApiClient, Selector, StoreError

_OF_WORKLOADS = (Pod, Pipeline)
"""Kinds in whose place people name a workload: its Pods have longer names."""
_SECONDS = 1.0
_MOST = 500
"""Names that are looked at."""


async def similar_name(connect: Callable[[], ApiClient], missing: ObjectKey) -> str:
    """Return `kind/name` of an object whose name is like that of the missing one; or empty.

    One of the same name in another namespace comes first, as `kind/name -n NAMESPACE`. Empty too
    where the server does not tell in a second: an error is not kept back by that.
    """
    kind = resource_of_kind(missing.kind)
    try:
        async with asyncio.timeout(_SECONDS), connect() as client:
            if kind.KIND.namespaced:
                same = (await client.list(kind, Selector("", name=missing.name))).items
                if same:
                    place = f"{kind.KIND.singular}/{missing.name}"
                    return f"{place} -n {same[0].namespace}"
            names = await client.names(kind, missing.namespace, _MOST)
            near = get_close_matches(missing.name, names, n=1)
            if near or kind not in _OF_WORKLOADS:
                return f"{kind.KIND.singular}/{near[0]}" if near else ""
            return await workload_named(client, missing.namespace, missing.name)
    except (StoreError, OSError):  # among them TimeoutError
        return ""


async def workload_named(client: ApiClient, namespace: str, name: str) -> str:
    """Return the workload of a name as `kind/name`; empty where there is none."""
    selector = Selector(namespace, name=name)
    for kind in WORKLOADS:
        if (await client.list(kind, selector)).items:
            return f"{kind.KIND.singular}/{name}"
    return ""
