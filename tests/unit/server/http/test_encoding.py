"""Objects are encoded once for all who are sent them, and sent in chunks."""

import gc
import json
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import encode_json
from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.server.http.encoding import EncodedObjects, in_chunks


def config_map(text: str) -> ConfigMap:
    meta = ObjectMeta(name="one", creation_timestamp=datetime(2024, 5, 1, tzinfo=UTC))
    return ConfigMap(metadata=meta, data={"text": text})


@given(st.lists(st.binary(max_size=40)), st.integers(min_value=1, max_value=30))
def test_chunks_hold_the_same_bytes_and_no_more_than_a_chunk(
    pieces: list[bytes], size: int
) -> None:
    chunks = list(in_chunks(pieces, size))
    assert b"".join(chunks) == b"".join(pieces)
    assert all(len(chunk) <= size for chunk in chunks)


def test_a_large_piece_is_no_copy() -> None:
    piece = b"a" * 100
    views = [chunk for chunk in in_chunks([b"{", piece, b"}"], 30) if isinstance(chunk, memoryview)]
    assert len(views) == 4
    assert all(view.obj is piece for view in views)


def test_an_object_is_encoded_once_while_somebody_is_sent_it() -> None:
    encoded = EncodedObjects(kept_bytes=0)
    resource = config_map("a")
    sent = encoded(resource)
    assert bytes(sent) == encode_json(resource).encode()
    assert encoded(resource) is sent
    view = memoryview(sent)[3:]
    del sent
    gc.collect()
    assert encoded(resource) is view.obj


def test_what_nobody_is_sent_is_kept_within_bytes() -> None:
    encoded = EncodedObjects(kept_bytes=3000)
    first, *others = [config_map("a" * 1000) for _ in range(5)]
    kept = id(encoded(first))
    assert id(encoded(first)) == kept
    for other in others:
        encoded(other)
    gc.collect()
    assert encoded._size <= 3000
    assert len(encoded._used) == len(encoded._recent) == 2


def test_the_same_identity_later_is_another_object() -> None:
    encoded = EncodedObjects(kept_bytes=0)
    for number in range(50):  # each takes the place of the one before in memory
        resource = config_map(f"{number}")
        assert json.loads(encoded(resource))["data"] == {"text": str(number)}
        del resource
