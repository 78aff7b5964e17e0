"""Lines of a chain from a number on, read while it is being written."""

from collections.abc import Iterator
from pathlib import Path

from upwell.audit.chain import BrokenChainError, parse
from upwell.audit.files import chain_files, first_number, read_lines


def lines_after(path: Path, after: int) -> Iterator[tuple[int, bytes]]:
    """Yield the lines of a chain after one, with their numbers; raises OSError, BrokenChainError.

    What a power cut has left of a line has the number 0, and comes with the line that follows.
    Stops where files are moved meanwhile: the next look finds the rest.
    """
    files = chain_files(path)
    begins = [first_number(one) for one in files]
    for index, file in enumerate(files):
        following = begins[index + 1] if index + 1 < len(files) else 0
        if following and following <= after + 1:
            continue  # all its lines come before
        unread: list[bytes] = []
        try:
            for line in read_lines(file):
                seq = _number(line)
                if not seq:
                    unread.append(line)
                    continue
                if seq > after + 1 and chain_files(path) != files:
                    return
                if seq > after:
                    after = seq
                    yield from ((0, one) for one in unread)
                    yield seq, line
                unread.clear()
        except FileNotFoundError:
            return


def _number(line: bytes) -> int:
    try:
        seq = parse(line).get("seq")
    except BrokenChainError:
        return 0
    return seq if isinstance(seq, int) else 0
