"""Hourly upkeep of tokens: records of exchanges whose tokens have ended."""

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime

from upwell.api.core import Secret
from upwell.server.exchange.exchange import ENDS_ANNOTATION, EXCHANGE_TYPE
from upwell.store.interface import NotFoundError, Store, StoreError

log = logging.getLogger(__name__)

_SECONDS = 3600.0


async def clean_exchanges(store: Store, clock: Callable[[], datetime]) -> None:
    """Remove records of exchanges whose tokens have ended, every hour, until cancelled."""
    while True:
        await asyncio.sleep(_SECONDS)
        try:
            removed = await remove_ended_exchanges(store, clock())
            log.debug("records of token exchanges removed", extra={"records": removed})
        except StoreError as error:
            log.warning("records of token exchanges not removed", extra={"why": str(error)})


async def remove_ended_exchanges(store: Store, now: datetime) -> int:
    """Remove what is over at `now`; return how many. Raises StoreError.

    A record that does not say when it ends is somebody's own, and stays.
    """
    removed = 0
    for secret in (await store.list(Secret)).items:
        if secret.type == EXCHANGE_TYPE and _has_ended(secret, now):
            try:
                await store.delete(
                    Secret,
                    secret.namespace,
                    secret.name,
                    resource_version=secret.resource_version,
                )
            except NotFoundError:
                continue  # somebody was faster
            removed += 1
    return removed


def _has_ended(secret: Secret, now: datetime) -> bool:
    try:
        ends = datetime.fromisoformat(secret.annotations.get(ENDS_ANNOTATION, ""))
    except ValueError:
        return False
    return ends.tzinfo is not None and ends <= now
