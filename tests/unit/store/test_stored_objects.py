"""Objects in memory are found as a search through all of them would find them."""

from hypothesis import given
from hypothesis import strategies as st

from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectKey, ObjectMeta, OwnerReference, Resource
from upwell.store import semantics
from upwell.store.history import ChangeRecord
from upwell.store.interface import Change, Selector
from upwell.store.stored_objects import StoredObjects

NAMES = st.sampled_from(["a", "b", "c-1", "c", "d"])
NAMESPACES = st.sampled_from(["x", "x-1", "y"])
LABELS = st.dictionaries(st.sampled_from(["app", "tier"]), st.sampled_from(["1", "2"]))
OWNERS = st.lists(st.sampled_from(["u1", "u2"]), unique=True)


def resource(
    kind: type[Resource], namespace: str, name: str, labels: dict[str, str], owners: list[str]
) -> Resource:
    references = tuple(
        OwnerReference(api_version="v1", kind="ConfigMap", name="o", uid=uid) for uid in owners
    )
    meta = ObjectMeta(namespace=namespace, name=name, labels=labels, owner_references=references)
    return kind(metadata=meta)


RESOURCES = st.builds(
    resource, st.sampled_from([ConfigMap, Secret]), NAMESPACES, NAMES, LABELS, OWNERS
)
CHANGES = st.lists(st.tuples(st.sampled_from([Change.MODIFIED, Change.DELETED]), RESOURCES))
SELECTORS = st.builds(Selector, st.just("") | NAMESPACES, LABELS, st.just("") | NAMES)


@given(st.lists(RESOURCES), CHANGES, SELECTORS, st.booleans())
def test_what_matches_is_found_in_order(
    first: list[Resource],
    changes: list[tuple[Change, Resource]],
    selector: Selector,
    asked_between: bool,  # noqa: FBT001 - hypothesis gives it
) -> None:
    known: dict[ObjectKey, Resource] = {one.key: one for one in first}
    objects = StoredObjects(first)
    for change, one in changes:
        if asked_between:
            objects.matching(ConfigMap, Selector())
        objects.apply(ChangeRecord(1, change, one, None, ""))
        known.pop(one.key, None)
        if change is not Change.DELETED:
            known[one.key] = one
    for kind in (ConfigMap, Secret):
        expected = [
            known[key]
            for key in sorted(known, key=lambda key: (key.namespace, key.name))
            if key.kind == kind.KIND.kind and semantics.matches(selector, known[key])
        ]
        assert [id(one) for one in objects.matching(kind, selector)] == [id(o) for o in expected]
    assert {one.key for one in objects} == known.keys()
    assert all(objects.get(key) is one for key, one in known.items())
    for uid in ("u1", "u2"):
        owned = {key for key, one in known.items() if uid in semantics.owner_uids(one)}
        assert set(objects.owned_by(uid)) == owned
