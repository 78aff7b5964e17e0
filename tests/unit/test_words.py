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
_QUOTED_BEGINNING = re.compile(rf"^\s*\w?[\"']+\s*{_NO_BEGINNING.pattern}", re.MULTILINE)
"""As above, in a text that stands in a line of its own: what is parsed for it may have a fault."""
_DEFINED = re.compile(r"^\s*(?:async )?(?:class|def) (\w+)", re.MULTILINE)
_NO_WORDS = frozenset({
    "bury", "census", "courier", "deed", "happening", "happenings", "hasten", "lack", "lasting",
    "manner", "remark", "remembering", "shut", "sweeping", "teller", "told", "upkeep", "visit",
    "wish", "wished", "wishes", "world",
})  # fmt: skip
"""Words of our own, as a part of any name: of a module, a class or a function."""
_NO_CLASSES = frozenset({"Closed", "Door", "Gate", "Open", "Standing", "Tally", "View"})
"""Names that say nothing where grep finds them, though they are words of the field elsewhere."""
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
_PUBLIC_CLASS = re.compile(r"^class (?!_|Test)(\w+)", re.MULTILINE)


def _places(root: Path) -> list[Path]:
    """Return the packages and modules that lie directly in a folder."""
    return sorted(
        path
        for path in root.iterdir()
        if (path.is_dir() and path.name != "__pycache__") or path.suffix == ".py"
    )


def _files(place: Path) -> Iterator[Path]:
    yield from sorted(place.rglob("*.py")) if place.is_dir() else [place]


def _faults(path: Path) -> Iterator[str]:
    """Yield what is wrong with the words of a module, which is parsed once: that takes a while."""
    text, place = path.read_text(), path.relative_to(ROOT)
    is_source = path.is_relative_to(_SOURCE)
    if is_source and _is_banned(path.stem):
        yield f"{place}"
    if not _may_begin_badly(text) and not (is_source and _may_have_banned_names(text)):
        return
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str() as text)):
                # A string that stands alone: docstrings of attributes too.
                if _NO_BEGINNING.match(text.lstrip()):
                    yield f"{place}:{node.lineno}: {text.strip().splitlines()[0]}"
            case ast.ClassDef() | ast.FunctionDef() | ast.AsyncFunctionDef():
                if is_source and _is_banned(node.name):
                    yield f"{place}:{node.lineno}: {node.name}"


def _may_begin_badly(text: str) -> bool:
    return _QUOTED_BEGINNING.search(text) is not None


def _may_have_banned_names(text: str) -> bool:
    return any(_is_banned(name) for name in _DEFINED.findall(text))


def _is_banned(name: str) -> bool:
    words = {word.lower() for word in _WORD.findall(name)}
    return bool(words & _NO_WORDS) or name.lstrip("_") in _NO_CLASSES


def _public_classes(place: Path) -> Iterator[tuple[str, Path]]:
    """Yield names and modules of classes; those that pytest collects are found by their tests."""
    for path in _files(place):
        for name in _PUBLIC_CLASS.findall(path.read_text()):
            yield name, path


def _defines(path: Path, name: str) -> bool:
    """Return True if a module has the class; False: a text in it has."""
    body = ast.parse(path.read_text()).body
    return any(isinstance(node, ast.ClassDef) and node.name == name for node in body)


@pytest.mark.parametrize("place", [*_places(_SOURCE), *_places(_TESTS)], ids=lambda one: one.name)
def test_words_are_those_of_the_field(place: Path) -> None:
    """Docstrings begin with a noun or a verb, and names of src/ are words of the field."""
    assert [fault for path in _files(place) for fault in _faults(path)] == []


def test_a_public_class_has_a_name_of_its_own() -> None:
    owners: dict[str, list[Path]] = defaultdict(list)
    for place in (_SOURCE, _TESTS):
        for name, path in _public_classes(place):
            owners[name].append(path)

    assert len(owners) > 1000
    several = ((name, paths) for name, paths in owners.items() if len(paths) > 1)
    found = ((name, [one for one in paths if _defines(one, name)]) for name, paths in several)
    assert {name: paths for name, paths in found if len(paths) > 1} == {}


def test_the_lint_finds_what_it_looks_for() -> None:
    assert _NO_BEGINNING.match("What a CI says.")
    assert not _NO_BEGINNING.match("Allowed, because all is verified.")
    assert _is_banned("_Wish")
    assert _is_banned("read_world")
    assert not _is_banned("worldwide")
