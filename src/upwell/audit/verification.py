"""Verification of a chain of lines: whole, in order, unchanged, and signed."""

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from upwell.audit.chain import BrokenChainError, Link, follow, parse
from upwell.audit.files import chain_files, read_lines
from upwell.audit.heads import HeadKey, InvalidHeadError, is_head
from upwell.audit.log import END


@dataclass(slots=True)
class ChainReport:
    """Findings about one chain."""

    lines: int = 0
    first: int = 0
    """Number of the first line; more than 1 where older files are gone."""
    last: Link = field(default_factory=Link)
    begins: str = ""
    """Time of the first line, as it stands there."""
    ends: str = ""
    heads: int = 0
    signed: Link = field(default_factory=Link)
    """The last head: everything up to it is covered by a signature."""
    replica: str = ""
    """Name of the replica that has written the last line which names one."""
    is_ended: bool = False
    """True if a replica has ended it in good order, and nothing came after."""
    damages: list[str] = field(default_factory=list)
    """Remains of lines that a power cut has cut, each noted by the line after it."""
    faults: list[str] = field(default_factory=list)
    """Reasons why the chain is not to be trusted; empty if it is."""

    @property
    def unsigned(self) -> int:
        """The number of lines after the last head."""
        return self.last.seq - self.signed.seq


def verify_chain(path: Path, key: HeadKey, expected: Link | None = None) -> ChainReport:
    """Read all files of the chain at `path` and report on them; raises OSError.

    `expected` is a line that was noted earlier: it must be in the chain as it was.
    """
    report = ChainReport()
    try:
        _walk(_all_lines(chain_files(path)), key, report, expected)
    except BrokenChainError as error:
        report.faults.append(str(error))
    except (EOFError, OSError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        report.faults.append(f"a compressed file is damaged: {error}")
    if expected is not None and not report.faults and report.last.seq < expected.seq:
        report.faults.append(
            f"it ends with line {report.last.seq}, and line {expected.seq} was there: lines were"
            " cut off"
        )
    return report


def _walk(lines: Iterable[bytes], key: HeadKey, report: ChainReport, expected: Link | None) -> None:
    link: Link | None = None
    unread = 0
    for line in lines:
        try:
            parse(line)
        except BrokenChainError:
            unread += 1
            continue
        document, link = follow(link, line)
        if unread:
            if document.get("kind") != "Damage" or document.get("lines") != unread:
                raise BrokenChainError(f"{unread} lines before line {link.seq} are no JSON")
            report.damages.append(f"{unread} before line {link.seq}")
            unread = 0
        elif document.get("kind") == "Damage":
            where = f"{document.get('bytes')} bytes before line {link.seq}"
            report.damages.append(f"{where}, kept in {document.get('file')}")
        report.lines += 1
        report.last, report.ends = link, str(document.get("time", ""))
        if report.lines == 1:
            report.first, report.begins = link.seq, report.ends
        report.replica = str(document.get("replica", "")) or report.replica
        if not is_head(document):
            report.is_ended = document.get("kind") == END
        else:
            _check_head(document, key, report, link)
        if expected is not None and link.seq == expected.seq and link != expected:
            report.faults.append(f"line {link.seq} is another than the one that was noted")
    if unread > 1 or (unread and not report.lines):  # a power cut leaves half of one line
        raise BrokenChainError(f"{unread} lines after line {report.last.seq} are no JSON")
    if unread:
        report.damages.append(f"{unread} after line {report.last.seq}")


def _check_head(document: Mapping[str, Any], key: HeadKey, report: ChainReport, link: Link) -> None:
    try:
        key.check(document)
    except InvalidHeadError as error:
        report.faults.append(str(error))
    else:
        report.heads += 1
        report.signed = link


def _all_lines(paths: Iterable[Path]) -> Iterator[bytes]:
    for path in paths:
        yield from read_lines(path)
