"""Changes of labels alone take no right: no rule reads these, so none is asked."""

import pytest
from tests.support.server.foreign_documents import documents, workload
from tests.support.server.granted_api import REGISTRY

from upwell.api.codec import RESOURCES, decode_as
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.values.author import author_of
from upwell.policy.access import declared
from upwell.policy.access.account_uses import new_token_uses, token_uses
from upwell.policy.access.authority import Requester, authored, needs, refusal
from upwell.policy.access.declared import UNREAD, says_the_same
from upwell.policy.access.rights import GrantedRights
from upwell.policy.access.roles import parse_grants

_KINDS = {kind.KIND.plural: kind for kind in RESOURCES}
_DOCUMENTS = {
    **documents("app", "other"),
    "deployment on the host": (
        "deployments",
        {"metadata": {"name": "app"}, **workload("docker.io/library/web:1")},
    ),
}


class _UnreadMetadata(ObjectMeta):
    """Metadata whose labels nobody may ask for."""

    def __getattribute__(self, name: str) -> object:
        assert name not in UNREAD, f"a rule reads metadata.{name}"
        return super().__getattribute__(name)


def _decoded(what: str) -> Resource:
    plural, document = _DOCUMENTS[what]
    found = decode_as(_KINDS[plural], document)
    return found.with_metadata(namespace="a")


@pytest.mark.parametrize("what", _DOCUMENTS)
def test_no_rule_reads_what_a_change_of_labels_changes(what: str) -> None:
    resource = _decoded(what)
    unread = _UnreadMetadata.model_construct(**resource.metadata.__dict__)
    shut = resource.model_copy(update={"metadata": unread})

    assert needs(shut, REGISTRY) == needs(resource, REGISTRY)
    assert list(token_uses(shut)) == list(token_uses(resource))
    assert declared.declared(shut) == declared.declared(resource)


@pytest.mark.parametrize("what", _DOCUMENTS)
def test_a_label_takes_nothing_and_every_other_change_is_looked_at(what: str) -> None:
    old = _decoded(what)
    labelled = old.with_metadata(labels={"a": "b"}, resource_version="2", generation=7)

    assert says_the_same(labelled, old)
    assert new_token_uses(labelled, old) == []
    for change in ({"annotations": {"a": "b"}}, {"namespace": "c"}, {"finalizers": ("a",)}):
        assert not says_the_same(old.with_metadata(**change), old)
    if hasattr(old, "spec"):
        assert not says_the_same(old.model_copy(update={"spec": object()}), old)


def test_a_right_that_is_taken_away_is_missing_at_the_next_change() -> None:
    mount = {"volumes": [{"name": "d", "hostPath": {"path": "/srv"}}]}
    plural, document = "deployments", workload("web")
    document["metadata"] = {"name": "web", "namespace": "shop"}
    document["spec"]["template"]["spec"] |= mount
    first = decode_as(_KINDS[plural], document)
    had = Requester("ann", GrantedRights(parse_grants("admin@shop")))
    has = Requester("ann", GrantedRights(parse_grants("deployer@shop")))
    stored = authored(first, None, had)
    document["spec"]["template"]["spec"]["containers"][0]["image"] = "other"
    changed = decode_as(_KINDS[plural], document).with_metadata(
        annotations=dict(stored.annotations)
    )

    assert refusal(changed, stored, had.rights) is None
    assert "hostpaths" in str(refusal(changed, stored, has.rights))
    labelled = stored.with_metadata(labels={"a": "b"})
    assert refusal(labelled, stored, has.rights) is None
    assert author_of(authored(labelled, stored, Requester("bob", had.rights))) == "ann"
