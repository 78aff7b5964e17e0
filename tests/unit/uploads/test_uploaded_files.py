from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.clocks import SecondsClock

from upwell.oci import Digest
from upwell.uploads.files import FileInputs
from upwell.uploads.interface import InputMissingError, InputTooLargeError, StoreFullError

HOUR = timedelta(hours=1)


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def broken() -> AsyncIterator[bytes]:
    yield b"half of"
    raise ConnectionError("gone")


@pytest.fixture
def clock() -> SecondsClock:
    return SecondsClock()


@pytest.fixture
def inputs(tmp_path: Path, clock: SecondsClock) -> FileInputs:
    return FileInputs(tmp_path / "inputs", limit_bytes=100, clock=clock)


def kept(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "inputs").iterdir())


async def test_an_upload_is_kept_by_its_digest(inputs: FileInputs, tmp_path: Path) -> None:
    stored = await inputs.save(pieces(b"one ", b"two"))

    assert stored.digest == Digest.of(b"one two")
    assert stored.size == 7
    path = await inputs.path(stored.digest)
    assert path.read_bytes() == b"one two"
    assert path.stat().st_mode & 0o777 == 0o400
    assert (tmp_path / "inputs").stat().st_mode & 0o777 == 0o700


async def test_the_same_content_is_kept_once(inputs: FileInputs, tmp_path: Path) -> None:
    first = await inputs.save(pieces(b"a", b"b"))
    assert await inputs.save(pieces(b"ab")) == first
    assert len(kept(tmp_path)) == 1


async def test_too_large_an_upload_leaves_nothing(inputs: FileInputs, tmp_path: Path) -> None:
    assert (await inputs.save(pieces(b"x" * 100))).size == 100
    with pytest.raises(InputTooLargeError, match="more than 100 bytes: leave files out"):
        await inputs.save(pieces(b"x" * 60, b"y" * 41))
    assert len(kept(tmp_path)) == 1


async def test_an_upload_that_breaks_off_leaves_nothing(inputs: FileInputs, tmp_path: Path) -> None:
    with pytest.raises(ConnectionError):
        await inputs.save(broken())
    assert kept(tmp_path) == []


async def test_what_cannot_be_written_says_so(tmp_path: Path) -> None:
    blocked = tmp_path / "inputs"
    blocked.write_text("a file")
    with pytest.raises(StoreFullError, match="cannot be kept"):
        await FileInputs(blocked / "below").save(pieces(b"x"))


async def test_an_unknown_digest_is_missing(inputs: FileInputs) -> None:
    with pytest.raises(InputMissingError, match="it was removed; upload it again"):
        await inputs.path(Digest.of(b"never"))


async def test_a_removal_spares_what_is_named_and_what_is_new(
    inputs: FileInputs, clock: SecondsClock, tmp_path: Path
) -> None:
    named = await inputs.save(pieces(b"named"))
    old = await inputs.save(pieces(b"old"))
    again = await inputs.save(pieces(b"again"))
    clock.now += 2 * HOUR.total_seconds()
    new = await inputs.save(pieces(b"new"))
    await inputs.save(pieces(b"again"))

    assert await inputs.remove_unused({named.digest}, unused_for=HOUR) == 3
    for stored in (named, again, new):
        await inputs.path(stored.digest)
    with pytest.raises(InputMissingError):
        await inputs.path(old.digest)
    assert len(kept(tmp_path)) == 3


async def test_a_removal_before_the_first_upload_finds_nothing(inputs: FileInputs) -> None:
    assert await inputs.remove_unused((), unused_for=HOUR) == 0


async def test_a_dry_run_says_what_would_go_and_removes_nothing(
    inputs: FileInputs, clock: SecondsClock
) -> None:
    old = await inputs.save(pieces(b"old"))
    clock.now += 2 * HOUR.total_seconds()

    assert await inputs.remove_unused((), unused_for=HOUR, dry_run=True) == 3

    await inputs.path(old.digest)


async def test_no_upload_is_taken_while_space_is_short(tmp_path: Path) -> None:
    inputs = FileInputs(tmp_path / "inputs", pressure=lambda: "/data has 3 MiB free")

    with pytest.raises(StoreFullError, match="not taken now: /data has 3 MiB free"):
        await inputs.save(pieces(b"content"))
    assert not (tmp_path / "inputs").exists()


async def test_an_upload_ends_where_the_disk_gets_full_meanwhile(tmp_path: Path) -> None:
    answers = iter(["", "", "/data has 3 MiB free"])
    inputs = FileInputs(tmp_path / "inputs", pressure=lambda: next(answers))
    with pytest.raises(StoreFullError, match="/data has 3 MiB free"):
        await inputs.save(pieces(b"one", b"two"))
    assert kept(tmp_path) == []


async def test_what_a_killed_process_was_writing_is_removed(
    inputs: FileInputs, tmp_path: Path
) -> None:
    stored = await inputs.save(pieces(b"whole"), "a")
    (tmp_path / "inputs" / "0123.upload").write_bytes(b"half")
    await inputs.recover()
    assert (await inputs.path(stored.digest)).read_bytes() == b"whole"
    assert not list((tmp_path / "inputs").glob("*.upload"))
