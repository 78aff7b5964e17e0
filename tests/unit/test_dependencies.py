"""Dependencies of an installation are used: each is imported, or named to uvicorn."""

import ast
import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_DEPENDENCIES = [re.split(r"[^\w-]", text)[0] for text in _PROJECT["dependencies"]]


def named(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module), names=names):
                yield module
                yield from (f"{module}.{alias.name}" for alias in names)
            case ast.keyword(arg="http" | "ws", value=ast.Constant(value=str(protocol))):
                yield protocol


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """Return the paths of the modules that the source names, below `site-packages`."""
    sources = (_ROOT / "src").rglob("*.py")
    names = {name for source in sources for name in named(ast.parse(source.read_text()))}
    bases = {name.replace(".", "/") for name in names}
    return {base + end for base in bases for end in (".py", "/__init__.py")}


@pytest.mark.parametrize("dependency", _DEPENDENCIES)
def test_each_is_used(dependency: str, paths: set[str]) -> None:
    files = {str(path) for path in distribution(dependency).files or ()}
    assert files & paths
