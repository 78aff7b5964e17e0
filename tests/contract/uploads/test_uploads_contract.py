"""Contract of stores of uploads: bytes in, a digest out, and the same bytes again."""

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.clocks import SecondsClock
from tests.support.registry.shared_contents import shared_contents

from upwell.oci import Digest
from upwell.uploads.files import FileInputs
from upwell.uploads.interface import (
    BinaryInputs,
    InputMissingError,
    InputTooLargeError,
    StoreFullError,
    UploadQuota,
    UploadQuotaError,
)
from upwell.uploads.shared import SharedInputs
from upwell.uploads.usage import UploadUsage

LIMIT_BYTES = 100
BLOCK = 4096
HOUR = timedelta(hours=1)

type OpenInputs = Callable[[Path], BinaryInputs]
"""Opens a store of uploads in a folder, with a limit and the tests' clock."""


@pytest.fixture
def clock() -> SecondsClock:
    return SecondsClock()


@pytest.fixture(params=["files", "shared in a registry", "shared in a bucket"])
async def open_inputs(
    request: pytest.FixtureRequest, clock: SecondsClock, tmp_path: Path
) -> AsyncIterator[OpenInputs]:
    async def quota(namespace: str) -> UploadQuota | None:
        return UploadQuota("few", 2 * BLOCK) if namespace == "limited" else None

    def usage() -> UploadUsage:
        return UploadUsage(quota)

    if request.param == "files":
        yield lambda folder: FileInputs(folder, limit_bytes=LIMIT_BYTES, clock=clock, usage=usage())
        return
    place = "bucket" if request.param == "shared in a bucket" else "registry"
    async with shared_contents(tmp_path, place) as shared:
        yield lambda folder: SharedInputs(
            folder, shared, limit_bytes=LIMIT_BYTES, clock=clock, usage=usage()
        )


@pytest.fixture
def inputs(open_inputs: OpenInputs, tmp_path: Path) -> BinaryInputs:
    return open_inputs(tmp_path / "uploads")


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def kept(inputs: BinaryInputs, clock: SecondsClock) -> int:
    """Return how many bytes are kept, drafts included."""
    clock.now += 2 * HOUR.total_seconds()
    return await inputs.remove_unused((), unused_for=HOUR, dry_run=True)


async def test_what_was_saved_is_found_by_its_digest(inputs: BinaryInputs) -> None:
    stored = await inputs.save(pieces(b"one ", b"", b"two"))

    assert (stored.digest, stored.size) == (Digest.of(b"one two"), 7)
    assert (await inputs.path(stored.digest)).read_bytes() == b"one two"


async def test_nothing_is_an_upload_too(inputs: BinaryInputs) -> None:
    stored = await inputs.save(pieces())

    assert (stored.digest, stored.size) == (Digest.of(b""), 0)
    assert (await inputs.path(stored.digest)).read_bytes() == b""


async def test_the_same_content_is_kept_once(inputs: BinaryInputs, clock: SecondsClock) -> None:
    first = await inputs.save(pieces(b"a", b"b"))

    assert await inputs.save(pieces(b"ab")) == first
    assert await kept(inputs, clock) == 2


