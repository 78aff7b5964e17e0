"""Contract of where replicas share uploads: files in, and the same bytes at any other replica."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.shared_contents import shared_contents

from upwell.app.registries.replica_uploads import RegistryContents
from upwell.oci import Digest
from upwell.uploads.interface import (
    InputMissingError,
    InputTooLargeError,
    SharedContent,
    SharedContents,
    StoreFullError,
)

CONTENT = b"one two"
LIMIT = 100


@pytest.fixture(params=["registry", "bucket"])
async def shared(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[SharedContents]:
    async with shared_contents(tmp_path, request.param) as opened:
        assert isinstance(opened, RegistryContents)
        yield opened


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "source"
    file.write_bytes(CONTENT)
    return file


def saved(at: int, content: bytes = CONTENT) -> SharedContent:
    return SharedContent(Digest.of(content), len(content), at)


async def test_what_was_put_is_listed_and_fetched(
    shared: SharedContents, source: Path, tmp_path: Path
) -> None:
    for _ in range(2):
        await shared.put("a", saved(1), source)
    assert list(await shared.contents("a")) == [saved(1)]
    assert "a" in await shared.cleaned_namespaces()
    await shared.fetch("a", saved(1).digest, tmp_path / "fetched", LIMIT)
    assert (tmp_path / "fetched").read_bytes() == CONTENT


async def test_nothing_may_be_shared_as_well(shared: SharedContents, tmp_path: Path) -> None:
    source = tmp_path / "empty"
    source.touch()
    await shared.put("a", saved(1, b""), source)
    await shared.fetch("a", Digest.of(b""), tmp_path / "fetched", LIMIT)
    assert (tmp_path / "fetched").read_bytes() == b""


async def test_what_is_not_there_is_missing(
    shared: SharedContents, source: Path, tmp_path: Path
) -> None:
    assert list(await shared.contents("a")) == []
    await shared.put("a", saved(1), source)
    for namespace, digest in (("a", Digest.of(b"never")), ("b", saved(1).digest)):
        with pytest.raises(InputMissingError, match=str(digest)):
            await shared.fetch(namespace, digest, tmp_path / "fetched", LIMIT)
    await shared.remove("a", saved(1, b"never"))
    assert list(await shared.contents("a")) == [saved(1)]


async def test_more_than_the_limit_is_not_fetched(
    shared: SharedContents, source: Path, tmp_path: Path
) -> None:
    await shared.put("a", saved(1), source)
    with pytest.raises(InputTooLargeError):
        await shared.fetch("a", saved(1).digest, tmp_path / "fetched", len(CONTENT) - 1)
    await shared.fetch("a", saved(1).digest, tmp_path / "whole", len(CONTENT))


async def test_what_cannot_be_written_is_told(
    shared: SharedContents, source: Path, tmp_path: Path
) -> None:
    await shared.put("a", saved(1), source)
    with pytest.raises(StoreFullError):
        await shared.fetch("a", saved(1).digest, tmp_path / "no folder" / "fetched", LIMIT)


async def test_a_removal_takes_what_was_saved_then_alone(
    shared: SharedContents, source: Path, tmp_path: Path
) -> None:
    for at in (1, 2):
        await shared.put("a", saved(at), source)
    await shared.put("b", saved(1), source)
    await shared.remove("a", saved(1))
    assert list(await shared.contents("a")) == [saved(2)]
    await shared.fetch("a", saved(2).digest, tmp_path / "fetched", LIMIT)
    await shared.remove("a", saved(2))
    assert list(await shared.contents("a")) == []
    with pytest.raises(InputMissingError):
        await shared.fetch("a", saved(2).digest, tmp_path / "again", LIMIT)
    assert list(await shared.contents("b")) == [saved(1)]
