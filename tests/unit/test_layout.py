"""The layout of the tree: small packages, each of which says what it holds."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]
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


def _docstring(package: Path) -> str | None:
    init = package / "__init__.py"
    return ast.get_docstring(ast.parse(init.read_text())) if init.is_file() else None


def test_no_package_has_more_than_twenty_modules() -> None:
    assert oversized(ROOT / "src") == []
    assert oversized(ROOT / "tests") == []


def test_every_package_says_what_it_holds() -> None:
    assert undescribed(ROOT / "src" / "upwell") == []
