"""The page of ClusterOperators names every component, and every reason for which one is faulty."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from upwell.machine.disk import DiskFault

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "objects" / "clusteroperator.md"


def calls(method: str) -> Iterator[ast.Call]:
    """Yield the calls of a method of this name in the whole tree."""
    for module in (ROOT / "src" / "upwell").rglob("*.py"):
        if f".{method}(" not in (text := module.read_text()):
            continue
        for node in ast.walk(ast.parse(text)):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == method
            ):
                yield node


def texts(call: ast.Call) -> Iterator[str]:
    """Yield the arguments that are texts."""
    for one in call.args:
        if isinstance(one, ast.Constant) and isinstance(one.value, str):
            yield one.value


def test_every_component_is_in_the_page() -> None:
    made = {
        name
        for call in calls("add")
        if isinstance(call.func, ast.Attribute)
        and "components" in ast.unparse(call.func.value).lower()
        for name in texts(call)
    }
    assert {"podman", "storage", "registry"} <= made
    rows = re.findall(r"^\| `([a-z-]+)` \|", PAGE.read_text(), re.MULTILINE)
    assert sorted(rows) == sorted(made)


def test_every_reason_is_in_the_page() -> None:
    camel = re.compile(r"[A-Z][a-z]+[A-Z]\w+")
    reasons = {
        text
        for method in ("fail", "report")
        for call in calls(method)
        for text in texts(call)
        if camel.fullmatch(text)
    } | {str(one) for one in DiskFault}
    assert {"ServiceNotStarted", "ClockJumped", "ContentDamaged"} <= reasons
    told = set(re.findall(r"`([A-Z]\w+)`", PAGE.read_text()))
    assert sorted(reasons - told) == []
