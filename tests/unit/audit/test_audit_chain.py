"""The chain of an audit log's lines, its signed heads, and what verification finds."""

import gzip
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.audit.chain import BEGINNING, Link, next_line
from upwell.audit.files import AuditRetention, ChainFiles, chain_files
from upwell.audit.heads import HeadKey, HeadSigner
from upwell.audit.verification import ChainReport, verify_chain

SIGNER = HeadSigner.generate()
START = datetime(2024, 5, 1, tzinfo=UTC)


def chain(folder: Path, *, file_bytes: int = 1 << 20, total_bytes: int = 1 << 30) -> ChainFiles:
    retention = AuditRetention(file_bytes, total_bytes, timedelta(days=30))
    return ChainFiles(folder / "audit.log", retention, SIGNER, lambda: START)


def written(folder: Path, count: int = 6) -> ChainFiles:
    files = chain(folder)
    for number in range(count):
        files.append([{"user": "ci", "number": number}])
    files.seal()
    return files


def report(folder: Path, key: HeadKey = SIGNER.key, expected: Link | None = None) -> ChainReport:
    return verify_chain(folder / "audit.log", key, expected)


def lines(folder: Path) -> list[bytes]:
    return (folder / "audit.log").read_bytes().splitlines()


def rewrite(folder: Path, changed: list[bytes]) -> None:
    (folder / "audit.log").write_bytes(b"".join(line + b"\n" for line in changed))


def test_a_whole_chain_holds(tmp_path: Path) -> None:
    files = written(tmp_path)
    found = report(tmp_path)
    assert found.faults == []
    assert (found.lines, found.first, found.last) == (7, 1, files.link)
    assert (found.heads, found.unsigned) == (1, 0)
    assert json.loads(lines(tmp_path)[0])["prev"] == BEGINNING


def _edited(line: bytes) -> bytes:
    return line.replace(b'"ci"', b'"me"')


TAMPERED: dict[str, Callable[[list[bytes]], list[bytes]]] = {
    "a line edited": lambda found: [*found[:2], _edited(found[2]), *found[3:]],
    "a line removed": lambda found: [*found[:2], *found[3:]],
    "two lines swapped": lambda found: [*found[:2], found[3], found[2], *found[4:]],
    "a line doubled": lambda found: [*found[:3], found[2], *found[3:]],
    "a line put in": lambda found: [*found[:3], b'{"user": "nobody"}', *found[3:]],
    "a line made unreadable": lambda found: [*found[:3], b"\xff", *found[4:]],
    "the beginning cut": lambda found: [found[0].replace(BEGINNING.encode(), b"1" * 64)],
}


@pytest.mark.parametrize("change", TAMPERED.values(), ids=TAMPERED)
def test_whoever_changes_lines_breaks_the_chain(
    tmp_path: Path, change: Callable[[list[bytes]], list[bytes]]
) -> None:
    written(tmp_path)
    rewrite(tmp_path, change(lines(tmp_path)))
    assert report(tmp_path).faults


def test_whoever_writes_the_chain_anew_lacks_the_key(tmp_path: Path) -> None:
    written(tmp_path)
    documents = [json.loads(line) for line in lines(tmp_path)]
    documents[2]["user"] = "nobody"
    link, forged = Link(), []
    for document in documents:
        kept = {key: value for key, value in document.items() if key not in {"seq", "prev"}}
        line, link = next_line(link, kept)
        forged.append(line.rstrip(b"\n"))
    rewrite(tmp_path, forged)
    (fault,) = report(tmp_path).faults
    assert fault == f"the head in line 7 is not signed by key {SIGNER.key.id}"


def test_lines_that_are_cut_off_are_missed_by_whoever_noted_a_head(tmp_path: Path) -> None:
    noted = written(tmp_path).link
    assert report(tmp_path, expected=noted).faults == []
    rewrite(tmp_path, lines(tmp_path)[:4])
    assert report(tmp_path).faults == [], "a chain alone cannot know its end"
    (fault,) = report(tmp_path, expected=noted).faults
    assert fault == "it ends with line 4, and line 7 was there: lines were cut off"


def test_another_chain_of_the_same_length_is_noticed(tmp_path: Path) -> None:
    noted = written(tmp_path).link
    (tmp_path / "audit.log").unlink()
    chain(tmp_path).append([{"number": number} for number in range(7)])
    (fault,) = report(tmp_path, expected=noted).faults
    assert fault == "line 7 is another than the one that was noted"


def test_a_chain_goes_on_after_a_restart(tmp_path: Path) -> None:
    written(tmp_path)
    chain(tmp_path).append([{"user": "next"}])
    found = report(tmp_path)
    assert found.faults == []
    assert (found.last.seq, found.unsigned) == (8, 1)


def test_half_a_line_of_a_power_cut_is_told_and_stays(tmp_path: Path) -> None:
    written(tmp_path)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(b'{"seq": 8, "user": "c')
    chain(tmp_path).append([{"user": "next"}])
    found = report(tmp_path)
    assert found.faults == []
    assert found.damages == ["1 before line 8"]
    assert b'{"seq": 8, "user": "c' in lines(tmp_path)


