"""Life of tokens: their last uses, and records of exchanges whose tokens have ended."""

import logging
from datetime import datetime
from functools import partial

from upwell.api.core import Secret
from upwell.api.meta import parse_time
from upwell.machine.clock import SteadyClock
from upwell.policy.access.roles import SYSTEM_NAMESPACE
from upwell.server.auth.token_uses import TokenUses
from upwell.server.auth.tokens import USED_ANNOTATION, secret_name
from upwell.server.exchange.exchange import ENDS_ANNOTATION, EXCHANGE_TYPE
from upwell.store.interface import NotFoundError, Store
from upwell.store.periodic import repeat
from upwell.store.retry import update_with_retry

log = logging.getLogger(__name__)

_SECONDS = 3600.0
_USES_SECONDS = 300.0


async def clean_exchanges(store: Store, clock: SteadyClock) -> None:
    """Remove records of exchanges whose tokens have ended, every hour, until cancelled.

    While the clock is doubted none is: its token could be exchanged once more.
    """

    async def clean() -> None:
        if clock.is_certain():
            removed = await remove_ended_exchanges(store, clock.now())
            log.debug("records of token exchanges removed", extra={"records": removed})

    await repeat(clean, _SECONDS, "records of token exchanges not removed")


async def keep_token_uses(store: Store, uses: TokenUses) -> None:
    """Write down which tokens were used, every five minutes, until cancelled."""
    # What fails is noted again by the first use in an hour from now.
    await repeat(partial(write_token_uses, store, uses), _USES_SECONDS, "uses of tokens not kept")


async def write_token_uses(store: Store, uses: TokenUses) -> None:
    """Write the hour of the last use on each token's Secret. Raises StoreError."""
    for name, hour in uses.take():

        async def read(name: str = name) -> Secret:
            return await store.get(Secret, SYSTEM_NAMESPACE, secret_name(name))

        async def write(secret: Secret, hour: datetime = hour) -> None:
            text = hour.isoformat()
            if secret.annotations.get(USED_ANNOTATION) != text:
                annotations = {**secret.annotations, USED_ANNOTATION: text}
                await store.update(secret.with_metadata(annotations=annotations))

        try:
            await update_with_retry(read, write)
        except NotFoundError:
            continue  # it was deleted


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
    ends = parse_time(secret.annotations.get(ENDS_ANNOTATION))
    return ends is not None and ends <= now
