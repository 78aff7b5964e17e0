"""Values are made once of each object, end with it, and are no more than may be."""

import gc

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.values.identity_cache import IdentityCache


def config_map(name: str) -> ConfigMap:
    return ConfigMap(metadata=ObjectMeta(name=name))


def test_a_value_is_made_once_and_ends_with_its_object() -> None:
    made: list[str] = []

    def name_of(resource: Resource) -> str:
        made.append(resource.name)
        return resource.name

    names = IdentityCache(name_of)
    kept, other = config_map("a"), config_map("a")

    assert [names(kept), names(kept), names(other)] == ["a", "a", "a"]
    assert made == ["a", "a"]
    del other
    gc.collect()
    assert len(names) == 1
    for number in range(50):  # each takes the place of the one before in memory
        assert names(config_map(f"{number}")) == f"{number}"


def test_the_longest_unused_go_beyond_the_most() -> None:
    made: list[str] = []
    names = IdentityCache(lambda resource: made.append(resource.name), most=2)
    one, two, three = (config_map(name) for name in ("one", "two", "three"))

    for resource in (one, two, one, three, one, two):
        names(resource)

    assert made == ["one", "two", "three", "two"]
    assert len(names) == 2
