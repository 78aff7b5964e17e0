"""Bounds of JSON texts (RFC 8259): the number of values, counted before any is made, and Unicode.

An empty list takes thirty times as much memory as text.
"""

import json
import re
from itertools import islice
from typing import Any

_SEPARATORS = (b",", b"[", b"{")
_TOKEN = re.compile(rb'"[^"]*+"?|[,\[{]')
"""A text without escapes, whether it ends or not, or a separator outside of texts."""
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def has_more_values(raw: bytes, most: int) -> bool:
    """Return True if a JSON text has more than about `most` values; takes linear time."""
    if sum(map(raw.count, _SEPARATORS)) <= most:
        return False
    # Letter by letter, one long text would hold the interpreter for a tenth of a second.
    plain = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    tokens = (match for match in _TOKEN.finditer(plain) if match[0] in _SEPARATORS)
    return next(islice(tokens, most, None), None) is not None


def holds_unicode(value: Any, raw: bytes | None = None) -> bool:
    """Return False if a text in `value` has half of a surrogate pair (RFC 8259, 8.2).

    No UTF-8 can hold that. `raw`, the JSON text of the value, makes the answer cheap for most.
    """
    if raw is not None and _SURROGATE.search(raw) is None:
        return True
    try:
        json.dumps(value, ensure_ascii=False, default=str).encode()
    except UnicodeEncodeError:
        return False
    return True
