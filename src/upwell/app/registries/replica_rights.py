"""Tries whether the server's login may write what replicas share in a registry elsewhere."""

import asyncio
from collections.abc import Awaitable, Callable

from upwell.machine.components import WatchedComponent
from upwell.oci import Reference
from upwell.oci.registry_prefix import reference_in
from upwell.oci.replica_contents import ReplicaContent
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import RegistryError, UnauthorizedError

_SECONDS = 3600.0
_FAULTY_SECONDS = 60.0
_MEANING = {
    ReplicaContent.UPLOADS: "uploads for builds are refused",
    ReplicaContent.EVIDENCE: "evidence of checks is refused",
    ReplicaContent.LOGS: "logs of builds are kept by one replica alone",
    ReplicaContent.AUDIT: "audit logs are kept by each replica alone",
}


async def watch_replica_rights(
    pusher: RegistryPusher,
    prefix: str,
    namespace: str,
    component: WatchedComponent,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> None:
    """Begin an upload to each kind of repository at the start, and later, until cancelled.

    Each is tried for `namespace`, below `prefix`: every hour, and every minute while one refuses.
    Whatever refuses is shown as the component.
    """
    while True:
        refusals = [
            (kind, error)
            for kind in ReplicaContent
            if (error := await _refusal(pusher, _place(prefix, kind, namespace))) is not None
        ]
        if refusals:
            component.fail("ContentNotShared", _message(refusals, prefix))
        else:
            component.recover()
        await sleep(_FAULTY_SECONDS if refusals else _SECONDS)


async def _refusal(pusher: RegistryPusher, place: Reference) -> RegistryError | None:
    try:
        await pusher.try_push(place)
    except RegistryError as error:
        return error
    return None


def _message(refusals: list[tuple[ReplicaContent, RegistryError]], prefix: str) -> str:
    """Return the words of the first refusal, what follows from all, and the next step."""
    (_, first), *_ = refusals
    why = first.refusal if isinstance(first, UnauthorizedError) else str(first)
    meaning = ", ".join(_MEANING[kind] for kind, _ in refusals)
    if first.retryable:
        return f"{why}; until it answers, {meaning}"
    places = ", ".join(_pattern(prefix, kind) for kind, _ in refusals)
    return f"{why}; until then, {meaning}: let the server's login pull from and push to {places}"


def _place(prefix: str, kind: ReplicaContent, namespace: str) -> Reference:
    return reference_in(prefix, kind.repository(namespace if kind.is_by_namespace else ""))


def _pattern(prefix: str, kind: ReplicaContent) -> str:
    name = reference_in(prefix, kind).name
    return f"{name}/*" if kind.is_by_namespace else name
