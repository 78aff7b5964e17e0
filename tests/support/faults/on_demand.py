"""Marks of what CI leaves to neighbours, as it takes long and proves no promise alone."""

from pathlib import Path

import pytest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.paths import ROOT


def on_demand(*neighbours: str) -> pytest.MarkDecorator:
    """Leave a test, or a parameter, to those that prove the same: `make faults` runs it.

    Each neighbour is named `PATH::TEST` from the root of the source tree; AssertionError for one
    that is not there, so that none goes while another is left to it.
    """
    assert neighbours
    for neighbour in neighbours:
        path, _, test = neighbour.partition("::")
        assert f"def {test}(" in Path(ROOT, path).read_text(encoding="utf-8"), neighbour
    return pytest.mark.skipif(
        not ALL_STEPS, reason=f"UPWELL_FAULT_STEPS=all has it beside {neighbours[0]}"
    )
