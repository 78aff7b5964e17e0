"""A claim is bound as soon as it is there, with the capacity that it asks for."""

from tests.support.server.api_server import START

from upwell.api.codec import decode_as
from upwell.api.storage import PersistentVolumeClaim
from upwell.reconcilers.claims.reconciler import PersistentVolumeClaims
from upwell.store.memory import MemoryStore


def claim(size: str) -> PersistentVolumeClaim:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": size}}}
    metadata = {"name": "data", "namespace": "shop"}
    return decode_as(PersistentVolumeClaim, {"metadata": metadata, "spec": spec})


async def test_a_claim_is_bound_and_follows_what_it_asks_for() -> None:
    store = MemoryStore(lambda: START)
    claims = PersistentVolumeClaims(store)
    made = await store.create(claim("1Gi"))
    await claims.reconcile(made.key)
    bound = await store.get(PersistentVolumeClaim, "shop", "data")
    assert (bound.status.phase, bound.status.capacity) == ("Bound", {"storage": "1Gi"})
    assert bound.status.access_modes == ("ReadWriteOnce",)
    await claims.reconcile(made.key)
    again = await store.get(PersistentVolumeClaim, "shop", "data")
    assert again.resource_version == bound.resource_version, "the same again writes nothing"
    await store.update(bound.model_copy(update={"spec": claim("2Gi").spec}))
    await claims.reconcile(made.key)
    grown = await store.get(PersistentVolumeClaim, "shop", "data")
    assert grown.status.capacity == {"storage": "2Gi"}


async def test_a_claim_that_is_gone_needs_nothing() -> None:
    claims = PersistentVolumeClaims(MemoryStore(lambda: START))
    await claims.reconcile(claim("1Gi").key)
