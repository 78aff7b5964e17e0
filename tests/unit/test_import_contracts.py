"""The contracts of imports leave no package of adapters out, and the core reads no clock."""

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.support.paths import ROOT

SOURCE = ROOT / "src" / "upwell"
CONTRACTS = {
    one["name"]: one
    for one in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"][
        "contracts"
    ]
}
CLOSED = ["Only the composition root names adapters", "Of a port, policy knows the interface alone"]
CORE = "The core does no I/O, reads no clock and draws no lots"
PRESENT = {"datetime.now", "datetime.today", "datetime.utcnow", "date.today"}


def below_policy() -> set[str]:
    """Return the packages between policy and machine: the ports, and what their adapters share."""
    layers = CONTRACTS["A line imports only what stands below it"]["layers"]
    between = layers[layers.index("controller | policy") + 1 : layers.index("machine")]
    return {f"upwell.{name}" for line in between for name in line.split(" | ")}


def clock_readings(folder: Path) -> Iterator[str]:
    """Yield the places that ask a date or a datetime for the present."""
    for module in folder.rglob("*.py"):
        text = module.read_text()
        if any(place in text for place in PRESENT):  # to parse all of them takes seconds
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.Attribute) and ast.unparse(node) in PRESENT:
                    yield f"{module.name}: {ast.unparse(node)}"


@pytest.mark.parametrize("contract", CLOSED)
def test_every_package_of_adapters_is_closed_whole(contract: str) -> None:
    with_port = {f"upwell.{one.parent.name}" for one in SOURCE.glob("*/interface.py")}
    assert with_port <= below_policy()
    assert below_policy() <= set(CONTRACTS[contract]["forbidden_modules"])


def test_what_is_shared_of_a_port_is_named_by_module() -> None:
    shared = {one.split(" -> ")[1] for one in CONTRACTS[CLOSED[0]]["ignore_imports"]}
    modules = {SOURCE.parent.joinpath(*one.split(".")).with_suffix(".py") for one in shared}
    assert {one for one in modules if "*" not in str(one) and not one.is_file()} == set()
    assert {one for one in shared if "*" in one} == {"upwell.*.interface"}


def test_the_core_reads_no_clock() -> None:
    core = [one.removeprefix("upwell.") for one in CONTRACTS[CORE]["source_modules"]]
    assert [found for one in core for found in clock_readings(SOURCE / one)] == []
    assert list(clock_readings(SOURCE))
