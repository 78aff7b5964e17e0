"""Pages of docs/ as topics of `upwell help`: they come with the wheel, and with the source."""

import re
import sys
from collections.abc import Mapping
from pathlib import Path

_HEADING = re.compile(r"^(#{2,6}) +(.+?) *$", re.MULTILINE)
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
_LEFT_OUT = {"README", "cli"}
"""The list of pages, and what `--help` says."""


def pages_folder() -> Path | None:
    """Return the folder of the pages; None where they were not installed."""
    source = Path(__file__).parents[4]
    folders = (source / "docs", Path(sys.prefix) / "share" / "doc" / "upwell")
    return next((one for one in folders if (one / "README.md").is_file()), None)


def topics(folder: Path) -> Mapping[str, Path]:
    """Return the pages by topic: `waves`, `buildconfig`, …."""
    found = (page for one in ("", "objects/", "coming-from/") for page in folder.glob(f"{one}*.md"))
    return {page.stem: page for page in sorted(found) if page.stem not in _LEFT_OUT}


def title_of(page: Path) -> str:
    """Return the title of a page."""
    with page.open(encoding="utf-8") as lines:
        return next(lines, "").lstrip("# ").strip()


def anchor(heading: str) -> str:
    """Return what a link to a heading ends with, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


def sections(text: str) -> Mapping[str, str]:
    """Return the sections of a page by anchor, each with those below it."""
    blank = _FENCE.sub(lambda found: re.sub(r"[^\n]", " ", found[0]), text)
    heads = [(one.start(), len(one[1]), anchor(one[2])) for one in _HEADING.finditer(blank)]
    found: dict[str, str] = {}
    for at, (start, level, name) in enumerate(heads):
        ends = (after for after, other, _ in heads[at + 1 :] if other <= level)
        found[name] = text[start : next(ends, len(text))].strip() + "\n"
    return found