async def test_uploads_of_the_same_content_at_once_are_one(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    saved = await asyncio.gather(*(inputs.save(pieces(b"a", b"b")) for _ in range(5)))

    assert set(saved) == {saved[0]}
    assert (await inputs.path(saved[0].digest)).read_bytes() == b"ab"
    assert await kept(inputs, clock) == 2


async def test_nobody_can_write_what_is_kept(inputs: BinaryInputs) -> None:
    path = await inputs.path((await inputs.save(pieces(b"x"))).digest)

    assert path.stat().st_mode & 0o222 == 0


async def test_a_digest_that_is_not_kept_is_named(inputs: BinaryInputs) -> None:
    digest = Digest.of(b"never")

    with pytest.raises(InputMissingError, match=str(digest)) as caught:
        await inputs.path(digest)
    assert caught.value.digest == digest


async def test_the_limit_itself_is_taken_and_a_byte_more_is_not(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    assert (await inputs.save(pieces(b"x" * LIMIT_BYTES))).size == LIMIT_BYTES
    with pytest.raises(InputTooLargeError) as caught:
        await inputs.save(pieces(b"y" * LIMIT_BYTES, b"y"))
    assert caught.value.limit_bytes == LIMIT_BYTES
    assert await kept(inputs, clock) == LIMIT_BYTES


async def test_an_upload_that_breaks_off_leaves_nothing(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half of"
        raise ConnectionError("the sender is gone")

    with pytest.raises(ConnectionError, match="the sender is gone"):
        await inputs.save(broken())
    assert await kept(inputs, clock) == 0


async def test_an_upload_that_is_cancelled_leaves_nothing(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    half = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"half of"
        half.set()
        await asyncio.Event().wait()

    saving = asyncio.create_task(inputs.save(slow()))
    await half.wait()
    saving.cancel()
    with pytest.raises(asyncio.CancelledError):
        await saving
    assert await kept(inputs, clock) == 0


async def test_what_cannot_be_written_is_refused(open_inputs: OpenInputs, tmp_path: Path) -> None:
    blocked = tmp_path / "uploads"
    blocked.write_text("a file in the place of the folder")

    with pytest.raises(StoreFullError):
        await open_inputs(blocked).save(pieces(b"x"))


async def test_another_process_finds_what_was_saved(
    open_inputs: OpenInputs, tmp_path: Path
) -> None:
    stored = await open_inputs(tmp_path / "uploads").save(pieces(b"x"))

    assert (await open_inputs(tmp_path / "uploads").path(stored.digest)).read_bytes() == b"x"


async def test_a_namespace_has_what_was_saved_for_it_and_not_for_others(
    inputs: BinaryInputs,
) -> None:
    stored = await inputs.save(pieces(b"sources of a"), "a")

    assert (await inputs.path(stored.digest, "a")).read_bytes() == b"sources of a"
    with pytest.raises(InputMissingError):
        await inputs.path(stored.digest, "b")
    await inputs.save(pieces(b"sources of a"), "b")
    for namespace in ("a", "b"):
        assert (await inputs.path(stored.digest, namespace)).read_bytes() == b"sources of a"


async def test_a_removal_spares_what_is_named_and_what_is_young(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    named = await inputs.save(pieces(b"named"))
    old = await inputs.save(pieces(b"old"))
    again = await inputs.save(pieces(b"again"))
    clock.now += 2 * HOUR.total_seconds()
    young = await inputs.save(pieces(b"young"))
    await inputs.save(pieces(b"again"))

    assert await inputs.remove_unused([named.digest], unused_for=HOUR) == len(b"old")

    for stored in (named, again, young):
        await inputs.path(stored.digest)
    with pytest.raises(InputMissingError):
        await inputs.path(old.digest)


async def test_a_dry_run_counts_and_removes_nothing(
    inputs: BinaryInputs, clock: SecondsClock
) -> None:
    old = await inputs.save(pieces(b"old"))
    clock.now += 2 * HOUR.total_seconds()

    assert await inputs.remove_unused((), unused_for=HOUR, dry_run=True) == 3
    await inputs.path(old.digest)
    assert await inputs.remove_unused((), unused_for=HOUR) == 3
    assert await inputs.remove_unused((), unused_for=HOUR) == 0


async def test_a_removal_before_the_first_upload_finds_nothing(inputs: BinaryInputs) -> None:
    assert await inputs.remove_unused((), unused_for=HOUR) == 0


async def test_each_content_counts_once_for_each_namespace_that_uploads_it(
    inputs: BinaryInputs,
) -> None:
    for namespace in ("a", "a", "b", ""):
        await inputs.save(pieces(b"one"), namespace)
    await inputs.save(pieces(b"two"), "a")
    assert [await inputs.used(one) for one in ("a", "b", "c")] == [2 * BLOCK, BLOCK, 0]


async def test_what_is_kept_counts_after_a_restart(
    inputs: BinaryInputs, open_inputs: OpenInputs, tmp_path: Path
) -> None:
    await inputs.save(pieces(b"one"), "a")
    again = open_inputs(tmp_path / "uploads")
    assert await again.used("a") == BLOCK
    await again.save(pieces(b"two"), "a")
    await again.save(pieces(b"one"), "a")
    assert await again.used("a") == 2 * BLOCK


async def test_what_is_removed_is_free_at_once(inputs: BinaryInputs, clock: SecondsClock) -> None:
    named = await inputs.save(pieces(b"named"), "a")
    await inputs.save(pieces(b"old"), "a")
    await inputs.save(pieces(b"old"), "b")
    clock.now += 3601
    await inputs.save(pieces(b"old"), "b")
    assert await inputs.used("a") == 2 * BLOCK
    assert await inputs.remove_unused([named.digest], unused_for=HOUR) == 0, "b has it, and new"
    assert [await inputs.used(one) for one in ("a", "b")] == [BLOCK, BLOCK]


async def test_more_than_the_quota_is_refused_and_leaves_nothing(inputs: BinaryInputs) -> None:
    await inputs.save(pieces(b"one"), "limited")
    await inputs.save(pieces(b"two"), "limited")
    with pytest.raises(UploadQuotaError, match=r"exceeded quota: few, requested: upwell\.dev/up"):
        await inputs.save(pieces(b"three"), "limited")
    assert await inputs.used("limited") == 2 * BLOCK
    with pytest.raises(InputMissingError):
        await inputs.path(Digest.of(b"three"))
    await inputs.save(pieces(b"three"), "other")
    await inputs.save(pieces(b"four"), "limited", limited=False)
    assert await inputs.used("limited") == 3 * BLOCK


async def test_uploads_under_way_count_until_they_end(inputs: BinaryInputs) -> None:
    begun, goes_on = asyncio.Event(), asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"slow"
        begun.set()
        await goes_on.wait()
        raise ConnectionError("gone")

    await inputs.save(pieces(b"one"), "limited")
    saving = asyncio.create_task(inputs.save(slow(), "limited"))
    await begun.wait()
    assert await inputs.used("limited") == 2 * BLOCK
    with pytest.raises(UploadQuotaError):
        await inputs.save(pieces(b"two"), "limited")
    goes_on.set()
    with pytest.raises(ConnectionError):
        await saving
    assert await inputs.used("limited") == BLOCK
    await inputs.save(pieces(b"two"), "limited")
