"""Links between the pages of the documentation lead somewhere, and each page is in the index."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.paths import ROOT

_CODE = re.compile(r"^```.*?^```|^(?: {4}|\t).*?$|`[^`\n]*`", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\[[^\]]*\]\(([^()\s]+)\)")
_FOLDERS = ("docs", "changelog.d", "examples")
PAGES = sorted(
    [*ROOT.glob("*.md"), *(page for one in _FOLDERS for page in (ROOT / one).rglob("*.md"))]
)


def links(page: Path) -> Iterator[str]:
    """Yield the links of a page to other files and to headings."""
    for target in _LINK.findall(_CODE.sub("", page.read_text())):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(page: Path) -> set[str]:
    """Return what GitHub and its like make of the headings of a page."""
    headings = re.findall(r"^#+ +(.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere."""
    found = []
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


def test_what_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "there.md").write_text("# Up, and `down`\n")
    page = tmp_path / "page.md"
    page.write_text(
        "[a](there.md) [b](there.md#up-and-down) [c](https://example.com/gone) `[d](code.md)`\n"
        "[e](gone.md) [f](there.md#gone) [g](#gone)\n"
    )
    assert broken(page) == ["gone.md", "there.md#gone", "#gone"]


@pytest.mark.parametrize("index", ["README.md", "docs/README.md"])
def test_the_documentation_is_found_from_the_front(index: str) -> None:
    if index == "README.md":
        wanted = {ROOT / one for one in ("docs/README.md", "CHANGELOG.md", "SECURITY.md")}
    else:
        wanted = {one for one in (ROOT / "docs").rglob("*.md") if "adr" not in one.parts}
        wanted -= {ROOT / index}
    page = ROOT / index
    assert (
        wanted - {(page.parent / link.partition("#")[0]).resolve() for link in links(page)} == set()
    )
