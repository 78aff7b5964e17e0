"""Tests that CI leaves to neighbours have some."""

import pytest
from tests.support.faults.on_demand import on_demand


def test_a_neighbour_that_is_not_there_is_named() -> None:
    with pytest.raises(AssertionError, match="test_gone"):
        on_demand("tests/unit/test_on_demand.py::test_gone")


def test_one_that_is_there_gives_a_mark() -> None:
    mark = on_demand("tests/unit/test_on_demand.py::test_one_that_is_there_gives_a_mark")
    assert mark.name == "skipif"
