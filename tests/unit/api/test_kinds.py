"""No kind is accepted that nobody reconciles or serves, but for those that say so."""

import ast
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest

import upwell
from upwell.api.codec import RESOURCES
from upwell.api.kept import KEPT

_SOURCE = Path(upwell.__file__).parent
_ALL_KINDS_ALIKE = {"events.py"}
"""Modules of actions, reconcilers and server that name kinds, and do the same for each of them."""
_BY_PATH = {"ProcessedTemplate": "processedtemplates"}
"""Kinds that are served under a path alone: their class is only the shape of an answer."""
_TYPES = {"annotation", "returns"}


def used(node: ast.AST) -> Iterator[str]:
    """Yield what the code works with: no imports, no types, no checks of an object's kind."""
    match node:
        case ast.Import() | ast.ImportFrom() | ast.TypeAlias() | ast.MatchClass():
            return
        case ast.Call(func=ast.Name(id="isinstance")):
            return
        case ast.Constant(value=str(name)) if name.islower():
            yield name
        case ast.Name(id=name) | ast.Attribute(attr=name):
            yield name
    for field, value in ast.iter_fields(node):
        if field not in _TYPES:
            for part in value if isinstance(value, list) else [value]:
                yield from used(part) if isinstance(part, ast.AST) else ()


@pytest.fixture(scope="module")
def names() -> set[str]:
    modules = chain.from_iterable(
        (_SOURCE / package).rglob("*.py") for package in ("actions", "reconcilers", "server")
    )
    own = [path for path in modules if path.name not in _ALL_KINDS_ALIKE]
    return set(chain.from_iterable(used(ast.parse(path.read_text())) for path in own))


@pytest.mark.parametrize("kind", [one.__name__ for one in RESOURCES if one not in KEPT])
def test_each_kind_is_reconciled_or_served(kind: str, names: set[str]) -> None:
    assert _BY_PATH.get(kind, kind) in names


@pytest.mark.parametrize(
    "code",
    [
        "from upwell.api import Wave",
        "def told(wave: Wave) -> Wave: ...",
        "type Waves = list[Wave]",
        "isinstance(wave, Wave)",
        "match wave:\n case Wave(): ...",
    ],
)
def test_to_know_a_kind_is_not_to_reconcile_it(code: str) -> None:
    assert "Wave" not in set(used(ast.parse(code)))


@pytest.mark.parametrize("code", ["Watch(Wave)", "store.get(Wave, 'a', 'b')", "KINDS = (Wave,)"])
def test_what_is_read_or_watched_is_used(code: str) -> None:
    assert "Wave" in set(used(ast.parse(code)))
