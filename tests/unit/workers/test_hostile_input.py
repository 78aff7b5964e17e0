"""Every parser of strangers' bytes, on bytes that are nearly right: bounded, and no surprise."""

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.fuzz.targets import TARGETS

CEILING = 48 * 1024**2
"""Bytes that the parsing of any of these may take, all of which have a few kilobytes."""


@st.composite
def damaged(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """Return a seed in which pieces are changed, removed, repeated, or taken from another."""
    content = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        end = draw(st.integers(at, min(len(content), at + 64)))
        piece = bytes(content[at:end])
        content[at:end] = draw(
            st.binary(max_size=8)
            | st.sampled_from([b"", b"\x00", b"\xff" * 8, b"9" * 12, b"[" * 500, b"{", b'"', b"\\"])
            | st.integers(2, 40).map(lambda count: piece * count)  # noqa: B023 - drawn at once
        )
    return bytes(content)


@pytest.mark.parametrize("name", TARGETS)
@settings(max_examples=30)
@given(data=st.data())
def test_hostile_bytes_take_little_and_raise_nothing_else(name: str, data: st.DataObject) -> None:
    target = TARGETS[name]
    content = data.draw(damaged(target.seeds) | st.binary(max_size=200))
    started = time.process_time()
    tracemalloc.start()
    try:
        target.run(content)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < CEILING
    assert time.process_time() - started < 20


@pytest.mark.parametrize("name", TARGETS)
def test_every_seed_is_accepted(name: str) -> None:
    for seed in TARGETS[name].seeds:
        TARGETS[name].run(seed)
