"""Keeps known secrets out of a log, wherever the pieces of output are cut.

One pass over the output, however many secrets there are: the forms of all of them lie sorted, and
a place is compared with its two neighbours there.
"""

import base64
import json
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from heapq import merge
from itertools import batched
from urllib.parse import quote, quote_plus

from upwell.machine.process import LogSink

_MASK = b"********"
_SHORTEST = 4
"""A shorter secret would mask ordinary words, and protect nothing."""

_SHORTEST_ENCODED = 6
_LONGEST = 1024
"""Longer secrets are looked for in pieces: so much of the output at most is held back."""

_FEW_LINES = 64
"""Lines of a secret with more are parts of a file, which nobody encodes one by one."""

_WRAPPED = (64, 76)
"""The widths of lines of PEM and of base64(1)."""

MOST_TEXTS = 1024 * 1024
MOST_BYTES = 64 * 1024 * 1024
"""Of all forms of the secrets of one log: those of several MiB of files, or of 200,000 values."""

_RUN = 32 * 1024
"""Texts that are sorted at once: while it sorts, no other thread of the process goes on."""


class TooManySecretsError(Exception):
    """Failure for secrets whose texts are more than can be kept out of a log."""

    def __init__(self) -> None:
        super().__init__(
            f"its secrets are more than can be kept out of its log ({MOST_TEXTS} texts in"
            f" {MOST_BYTES >> 20} MiB, with their encoded forms): give it those that it needs"
        )


class Redaction:
    """A sink that passes output on with every secret masked; `flush` at the end.

    With many secrets it takes seconds to make one, in a thread of its own. Raises
    TooManySecretsError.
    """

    def __init__(self, log: LogSink, secrets: Iterable[str | bytes]) -> None:
        self._log = log
        self._known = _KnownTexts(_forms(secrets))
        self._held = b""
        self._covered = 0
        """Bytes of `_held` that belong to a secret whose mask was passed on."""

    def __call__(self, piece: bytes) -> None:
        """Pass `piece` on, except for an end that may be the beginning of a secret."""
        text = self._held + piece
        self._pass_on(text, self._known.open_end(text))

    def flush(self) -> None:
        """Pass on what was held back."""
        self._pass_on(self._held, len(self._held))

    def mask(self, text: str) -> str:
        """Return `text` with every secret masked."""
        raw = text.encode(errors="surrogateescape")
        return b"".join(self._masked(raw, len(raw), 0)[0]).decode(errors="replace")

    def _pass_on(self, text: bytes, until: int) -> None:
        pieces, end = self._masked(text, until, self._covered)
        self._held, self._covered = text[until:], max(0, end - until)
        if ready := b"".join(pieces):
            self._log(ready)

    def _masked(self, text: bytes, until: int, covered: int) -> tuple[list[bytes], int]:
        """Return text[covered:until] in masked pieces, and where the last secret ends."""
        pieces, end, is_masked = list[bytes](), covered, covered > 0
        for start, stop in self._known.found(text, until):
            if start > end or not is_masked:
                pieces += [text[end:start], _MASK]
            is_masked, end = True, max(end, stop)
        pieces.append(text[end:until])
        return pieces, end


class _KnownTexts:
    """Texts that are looked for, all at once; none is longer than `_LONGEST`."""

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._texts = list(_in_order(texts))
        self._inner = list(_beginnings(self._texts))
        self._prefixes = frozenset(text[:_SHORTEST] for text in self._texts)
        # What can begin one, letter by letter: so most of the output is passed over at once.
        letters = [{prefix[at] for prefix in self._prefixes} for at in range(_SHORTEST)]
        classes = (b"".join(b"\\x%02x" % letter for letter in sorted(some)) for some in letters)
        self._begin = (
            re.compile(b"".join(b"[%b]" % one for one in classes)) if self._texts else None
        )

    def found(self, text: bytes, until: int) -> Iterator[tuple[int, int]]:
        """Yield beginning and end of the longest text at each place before `until`."""
        at = 0
        while self._begin is not None and (match := self._begin.search(text, at)):
            start = match.start()
            if start >= until:
                return
            at = start + 1
            if match[0] in self._prefixes and (length := self._longest(text, start)):
                yield start, start + length

    def open_end(self, text: bytes) -> int:
        """Return where the end of `text` may be the beginning of one that goes on."""
        for at in self._begun(text):
            end = text[at:]
            # Of all that begin with `end`, `end` itself is the first.
            place = bisect_left(self._texts, end)
            place += place < len(self._texts) and self._texts[place] == end
            if place < len(self._texts) and self._texts[place].startswith(end):
                return at
        return len(text)

    def _begun(self, text: bytes) -> Iterator[int]:
        """Yield the places near the end of `text` where one may begin."""
        at = max(0, len(text) - _LONGEST + 1)
        while self._begin is not None and (match := self._begin.search(text, at)):
            if match[0] in self._prefixes:
                yield match.start()
            at = match.start() + 1
        yield from range(max(at, len(text) - _SHORTEST + 1), len(text))

    def _longest(self, text: bytes, start: int) -> int:
        """Return the length of the longest text that stands at `start`; 0: none does."""
        here = text[start : start + _LONGEST]
        place = bisect_right(self._texts, here) - 1
        if place < 0:
            return 0
        nearest = self._texts[place]
        if here.startswith(nearest):
            return len(nearest)
        # Any other that stands here is the beginning of the nearest one too.
        inner = self._inner[place]
        shorter = bisect_right(inner, _common(here, nearest)) if inner else 0
        return inner[shorter - 1] if shorter else 0


