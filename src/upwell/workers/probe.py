"""Task that parses nothing: only how its worker is confined is of interest."""

from typing import IO


def run(_source: IO[bytes], _argument: object) -> None:
    """Do nothing."""
