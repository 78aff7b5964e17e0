"""Every port has a suite in tests/contract that its adapters and fakes pass."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.support.paths import ROOT

INTERFACES = sorted((ROOT / "src/upwell").glob("*/interface.py"))
SUITES = sorted((ROOT / "tests/contract").glob("test_*_contract.py"))


def protocols(interface: Path) -> set[str]:
    """Return the names of the Protocols that a module defines."""
    defined = [
        one for one in ast.parse(interface.read_text()).body if isinstance(one, ast.ClassDef)
    ]
    return {one.name for one in defined if "Protocol" in map(ast.unparse, one.bases)}


def named(suite: Path) -> Iterator[tuple[str, str]]:
    """Yield the (module, name) pairs that a module imports."""
    for node in ast.walk(ast.parse(suite.read_text())):
        if isinstance(node, ast.ImportFrom):
            yield from ((node.module or "", alias.name) for alias in node.names)


def without_suite(interfaces: list[Path], suites: list[Path]) -> set[str]:
    """Return the packages that define Protocols, none of which a suite names."""
    tested = {pair for suite in suites for pair in named(suite)}
    return {
        interface.parent.name
        for interface in interfaces
        if (ports := protocols(interface))
        and not any((f"upwell.{interface.parent.name}.interface", one) in tested for one in ports)
    }


def test_every_port_has_a_suite() -> None:
    assert without_suite(INTERFACES, SUITES) == set()


def test_a_port_without_a_suite_is_found() -> None:
    ports = {one.parent.name for one in INTERFACES if protocols(one)}
    assert {"builder", "store", "workload"} <= ports
    assert without_suite(INTERFACES, []) == ports
