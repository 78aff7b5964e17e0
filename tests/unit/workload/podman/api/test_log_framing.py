from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.workload.podman.api.log_frames import BadFrameError, FrameReader


def framed(payload: bytes) -> bytes:
    return b"\x01\0\0\0" + len(payload).to_bytes(4, "big") + payload


@given(st.lists(st.binary(max_size=40)), st.lists(st.integers(0, 400)))
def test_payloads_survive_any_chunking(payloads: list[bytes], cuts: list[int]) -> None:
    stream = b"".join(map(framed, payloads))
    edges = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    reader = FrameReader()
    read = [payload for start, end in pairwise(edges) for payload in reader.feed(stream[start:end])]
    assert read == payloads


def test_a_frame_without_end_is_refused() -> None:
    with pytest.raises(BadFrameError):
        FrameReader().feed(b"\x01\0\0\0\xff\xff\xff\xff")
