"""Work that is repeated for as long as the server runs, whatever the store answers meanwhile."""

import asyncio
import logging
from collections.abc import Awaitable, Callable

from upwell.store.interface import StoreError

log = logging.getLogger(__name__)


async def repeat(work: Callable[[], Awaitable[object]], seconds: float, failed: str) -> None:
    """Do `work` now and `seconds` after each end of it, until cancelled.

    A StoreError is logged as `failed`, and ends nothing; any other error is raised.
    """
    while True:
        try:
            await work()
        except StoreError as error:
            log.warning(failed, extra={"why": str(error)})
        await asyncio.sleep(seconds)
