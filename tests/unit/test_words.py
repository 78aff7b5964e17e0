"""Words of src/ and tests/: docstrings begin with a noun or a verb, names are unique."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.paths import ROOT

_SOURCE = ROOT / "src" / "upwell"
_TESTS = ROOT / "tests"

_NO_BEGINNING = re.compile(
    r"(?:What|Who|Whom|Whose|Whoever|Whatever|Whether|Which|How|When|Whenever|Where|Wherever|Why"
    r"|All|Everything|Everybody|Everyone|Nothing|Nobody|Something|Somebody)\b"
)
_NO_WORDS = frozenset({
    "bury", "census", "courier", "deed", "happening", "happenings", "hasten", "lack", "lasting",
    "manner", "remark", "remembering", "shut", "sweeping", "teller", "told", "upkeep", "visit",
    "wish", "wished", "wishes", "world",
})  # fmt: skip
"""Words of our own, as a part of any name: of a module, a class or a function."""
_NO_CLASSES = frozenset({"Closed", "Door", "Gate", "Open", "Standing", "Tally", "View"})
"""Names that say nothing where grep finds them, though they are words of the field elsewhere."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")

type _Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def _places(root: Path) -> list[Path]:
    """Return the packages and modules that lie directly in a folder."""
    return sorted(
        path
        for path in root.iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    )


def _modules(place: Path) -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        yield path, ast.parse(path.read_text())


def _docstring_faults(place: Path) -> Iterator[str]:
    """Yield the strings that stand alone, docstrings of attributes too, with such a beginning."""
    for path, tree in _modules(place):
        for node in ast.walk(tree):
            match node:
                case ast.Expr(value=ast.Constant(value=str() as text)):
                    if _NO_BEGINNING.match(text.lstrip()):
                        where = f"{path.relative_to(ROOT)}:{node.lineno}"
                        yield f"{where}: {text.strip().splitlines()[0]}"


def _definitions(tree: ast.Module) -> Iterator[_Definition]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def _is_banned(name: str) -> bool:
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(words & _NO_WORDS) or name.lstrip("_") in _NO_CLASSES


def _name_faults(place: Path) -> Iterator[str]:
    for path, tree in _modules(place):
        if _is_banned(path.stem):
            yield f"{path.relative_to(ROOT)}"
        for node in _definitions(tree):
            if _is_banned(node.name):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"


def _public_classes(place: Path) -> Iterator[tuple[str, str]]:
    """Yield names and modules of classes; those that pytest collects are found by their tests."""
    for path, tree in _modules(place):
        for node in tree.body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith(("_", "Test")):
                yield node.name, str(path.relative_to(ROOT))


@pytest.mark.parametrize("place", [*_places(_SOURCE), *_places(_TESTS)], ids=lambda one: one.name)
def test_docstrings_begin_with_a_noun_or_a_verb(place: Path) -> None:
    assert list(_docstring_faults(place)) == []


@pytest.mark.parametrize("place", _places(_SOURCE), ids=lambda one: one.name)
def test_names_are_words_of_the_field(place: Path) -> None:
    assert list(_name_faults(place)) == []


def test_a_public_class_has_a_name_of_its_own() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for place in (_SOURCE, _TESTS):
        for name, path in _public_classes(place):
            owners[name].append(path)

    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}


def test_the_lint_finds_what_it_looks_for() -> None:
    assert _NO_BEGINNING.match("What a CI says.")
    assert not _NO_BEGINNING.match("Allowed, because all is verified.")
    assert _is_banned("_Wish")
    assert _is_banned("read_world")
    assert not _is_banned("worldwide")
