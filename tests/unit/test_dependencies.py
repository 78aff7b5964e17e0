"""Dependencies of an installation are used: each is imported, or named to uvicorn."""

import re
import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]
_PROJECT = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
_DEPENDENCIES = [re.split(r"[^\w-]", text)[0] for text in _PROJECT["dependencies"]]


_NAMED = re.compile(
    r"""
    ^[ ]* import[ ] (?P<module>[\w.]+)
    | ^[ ]* from[ ] (?P<package>[\w.]+) [ ]import[ ] (?P<name>\w*)
    | \b (?:http|ws) = "(?P<protocol>\w+)"
    """,
    re.MULTILINE | re.VERBOSE,
)


def named(source: str) -> Iterator[str]:
    """Yield the modules that a source imports, or names to uvicorn."""
    for found in _NAMED.finditer(source):
        match found.groupdict():
            case {"package": str(package), "name": name}:
                yield package
                yield f"{package}.{name}"
            case {"module": module, "protocol": protocol}:
                yield module or protocol


@pytest.fixture(scope="module")
def paths() -> set[str]:
    """Return the paths of the modules that the source names, below `site-packages`."""
    sources = (_ROOT / "src").rglob("*.py")
    names = {name for source in sources for name in named(source.read_text())}
    bases = {name.replace(".", "/") for name in names}
    return {base + end for base in bases for end in (".py", "/__init__.py")}


@pytest.mark.parametrize("dependency", _DEPENDENCIES)
def test_each_is_used(dependency: str, paths: set[str]) -> None:
    files = {str(path) for path in distribution(dependency).files or ()}
    assert files & paths


def test_all_ways_to_name_a_module_are_read() -> None:
    source = 'import a.b\ndef f():\n    from c import d\n    from e import (\n    run(ws="g")\n'
    assert {"a.b", "c", "c.d", "e", "g"} <= {*named(source)}
    assert "x" not in {*named('y.x(import_x="x")')}
