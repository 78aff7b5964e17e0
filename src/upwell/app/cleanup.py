"""Hourly cleanup: remains of interrupted pushes, and uploads that nothing names."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection
from dataclasses import asdict
from datetime import timedelta

from upwell.api.promotion import Promotion
from upwell.oci import Digest
from upwell.policy.promotion.verification.verdicts import evidence_of
from upwell.registry.embedded import EmbeddedRegistry
from upwell.store.interface import Store
from upwell.uploads.interface import BinaryInputs

log = logging.getLogger(__name__)

_SECONDS = 3600.0
_GRACE = timedelta(hours=24)

type Named = Callable[[Store], Awaitable[Collection[Digest]]]
"""Returns the digests of all content that objects name."""


async def clean_registry(registry: EmbeddedRegistry) -> None:
    """Remove what interrupted pushes left, every hour."""
    while True:
        removed = await registry.collect_garbage()
        log.debug("registry cleaned", extra=asdict(removed))
        await asyncio.sleep(_SECONDS)


async def clean_uploads(store: Store, inputs: BinaryInputs, named: Named) -> None:
    """Remove what no object names any more, every hour."""
    while True:
        await asyncio.sleep(_SECONDS)
        freed = await inputs.remove_unused(await named(store), unused_for=_GRACE)
        log.debug("uploads cleaned", extra={"bytes": freed})


async def referenced_evidence(store: Store) -> set[Digest]:
    """Return the digests of what promotions name as evidence."""
    promotions = (await store.list(Promotion)).items
    return {Digest.parse(digest) for digest in evidence_of(promotions)}
