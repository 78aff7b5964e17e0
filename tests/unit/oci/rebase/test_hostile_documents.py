"""Documents that strangers made take little time to merge, and little room to tell of."""

import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.registry.made_images import made_image, tar_of

from upwell.oci.rebase.history import own_steps
from upwell.oci.rebase.merging import merged_settings, shown

A, B, C = (tar_of({name: b""}) for name in "abc")
WITHIN_SECONDS = 5.0
"""Of the processor, where time that grows with the square would take minutes."""


def env(**values: str) -> dict[str, Any]:
    return {"Env": [f"{name}={value}" for name, value in values.items()]}


def test_a_list_of_entries_is_looked_for_in_time_that_grows_with_its_length() -> None:
    old, new, own = ("a:" * 200_000 + ending for ending in ("b", "c", "d:e"))
    begun = time.process_time()
    merged = merged_settings(env(PATH=old), env(PATH=new), env(PATH=f"{own}:{old}:x"))
    assert time.process_time() - begun < WITHIN_SECONDS
    assert merged.settings == env(PATH=f"{own}:{new}:x")


entries = st.lists(st.sampled_from(["", "a", "b", "ab"]), max_size=6).map(":".join)


@given(entries, entries, entries)
def test_the_first_run_of_the_bases_entries_is_renewed(old: str, new: str, own: str) -> None:
    merged = merged_settings(env(LIST=old), env(LIST=new), env(LIST=own))
    assert merged.settings["Env"] == [f"LIST={_renewed(old, new, own)}"]


def _renewed(old: str, new: str, own: str) -> str:
    """Return the value by the definition: entry by entry."""
    if own == old or not old or old == new:
        return new if own == old else own
    parts, taken = own.split(":"), old.split(":")
    for at in range(len(parts) - len(taken) + 1):
        if parts[at : at + len(taken)] == taken:
            return ":".join([*parts[:at], *([new] if new else []), *parts[at + len(taken) :]])
    return own


def test_empty_steps_are_passed_over_in_time_that_grows_with_their_number() -> None:
    empty = [{"empty_layer": True, "created_by": "x"}] * 300_000
    below = [{"created_by": "L", "comment": "other"}, *empty]
    above = [{"created_by": "L"}, *empty, {"created_by": "own"}]
    old = replace(made_image(A).layered, config={"history": below})
    image = replace(made_image(A, B).layered, config={"history": above})
    begun = time.process_time()
    steps = own_steps(image, old)
    assert time.process_time() - begun < WITHIN_SECONDS
    assert steps == [{"created_by": "own"}]


@pytest.mark.parametrize("value", ["x" * 5_000_000, ["x" * 5_000_000], {"x": "y" * 5_000_000}])
def test_a_value_is_told_in_short(value: object) -> None:
    assert len(shown(value)) < 130


def test_a_conflict_tells_all_its_values_in_short() -> None:
    old, new, own = ("/" + one * 1_000_000 for one in "abc")
    (conflict,) = merged_settings(env(PATH=old), env(PATH=new), env(PATH=own)).conflicts
    assert len(conflict.why) < 500
    assert all(f"'/{one * 9}" in conflict.why for one in "abc")
