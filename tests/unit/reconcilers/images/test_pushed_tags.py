"""Pushed tags: all are read once, one after its push, all again when nobody could take them."""

import asyncio
from pathlib import Path

import pytest
from tests.support.registry.hosted_images import push

from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, ObjectMeta
from upwell.reconcilers.images import pushes
from upwell.reconcilers.images.pushes import PushedTagReader, PushedTags
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosting import StorageUnavailableError


class PushedRepository:
    """The repository of stream shop/app, and what is read of it."""

    def __init__(self, folder: Path) -> None:
        self.registry = EmbeddedRegistry(folder, "registry.test")
        self.looks: list[ObjectKey] = []
        self.pushes = PushedTagReader(self.registry, self.looks.append)

    async def taken(self, uid: str = "1") -> PushedTags:
        metadata = ObjectMeta(namespace="shop", name="app", uid=uid)
        async with self.pushes.taken(ImageStream(metadata=metadata)) as pushed:
            return pushed


@pytest.fixture
def repository(tmp_path: Path) -> PushedRepository:
    return PushedRepository(tmp_path)


async def test_tags_are_read_at_a_start_and_after_a_push_alone(
    repository: PushedRepository,
) -> None:
    assert list(await repository.taken()) == []
    first = await push(repository.registry, "shop/app", "1")
    await asyncio.sleep(0)
    assert [key.name for key in repository.looks] == ["app"]
    assert await repository.taken() == [("1", first)]
    assert await repository.taken() == ()

    second = await push(repository.registry, "shop/app", "2", "other")
    assert await repository.taken() == [("2", second)]


async def test_after_a_storm_of_pushes_all_tags_are_read_at_once(
    repository: PushedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pushes, "_MOST_TOLD", 2)
    assert list(await repository.taken()) == []
    pushed = [(tag, await push(repository.registry, "shop/app", tag)) for tag in "123"]
    monkeypatch.delattr(EmbeddedRegistry, "tag_digest")
    assert await repository.taken() == pushed
    assert await repository.taken() == ()


async def test_what_could_not_be_taken_is_read_again(repository: PushedRepository) -> None:
    pushed = await push(repository.registry, "shop/app", "1")
    stream = ImageStream(metadata=ObjectMeta(namespace="shop", name="app", uid="1"))
    with pytest.raises(OSError, match="full"):
        async with repository.pushes.taken(stream):
            raise OSError("full")

    assert await repository.taken() == [("1", pushed)]


async def test_a_push_while_tags_are_taken_is_not_lost(repository: PushedRepository) -> None:
    first = await push(repository.registry, "shop/app", "1")
    stream = ImageStream(metadata=ObjectMeta(namespace="shop", name="app", uid="1"))
    async with repository.pushes.taken(stream) as pushed:
        assert pushed == [("1", first)]
        second = await push(repository.registry, "shop/app", "2", "other")
    assert not repository.pushes.knows(stream), "it is looked at again by itself"
    assert await repository.taken() == [("2", second)]


async def test_another_stream_of_the_name_knows_nothing(repository: PushedRepository) -> None:
    pushed = await push(repository.registry, "shop/app", "1")
    assert await repository.taken("1") == [("1", pushed)]
    assert await repository.taken("2") == [("1", pushed)]


async def test_tags_of_a_registry_that_is_away_are_read_when_it_is_back(
    repository: PushedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = await push(repository.registry, "shop/app", "1")
    stream = ImageStream(metadata=ObjectMeta(namespace="shop", name="app", uid="1"))

    async def away(_: str) -> PushedTags:
        raise StorageUnavailableError("the endpoint does not answer")

    with monkeypatch.context() as there:
        there.setattr(repository.registry, "pushed_tags", away)
        assert await repository.taken() == ()
        assert not repository.pushes.knows(stream), "it is looked at again by itself"
    assert await repository.taken() == [("1", pushed)]
    assert repository.pushes.knows(stream)
