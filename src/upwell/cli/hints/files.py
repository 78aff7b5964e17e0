"""Files that were probably meant."""

from difflib import get_close_matches
from pathlib import Path

_MOST = 1000
"""Names of a folder that are looked at."""


def similar_file(missing: Path) -> Path | None:
    """Return the file beside the missing one whose name is like it; None where there is none."""
    try:
        names = [one.name for one, _ in zip(missing.parent.iterdir(), range(_MOST), strict=False)]
    except OSError:
        return None
    near = get_close_matches(missing.name, names, n=1, cutoff=0.7)
    return missing.parent / near[0] if near else None
