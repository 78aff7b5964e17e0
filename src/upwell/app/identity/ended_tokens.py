"""Ends of tokens: told before they come, and the records of those that ended long ago removed."""

import asyncio
import logging
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta

from upwell.api.codec import RESOURCES
from upwell.api.core import Secret
from upwell.api.values.author import author_of, content_authors_of
from upwell.machine.clock import SteadyClock, now
from upwell.machine.components import Components, WatchedComponent
from upwell.policy.access.roles import SYSTEM_NAMESPACE, InvalidGrantError
from upwell.server.auth.tokens import TOKEN_TYPE, TokenRecord
from upwell.store.interface import ConflictError, NotFoundError, Selector, Store
from upwell.store.periodic import repeat

log = logging.getLogger(__name__)

KEPT = timedelta(days=90)
"""After its end, an ended token still says to whoever asks why it opens nothing."""
_TOLD_OF_LIFE = timedelta(days=7)
"""Shorter ones are made by programs, again and again: nobody needs to be told of their ends."""
_UNUSED = timedelta(days=30)
"""A token that nobody has used for so long is missed by nobody."""
_SECONDS = 3600.0
_SHOWN = 5


async def watch_tokens(store: Store, clock: SteadyClock, components: Components) -> None:
    """Report as component `tokens` which end soon, and remove old records, until cancelled."""
    component = components.add("tokens", required=False)

    async def look() -> None:
        await tell_of_ends(store, component, now())
        if clock.is_certain() and (removed := await remove_ended_tokens(store, now())):
            log.info("ended tokens removed", extra={"tokens": removed})

    await repeat(look, _SECONDS, "ends of tokens not looked at")


async def tell_of_ends(store: Store, component: WatchedComponent, moment: datetime) -> None:
    """Report the tokens that are in use and end soon. Raises StoreError."""
    ending = sorted(
        (
            (record.expires, record.name)
            for record in await _records(store)
            if record.expires and record.expires > moment and _is_missed(record, moment)
        ),
    )
    if not ending:
        component.recover()
        return
    named = [f"{name} ({end:%Y-%m-%d %H:%M} UTC)" for end, name in ending[:_SHOWN]]
    more = f" and {len(ending) - _SHOWN} more" if len(ending) > _SHOWN else ""
    component.fail(
        "TokensEndSoon",
        f"{', '.join(named)}{more}: make others with `upwell token create`, and use them in place"
        " of these; `upwell token list` has the ends of all",
    )


async def remove_ended_tokens(store: Store, moment: datetime) -> Sequence[str]:
    """Remove tokens that ended long ago and wrote nothing that is there; return their names.

    What a token wrote acts with its grants after its end too: its record stays as long.
    Raises StoreError.
    """
    old = [one for one in await _records(store) if one.expires and one.expires + KEPT <= moment]
    if not old:
        return ()
    authors = await _authors(store)
    removed = []
    for record in old:
        secret = record.as_secret()
        try:
            found = await store.get(Secret, secret.namespace, secret.name)
            if record.name in authors or TokenRecord.of(found) != record:
                continue
            await store.delete(
                Secret, found.namespace, found.name, resource_version=found.resource_version
            )
        except (NotFoundError, ConflictError):
            continue  # somebody was faster
        removed.append(record.name)
    return removed


def _is_missed(record: TokenRecord, moment: datetime) -> bool:
    """Return True if somebody should make another token before this one ends."""
    used, made = record.used, record.made
    if record.expires is None or made is None or used is None:
        return False
    is_long = record.expires - made >= _TOLD_OF_LIFE
    return is_long and moment - used < _UNUSED and record.ends_soon(moment)


async def _records(store: Store) -> Sequence[TokenRecord]:
    secrets = (await store.list(Secret, Selector(SYSTEM_NAMESPACE))).items
    return list(_read(one for one in secrets if one.type == TOKEN_TYPE))


def _read(secrets: Iterator[Secret]) -> Iterator[TokenRecord]:
    for secret in secrets:
        try:
            yield TokenRecord.of(secret)
        except (InvalidGrantError, ValueError):
            continue  # it opens nothing, and says itself to nobody when it ends


async def _authors(store: Store) -> set[str]:
    """Return the names of all who stand for an object."""
    found: set[str] = set()
    for kind in (one for one in RESOURCES if one.KIND.is_stored):
        for resource in (await store.list(kind)).items:
            found |= {author_of(resource), *content_authors_of(resource)}
        await asyncio.sleep(0)
    return found
