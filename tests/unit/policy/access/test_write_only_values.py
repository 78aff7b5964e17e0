"""Write-only values hidden once for each object, however many objects there are."""

import gc

import pytest

from upwell.api.meta import ObjectMeta, Resource
from upwell.api.route import Route, RouteSpec, RouteTarget, RouteTls
from upwell.api.write_only.hidden import hidden
from upwell.policy.access.visibility import WriteOnlyValues


def route(name: str, key: str = "PEM") -> Route:
    spec = RouteSpec(to=RouteTarget(name="web"), tls=RouteTls(termination="edge", key=key))
    return Route(metadata=ObjectMeta(name=name, namespace="shop", uid=name), spec=spec)


@pytest.fixture
def hidden_names(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the objects that were hidden, each as often as it was."""
    names: list[str] = []

    def counted(resource: Resource, key: bytes) -> Resource:
        names.append(resource.name)
        return hidden(resource, key)

    monkeypatch.setattr("upwell.policy.access.visibility.hidden", counted)
    return names


@pytest.mark.parametrize("key", ["PEM", ""])
def test_many_objects_are_each_hidden_once_however_often_all_are_read(
    hidden_names: list[str], key: str
) -> None:
    values = WriteOnlyValues(b"key")
    routes = [route(f"r{at}", key) for at in range(2000)]
    first = [values.hidden(one) for one in routes]
    assert [values.hidden(one) for one in routes] == first
    assert hidden_names == [one.name for one in routes]


def test_an_object_that_is_gone_leaves_nothing_and_none_is_taken_for_another() -> None:
    values = WriteOnlyValues(b"key")
    shown = set()
    for at in range(100):  # places in the memory are used again
        one = values.hidden(route(f"r{at}"))
        assert one.name == f"r{at}"
        assert isinstance(one, Route)
        assert one.spec.tls is not None
        shown.add(one.spec.tls.key)
    del one
    gc.collect()
    assert len(shown) == 100
    assert not values._known  # it must not grow with what comes and goes