def _in_order(texts: Iterable[bytes]) -> Iterator[bytes]:
    """Yield texts sorted, each once; raises TooManySecretsError."""
    runs, count, size = list[list[bytes]](), 0, 0
    for run in batched(texts, _RUN):
        runs.append(sorted(set(run)))
        count += len(runs[-1])
        size += sum(map(len, runs[-1]))
        if count > MOST_TEXTS or size > MOST_BYTES:
            raise TooManySecretsError
    before = None
    for text in merge(*runs):
        if text != before:
            yield text
        before = text


def basic_auth(username: str, password: str) -> str:
    """Return the value that HTTP basic authentication sends (RFC 7617)."""
    return base64.b64encode(f"{username}:{password}".encode()).decode()


def _beginnings(texts: Iterable[bytes]) -> Iterator[tuple[int, ...]]:
    """Yield, for each of sorted texts, the lengths of those that it begins with."""
    above: list[tuple[bytes, tuple[int, ...]]] = []
    """Each with the lengths that all have which begin with it."""
    for text in texts:
        while above and not text.startswith(above[-1][0]):
            above.pop()
        lengths = above[-1][1] if above else ()
        yield lengths
        above.append((text, (*lengths, len(text))))


def _common(one: bytes, other: bytes) -> int:
    """Return how many letters two texts have in common at their beginning."""
    low, high = 0, min(len(one), len(other))
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[:middle] == other[:middle] else (low, middle - 1)
    return low


def _forms(secrets: Iterable[str | bytes]) -> Iterator[bytes]:
    """Yield secrets as they may be printed, in pieces: plain, or encoded."""
    for secret in secrets:
        whole = secret.encode() if isinstance(secret, str) else secret
        lines = whole.splitlines()
        for line in lines:
            yield from _pieces(line, _SHORTEST)
            yield from _pieces(line.strip(), _SHORTEST)
            if len(line.strip()) >= _SHORTEST:
                for text in _escaped(line):
                    yield from _pieces(text, _SHORTEST)
        for text in {whole, whole.rstrip(b"\r\n"), *(lines if len(lines) <= _FEW_LINES else ())}:
            if len(text) >= _SHORTEST:
                yield from _in_base64(text)


def _escaped(line: bytes) -> set[bytes]:
    """Return a line as it stands in a URL, and in JSON."""
    in_url = {quote(line, safe=""), quote(line), quote_plus(line)}
    in_url |= {re.sub("%..", lambda code: code[0].lower(), text) for text in in_url}
    text = line.decode(errors="surrogateescape")
    in_json = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1]}
    return {one.encode(errors="surrogateescape") for one in in_url | in_json}


def _in_base64(text: bytes) -> Iterator[bytes]:
    """Yield what base64 makes of `text`: by itself, in lines, and in the midst of another text."""
    whole = base64.b64encode(text)
    encoded = [whole.rstrip(b"=")]
    for width in _WRAPPED:
        if len(whole) > width:
            encoded += [whole[at : at + width] for at in range(0, len(whole), width)]
    for before in range(3):
        # The letters at both ends hold bits of what stands beside the text.
        first = (before * 8 + 5) // 6
        middle = base64.b64encode(bytes(before) + text)[first:]
        encoded.append(middle.rstrip(b"=")[:-1] if middle.endswith(b"=") else middle)
    for one in encoded:
        for form in {one, one.replace(b"+", b"-").replace(b"/", b"_")}:
            yield from _pieces(form, _SHORTEST_ENCODED)


def _pieces(text: bytes, shortest: int) -> Iterator[bytes]:
    """Yield a text in pieces that are looked for; none is too short to be."""
    if len(text) < shortest:
        return
    for at in range(0, len(text), _LONGEST):
        piece = text[at : at + _LONGEST]
        yield piece if len(piece) >= shortest else text[-shortest:]
