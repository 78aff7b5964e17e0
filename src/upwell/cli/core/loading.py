"""Python's garbage collector while a program loads."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Load modules in the block, without looks at what they leave: it stays anyway.

    The looks take a third of the time in which a server loads, and find next to nothing. What is
    there at the end is set apart (`gc.freeze`): later ones leave it out.
    """
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
