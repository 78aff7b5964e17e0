"""Names within an object: lower-case DNS labels (RFC 1123), each used once."""

import re
from collections.abc import Iterator, Sequence

from upwell.api.codec import Fault

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


def is_label(text: str) -> bool:
    """Return True if a name can be part of others: lower-case letters, digits, '-', 63 at most."""
    return _LABEL.fullmatch(text) is not None


def label_faults(names: Sequence[str], path: str) -> Iterator[Fault]:
    """Yield what is wrong with the names of a list's entries."""
    for at, name in enumerate(names):
        if not is_label(name):
            yield Fault(f"{path}[{at}].name", f"{name!r} is not a lower-case DNS label")
        elif name in names[:at]:
            yield Fault(f"{path}[{at}].name", f"{name!r} is used twice")
