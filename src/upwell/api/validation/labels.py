"""Names within an object: DNS labels (RFC 1123), label keys and values, variables."""

import re
from collections.abc import Iterator, Sequence

from upwell.api.values.faults import Fault

_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")

_PART = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?"
_PREFIX = re.compile(rf"(?=.{{1,253}}\Z){_PART}(?:\.{_PART})*")
_QUALIFIED = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_VARIABLE = re.compile(r"(?!\.\.|\.$)[A-Za-z_.-][A-Za-z0-9_.-]*")


def is_label_key(text: str) -> bool:
    """Return True if this may be a label's key, `[PREFIX/]NAME` (Kubernetes' qualified name)."""
    prefix, slash, name = text.rpartition("/")
    if slash and _PREFIX.fullmatch(prefix) is None:
        return False
    return _QUALIFIED.fullmatch(name) is not None


def is_label_value(text: str) -> bool:
    """Return True if this may be a label's value, which may be empty."""
    return not text or _QUALIFIED.fullmatch(text) is not None


def is_variable_name(text: str) -> bool:
    """Return True if an environment variable may have this name (Kubernetes' IsEnvVarName)."""
    return _VARIABLE.fullmatch(text) is not None


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
