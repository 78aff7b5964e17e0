"""Archives of containers that mean harm: nothing is written outside, and everything ends."""

import asyncio
import tarfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from upwell.cli.core.errors import CommandError
from upwell.cli.workloads import unpacking
from upwell.cli.workloads.unpacking import Unpacking

END = bytes(1024)


def entry(
    name: str,
    kind: bytes = tarfile.REGTYPE,
    content: bytes = b"",
    link: str = "",
    records: dict[str, str] | None = None,
) -> bytes:
    """Return an entry of an archive, with what pax records say in place of its header."""
    made = tarfile.TarInfo(name)
    made.type, made.size, made.linkname = kind, len(content), link
    made.pax_headers = records or {}
    return made.tobuf(tarfile.PAX_FORMAT) + content + bytes(-len(content) % 512)


def unpack(into: Path, pieces: Iterator[bytes], max_bytes: int = 2**24) -> Unpacking:
    """Unpack what a container sends to `into`, in a time that is far more than it needs."""

    async def sent() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    made = Unpacking("x", into, max_bytes)

    async def work() -> None:
        async with asyncio.timeout(120):
            await made.take(sent())

    asyncio.run(work())
    return made


def refused(into: Path, raw: bytes, max_bytes: int = 2**24) -> str:
    """Unpack an archive that cannot be; return what is told."""
    with pytest.raises(CommandError) as told:
        unpack(into, iter([raw]), max_bytes)
    return str(told.value)


def test_links_do_not_multiply_a_file_beyond_the_limit(tmp_path: Path) -> None:
    links = [entry(f"x/{number}", tarfile.LNKTYPE, link="x/a") for number in range(100)]
    raw = b"".join([entry("x/a", content=bytes(100_000)), *links, END])
    assert "more than 1000000 bytes" in refused(tmp_path, raw, 1_000_000)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 1_000_000


def test_folders_above_an_entry_are_counted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unpacking, "MAX_ENTRIES", 1000)
    raw = b"".join(entry(f"x/{number}/" + "d/" * 300 + "f") for number in range(10)) + END
    assert "more than 1000 files and folders" in refused(tmp_path, raw)
    assert sum(1 for _ in tmp_path.rglob("*")) <= 1000


def test_a_folder_may_be_as_deep_as_a_path_can_be(tmp_path: Path) -> None:
    deep = "x/" + "d/" * 1500 + "f"
    unpack(tmp_path, iter([entry(deep, content=b"deep"), END]))
    assert (tmp_path / deep.removeprefix("x/")).read_text() == "deep"
    assert "File name too long" in refused(tmp_path, entry("x/" + "e/" * 2040 + "f") + END)


def test_names_that_are_kept_have_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpacking, "_MAX_NAMES", 300)
    raw = b"".join(entry(f"x/{number}{'n' * 99}") for number in range(9)) + END
    assert "more than 300 characters" in refused(tmp_path, raw)


def test_an_archive_that_never_ends_is_not_read_for_ever(tmp_path: Path) -> None:
    def files() -> Iterator[bytes]:
        while True:
            yield entry("x/a", content=bytes(100_000))

    with pytest.raises(CommandError, match="more than 5000000 bytes"):
        unpack(tmp_path, files(), 5_000_000)

    def rest() -> Iterator[bytes]:
        yield entry("x/a", content=b"all of it") + END
        while True:
            yield bytes(100_000)

    unpack(tmp_path, rest())
    assert (tmp_path / "a").read_bytes() == b"all of it"


WHOLE = entry("x/a", content=b"a" * 600) + entry("x/b", content=b"b" * 600)


@pytest.mark.parametrize(
    "raw",
    [
        WHOLE[:700],
        WHOLE[: len(WHOLE) // 2 + 100],  # in the header of the second
        WHOLE[:-100],
        WHOLE + b"no header".ljust(512, b"!") + END,
        entry("x/a") + entry("x/l" + "o" * 200)[:1100] + END,
    ],
)
def test_an_archive_that_is_cut_off_or_broken_is_not_taken_for_whole(
    tmp_path: Path, raw: bytes
) -> None:
    assert "cannot be unpacked" in refused(tmp_path / "into", raw)


@pytest.mark.parametrize(
    "records",
    [
        {"GNU.sparse.map": "0,a"},
        {"GNU.sparse.major": "1", "GNU.sparse.minor": "0"},
        {"GNU.sparse.map": "0,1", "GNU.sparse.name": "../out"},
        {"size": "-512"},
        {"size": "9" * 30},
        {"path": "x/../../out"},
        {"path": "/out"},
        {"path": "x/\0"},
    ],
)
def test_records_that_lie_are_told(tmp_path: Path, records: dict[str, str]) -> None:
    raw = entry("x/a", content=b"abc\n" * 200, records=records) + END
    assert "cannot be unpacked" in refused(tmp_path / "into", raw)
    assert not list(tmp_path.rglob("out"))


def test_a_sparse_file_is_left_out_whatever_size_it_claims(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    records = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(100 * 2**30)}
    raw = entry("x/huge", content=b"a", records=records) + entry("x/b", content=b"b") + END
    unpack(tmp_path, iter([raw]))
    assert [path.name for path in tmp_path.iterdir()] == ["b"]
    assert "it is a sparse file" in capsys.readouterr().err


def test_names_of_control_characters_do_not_act_on_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evil = "x/\x1b]0;owned\x07"
    unpack(tmp_path, iter([entry(evil, tarfile.SYMTYPE, link="\x1b[2J") + entry(evil) + END]))
    assert "\x1b" not in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == [evil.removeprefix("x/")]


def test_times_that_no_file_has_are_left_out(tmp_path: Path) -> None:
    raw = b"".join(
        entry(f"x/{number}", records={"mtime": time})
        for number, time in enumerate(["nan", "inf", "-1e300", "1e300"])
    )
    unpack(tmp_path, iter([raw, END]))
    assert len(list(tmp_path.iterdir())) == 4
