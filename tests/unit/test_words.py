"""Words of src/: docstrings begin with a noun or a verb, names are the field's and unique."""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.paths import ROOT

_SOURCE = ROOT / "src" / "upwell"

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


def _packages() -> list[str]:
    return sorted(
        path.name
        for path in _SOURCE.iterdir()
        if (path.is_dir() or path.suffix == ".py") and path.name != "__pycache__"
    )


def _modules(package: str) -> Iterator[tuple[Path, ast.Module]]:
    place = _SOURCE / package
    for path in sorted(place.rglob("*.py")) if place.is_dir() else [place]:
        yield path, ast.parse(path.read_text())


def _docstring_faults(package: str) -> Iterator[str]:
    """Yield the strings that stand alone, docstrings of attributes too, with such a beginning."""
    for path, tree in _modules(package):
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


def _name_faults(package: str) -> Iterator[str]:
    for path, tree in _modules(package):
        if _is_banned(path.stem):
            yield f"{path.relative_to(ROOT)}"
        for node in _definitions(tree):
            if _is_banned(node.name):
                yield f"{path.relative_to(ROOT)}:{node.lineno}: {node.name}"


@pytest.mark.parametrize("package", _packages())
def test_docstrings_begin_with_a_noun_or_a_verb(package: str) -> None:
    assert list(_docstring_faults(package)) == []


@pytest.mark.parametrize("package", _packages())
def test_names_are_words_of_the_field(package: str) -> None:
    assert list(_name_faults(package)) == []


def test_a_public_class_has_a_name_of_its_own() -> None:
    owners: dict[str, list[str]] = defaultdict(list)
    for package in _packages():
        for path, tree in _modules(package):
            for node in tree.body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    owners[node.name].append(str(path.relative_to(_SOURCE)))

    assert {name: paths for name, paths in owners.items() if len(paths) > 1} == {}


def test_the_lint_finds_what_it_looks_for() -> None:
    assert _NO_BEGINNING.match("What a CI says.")
    assert not _NO_BEGINNING.match("Allowed, because all is verified.")
    assert _is_banned("_Wish")
    assert _is_banned("read_world")
    assert not _is_banned("worldwide")
