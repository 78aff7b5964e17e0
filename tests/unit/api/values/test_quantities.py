"""Quantities: what Kubernetes takes, and what it does not."""

import contextlib
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        (2, "2"),
        (0.25, "0.25"),
        ("256Mi", str(256 * 2**20)),
        ("1G", "1000000000"),
        ("1.5Gi", str(3 * 2**29)),
        ("1e3", "1000"),
        ("128974848", "128974848"),
    ],
)
def test_quantities(text: str | float, value: str) -> None:
    assert parse_quantity(text) == Decimal(value)


@pytest.mark.parametrize("text", ["", "-1", "1 Gi", "1gi", "Mi", "1KiB", "nan", "1e999", "0x10"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(InvalidQuantityError, match="is not a quantity"):
        parse_quantity(text)


@given(st.text(max_size=20))
def test_no_text_breaks_the_quantity_parser(text: str) -> None:
    with contextlib.suppress(InvalidQuantityError):
        assert parse_quantity(text) >= 0
