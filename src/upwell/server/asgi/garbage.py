"""Short steps of Python's garbage collector, whatever the process holds.

A full collection looks at every object that may be part of a cycle, while everything else waits: a
second for some ten thousand stored objects. What has outlived one is set apart (`gc.freeze`), so
that the next looks at what has come since. Objects that were set apart still go with the last
reference to them; only cycles among them stay, and what is stored has none.
"""

import gc
from collections.abc import Mapping
from typing import Any

_THRESHOLDS = (2000, 5, 2)
"""Of the three generations: a full collection follows some 20,000 new objects at the earliest."""
_MOST = 20_000
"""Objects that a full collection looks at again: milliseconds."""
_FULL = 2


def keep_collections_short() -> None:
    """Collect little at a time from now on, in the whole process; idempotent."""
    gc.set_threshold(*_THRESHOLDS)
    if _set_apart not in gc.callbacks:
        gc.callbacks.append(_set_apart)


def _set_apart(phase: str, info: Mapping[str, Any]) -> None:
    """Set apart what a full collection has left, once that is much."""
    is_over = phase == "stop" and info["generation"] == _FULL
    if is_over and len(gc.get_objects(generation=_FULL)) > _MOST:
        gc.freeze()
