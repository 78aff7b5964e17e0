"""Short steps of Python's garbage collector, whatever the process holds.

A full collection looks at every object that may be part of a cycle, while everything else waits: a
second for some ten thousand stored objects. What has outlived one is set apart (`gc.freeze`), so
that the next looks at what has come since. Objects that were set apart still go with the last
reference to them; cycles among them stay. What is stored has none, nor has a connection that has
ended; but whoever is in memory at that moment is set apart, and some of it has. So when as
much was set apart since the last look at all of it as was left then, all of it is looked at again:
long, and rare.
"""

import gc
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

_THRESHOLDS = (2000, 5, 2)
"""Of the three generations: a full collection follows some 20,000 new objects at the earliest."""
_MOST = 20_000
"""Objects that a full collection looks at again: milliseconds."""
_LEAST_APART = 500_000
"""Objects that are set apart before all of them are looked at again: a tenth of a second."""
_FULL = 2


def keep_collections_short() -> None:
    """Collect little at a time from now on, in the whole process; idempotent."""
    gc.set_threshold(*_THRESHOLDS)
    if not any(isinstance(one, _SettingApart) for one in gc.callbacks):
        gc.callbacks.append(_SettingApart())


@contextmanager
def reading_what_stays() -> Iterator[None]:
    """Read in the block what stays in memory, such as all stored objects, without looks at it.

    What is there at the end is set apart, as if a look at all had left it. Without
    `keep_collections_short`, or where nothing is collected at all, the collector goes on as ever.
    """
    kept = [one for one in gc.callbacks if isinstance(one, _SettingApart)]
    if not kept or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
        kept[0].has_left(gc.get_freeze_count())


class _SettingApart:
    """Callback of the collector."""

    def __init__(self) -> None:
        self._left = 0
        """Objects that the last look at all of them has left."""
        self._since = 0
        """Objects that were set apart since then, whether or not they are still there."""
        self._looks_at_all = False

    def has_left(self, count: int) -> None:
        """Count from here what is set apart: so many objects are there to stay."""
        self._left, self._since = count, 0

    def __call__(self, phase: str, info: Mapping[str, Any]) -> None:
        """Set apart what a full collection has left, once that is much."""
        if info["generation"] != _FULL:
            return
        if phase == "start":
            self._looks_at_all = self._since > max(_LEAST_APART, self._left)
            if self._looks_at_all:
                gc.unfreeze()  # into the generation that is collected now
        elif (left := len(gc.get_objects(generation=_FULL))) > _MOST:
            gc.freeze()
            self._left, self._since = (
                (left, 0) if self._looks_at_all else (self._left, self._since + left)
            )
