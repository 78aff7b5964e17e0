"""The layout of the tree: small packages that say what they hold, and docs that find them."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "upwell"
MAX_MODULES = 20
"""Modules directly in a package; a larger one is grouped by subject."""


def packages(root: Path) -> list[Path]:
    """Return every folder with modules, at and below `root`."""
    return sorted({module.parent for module in root.rglob("*.py")})


def oversized(root: Path) -> list[str]:
    """Return the packages with too many modules."""
    counts = {
        package: sum(module.name != "__init__.py" for module in package.glob("*.py"))
        for package in packages(root)
    }
    return [
        f"{package.relative_to(ROOT)}: {count} modules"
        for package, count in counts.items()
        if count > MAX_MODULES
    ]


def undescribed(root: Path) -> list[str]:
    """Return the packages whose `__init__.py` is missing or has no docstring."""
    return [str(package.relative_to(ROOT)) for package in packages(root) if not _docstring(package)]


def strange_folders(root: Path) -> list[str]:
    """Return the folders of unit tests whose subject is no package, module or folder of that name.

    `tests/unit/examples` is about `examples/`, beside the source.
    """
    return [
        str(folder.relative_to(ROOT))
        for folder in packages(root)
        if not any(
            (base / folder.relative_to(root)).with_suffix(suffix).exists()
            for base in (SOURCE, ROOT)
            for suffix in ("", ".py")
        )
    ]


def lost_paths(page: Path) -> list[str]:
    """Return the paths into the code that a page names and that do not exist."""
    layers = sorted(entry.name for entry in SOURCE.iterdir() if entry.is_dir())
    path = re.compile(rf"`((?:tests|src/upwell|{'|'.join(layers)})/[\w/]+(?:\.py)?)/?`")
    return [
        f"{page.relative_to(ROOT)}: {found}"
        for found in path.findall(page.read_text())
        if not any(
            (base / found).exists() or (base / f"{found}.py").exists() for base in (ROOT, SOURCE)
        )
    ]


def _docstring(package: Path) -> str | None:
    init = package / "__init__.py"
    return ast.get_docstring(ast.parse(init.read_text())) if init.is_file() else None


def test_no_package_has_more_than_twenty_modules() -> None:
    assert oversized(ROOT / "src") == []
    assert oversized(ROOT / "tests") == []


def test_every_package_says_what_it_holds() -> None:
    assert undescribed(SOURCE) == []


def test_every_folder_of_unit_tests_has_the_name_of_its_subject() -> None:
    assert strange_folders(ROOT / "tests" / "unit") == []


def test_pages_name_modules_that_exist() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]

    assert [path for page in pages for path in lost_paths(page)] == []
