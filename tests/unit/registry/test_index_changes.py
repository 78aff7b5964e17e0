"""Changes of an index that are decided one after another, for one write."""

import asyncio

from upwell.oci import Digest
from upwell.registry.bucket.index import RepositoryIndex
from upwell.registry.bucket.index_changes import PendingChange, drafted
from upwell.registry.errors import RegistryError

DIGEST = Digest.of(b"an image")


def breaks_off(index: RepositoryIndex) -> None:
    index.set_tag("half", DIGEST, 0.0)
    raise RegistryError("refused")


def tags(index: RepositoryIndex) -> list[str]:
    index.set_tag("next", DIGEST, 0.0)
    return [*index.named()]


async def test_a_change_that_breaks_off_leaves_nothing_to_the_next_one() -> None:
    loop, known = asyncio.get_running_loop(), RepositoryIndex()
    changes = [PendingChange(change, loop.create_future()) for change in (breaks_off, tags)]
    draft, (refused, made) = await drafted(known, changes)
    assert isinstance(refused.error, RegistryError)
    assert made.result == ["next"]
    assert draft.named() == {"next": DIGEST}
    assert known.is_empty
