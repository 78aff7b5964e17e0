"""Faults of Compose files."""

from collections.abc import Iterable


class ComposeError(ValueError):
    """A Compose file that cannot be applied; `faults` are all of its faults, with their lines."""

    def __init__(self, faults: Iterable[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("; ".join(self.faults))