@pytest.mark.parametrize("garbage", [b"\0" * 300_000, b"\0" * 70_000, b"?\n" * 150_000])
def test_damage_of_any_size_is_told_and_no_number_comes_twice(
    tmp_path: Path, garbage: bytes
) -> None:
    written(tmp_path)
    with (tmp_path / "audit.log").open("ab") as file:
        file.write(garbage)
    chain(tmp_path).append([{"user": "next"}])
    found = report(tmp_path)
    assert found.faults == []
    assert (found.last.seq, found.lines) == (9, 9)
    (damage,) = found.damages
    assert damage.endswith("before line 8, kept in audit.log.damaged-000000000007")
    kept = (tmp_path / "audit.log.damaged-000000000007").read_bytes()
    assert kept.startswith(garbage)


def test_a_file_with_nothing_whole_follows_the_one_before(tmp_path: Path) -> None:
    files = chain(tmp_path, file_bytes=400)
    for number in range(6):
        files.append([{"number": number}])
    last = files.link.seq
    kept = [path for path in chain_files(tmp_path / "audit.log") if path.name != "audit.log"]
    (tmp_path / "audit.log").write_bytes(b"\0" * 300_000)
    chain(tmp_path, file_bytes=1 << 20).append([{"user": "next"}])
    found = report(tmp_path)
    assert kept
    assert found.faults == []
    assert 1 < found.last.seq <= last + 2
    assert len(found.damages) == 1


def test_a_chain_goes_through_its_files(tmp_path: Path) -> None:
    files = chain(tmp_path, file_bytes=400)
    for number in range(22):
        files.append([{"number": number}])
    files.tidy()
    names = [path.name for path in chain_files(tmp_path / "audit.log")]
    assert len(names) > 3
    assert all(name.endswith(".gz") for name in names[:-1])
    found = report(tmp_path)
    assert (found.faults, found.first) == ([], 1)
    assert found.heads == len(names) - 1, "each complete file ends with one"

    chain(tmp_path, file_bytes=400).append([{"user": "next"}])
    assert report(tmp_path).faults == []


def test_a_crash_while_a_file_is_compressed_doubles_nothing(tmp_path: Path) -> None:
    files = chain(tmp_path, file_bytes=400)
    for number in range(6):
        files.append([{"number": number}])
    whole = next(iter(chain_files(tmp_path / "audit.log")))
    with gzip.open(f"{whole}.gz", "wb") as file:
        file.write(whole.read_bytes()[:50])
    assert report(tmp_path).faults == []
    files.tidy()
    assert report(tmp_path).faults == []


def test_the_oldest_files_go_when_there_are_too_many(tmp_path: Path) -> None:
    files = chain(tmp_path, file_bytes=400, total_bytes=1000)
    for number in range(40):
        files.append([{"number": number}])
        files.tidy()
    kept = chain_files(tmp_path / "audit.log")
    assert sum(path.stat().st_size for path in kept[:-1]) <= 1000
    found = report(tmp_path)
    assert found.faults == []
    assert found.first > 1
    assert found.last == files.link


def test_the_log_of_an_earlier_version_is_set_aside(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_text('{"time": "2024-04-01", "user": "ci"}\n')
    written(tmp_path)
    assert report(tmp_path).faults == []
    assert "2024-04-01" in (tmp_path / "audit.log.unchained").read_text()


def test_a_head_is_written_once_for_what_it_covers(tmp_path: Path) -> None:
    files = written(tmp_path)
    files.seal()
    files.seal()
    assert report(tmp_path).heads == 1
    assert chain(tmp_path).link == Link(), "known when the first line is written"


@pytest.mark.parametrize("damage", [b"no JSON\n", b""], ids=["another text", "cut short"])
def test_a_damaged_older_file_is_told_and_stops_nothing_for_ever(
    tmp_path: Path, damage: bytes
) -> None:
    packed = gzip.compress(damage)[: None if damage else 5]
    (tmp_path / "audit.log.000000000001.gz").write_bytes(packed)
    with pytest.raises(OSError, match=r"damaged|magic|end"):
        chain(tmp_path).append([{"user": "ci"}])
    assert report(tmp_path).faults


def test_a_signature_that_is_no_text_is_none(tmp_path: Path) -> None:
    line, _ = next_line(Link(), {"kind": "Head", "signature": "\u00e9"})
    (tmp_path / "audit.log").write_bytes(line)
    assert "is not signed" in report(tmp_path).faults[0]


def test_a_line_without_end_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "audit.log").write_bytes(b'{"seq": 1, "x": "' + b"x" * 1_000_000)
    (fault,) = report(tmp_path).faults
    assert fault == "a line of more than 65536 bytes"


@given(
    st.lists(st.dictionaries(st.text(), st.text() | st.integers()), min_size=1, max_size=8),
    st.data(),
)
def test_no_byte_can_be_changed(documents: list[dict[str, Any]], data: st.DataObject) -> None:
    """Every line but the last is covered by the one after it."""
    link, text = Link(), b""
    for document in [*documents, {}]:
        kept = {key: value for key, value in document.items() if key not in {"seq", "prev"}}
        line, link = next_line(link, kept)
        text += line
    covered = text.rindex(b"\n", 0, len(text) - 1)
    at = data.draw(st.integers(0, covered - 1))
    changed = bytearray(text)
    changed[at] ^= 1 << data.draw(st.integers(0, 7))
    assert _faults(bytes(text)) == []
    assert _faults(bytes(changed)) != []


def _faults(text: bytes) -> list[str]:
    from tempfile import TemporaryDirectory  # noqa: PLC0415 - hypothesis takes no fixtures

    with TemporaryDirectory() as folder:
        (Path(folder) / "audit.log").write_bytes(text)
        return report(Path(folder)).faults
