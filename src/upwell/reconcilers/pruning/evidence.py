"""Evidence that objects name."""

from upwell.api.promotion import Promotion
from upwell.oci import Digest
from upwell.policy.promotion.verification.verdicts import evidence_of
from upwell.store.interface import Store


async def referenced_evidence(store: Store) -> frozenset[Digest]:
    """Return the digests of what promotions name as evidence."""
    promotions = (await store.list(Promotion)).items
    return frozenset(Digest.parse(digest) for digest in evidence_of(promotions))
