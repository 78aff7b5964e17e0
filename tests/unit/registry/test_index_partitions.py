"""Mappings in partitions: they say what a dict says, and share what a change does not touch."""

import json
from typing import Any
from unittest.mock import ANY

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import Digest, MediaType
from upwell.registry.bucket.index import ContentLink, IndexedManifest, RepositoryIndex
from upwell.registry.bucket.index_documents import decode, encode_whole
from upwell.registry.bucket.partitions import (
    MOST_ITEMS,
    PartitionedMap,
    is_complete,
    place_of_digest,
    place_of_name,
)
from upwell.registry.hosting import ManifestEntry
from upwell.registry.s3.errors import BucketAnswerError

NAMES = st.text(alphabet="abcd", max_size=3)
CHANGES = st.lists(st.tuples(NAMES, st.none() | st.integers()))


def changed(
    held: PartitionedMap[str, int], plain: dict[str, int], steps: list[tuple[str, int | None]]
) -> None:
    """Make the same changes to both, dividing all partitions now and then."""
    for number, (name, value) in enumerate(steps):
        if value is None:
            assert held.pop(name) == plain.pop(name, None)
        else:
            held[name] = plain[name] = value
        if number % 5 == 4:
            for prefix in [*held.partitions]:
                held.divide(prefix)


@given(CHANGES, CHANGES)
def test_a_map_is_a_dict_and_its_copy_another(
    first: list[tuple[str, int | None]], then: list[tuple[str, int | None]]
) -> None:
    held, plain = PartitionedMap[str, int](place_of_name), dict[str, int]()
    changed(held, plain, first)
    copy, after = held.copy(), dict(plain)
    changed(copy, after, then)

    for one, expected in ((held, plain), (copy, after)):
        assert dict(one.items()) == expected
        assert (set(one), len(one)) == (set(expected), len(expected))
        assert all(one[name] == one.get(name) == value for name, value in expected.items())
        assert is_complete(list(one.partitions))
    assert (held == copy) is (plain == after)
    both = plain.keys() | after.keys()
    assert {name: (was, now) for name, was, now in copy.changes(held)} == {
        name: (plain.get(name), after.get(name))
        for name in both
        if plain.get(name) != after.get(name)
    }


def test_a_change_copies_the_partition_that_it_is_in() -> None:
    held = PartitionedMap[Digest, int](place_of_digest)
    for number in range(2000):
        held[Digest.of(b"%d" % number)] = number
    parts = held.divide("")
    assert len(parts) > 1
    assert max(len(one.items) for one in held.partitions.values()) < 2 * MOST_ITEMS
    copy = held.copy()
    copy[Digest.of(b"new")] = 1
    copy.pop(Digest.of(b"absent"))
    shared = [one for one in parts if copy.partitions[one] is held.partitions[one]]
    assert len(shared) == len(parts) - 1


def test_keys_of_one_place_are_not_divided_for_ever() -> None:
    held = PartitionedMap[Digest, int](place_of_digest)
    for number in range(MOST_ITEMS + 1):
        held[Digest("sha256", f"{'ab' * 16}{number:032x}")] = number
    prefixes = [""]
    for _ in range(40):
        prefixes = [one for prefix in prefixes for one in held.divide(prefix)]
        prefixes = [one for one in prefixes if held.partitions[one].items]
    assert len(prefixes) == 1
    assert len(held.partitions[prefixes[0]].items) == MOST_ITEMS + 1


@pytest.mark.parametrize(
    ("prefixes", "verdict"),
    [
        ([""], True),
        (["0", "10", "11"], True),
        ([], False),
        (["0"], False),
        (["0", "1", "10"], False),
        (["0", "00", "01"], False),
        (["0", "2"], False),
        (["0" * 33, "1"], False),
    ],
)
def test_prefixes_leave_no_place_and_give_none_twice(prefixes: list[str], verdict: object) -> None:
    assert is_complete(prefixes) is verdict


ROOT: dict[str, Any] = {"version": 2, "write": "w", "manifests": {"": ["", 0]}, "blobs": {}}


@pytest.mark.parametrize(
    "tags",
    [{}, {"0": ["id", 5]}, {"": ["id"]}, {"": ["id", 0]}, {"": ["", 5]}, {"": [5, 5]}, [], None],
)
def test_a_document_that_names_partitions_wrongly_is_refused(tags: object) -> None:
    document = {**ROOT, "blobs": {"": ["", 0]}, "tags": tags}
    with pytest.raises(BucketAnswerError, match="no index"):
        decode(json.dumps(document).encode(), "here", RepositoryIndex())
    document["tags"] = {"0": ["id", 5], "1": ["", 0]}
    index, write = decode(json.dumps(document).encode(), "here", RepositoryIndex())
    assert (index.stored(), write) == ({"id"}, "w")


def test_a_small_index_is_one_document() -> None:
    index = RepositoryIndex()
    index.link_blob(Digest.of(b"1"), ContentLink("content", 5, 7.0))
    index.set_tag("v1", Digest.of(b"1"), 9.0)
    assert decode(encode_whole(index, "w"), "here", RepositoryIndex()) == (index, ANY)


def _manifest(*needs: str) -> IndexedManifest:
    entry = ManifestEntry(Digest.of(b"manifest"), str(MediaType.OCI_MANIFEST), 1)
    return IndexedManifest(entry, ContentLink("m", 1, 9.0), {_digest(one): 1 for one in needs})


def _digest(name: str) -> Digest:
    return Digest.of(name.encode())


def test_blobs_that_are_used_since_an_index_was_looked_at_stay() -> None:
    seen = RepositoryIndex()
    for name in ("named", "unused", "needed-since", "asked-for-since", "gone-since"):
        seen.link_blob(_digest(name), ContentLink(name, 1, 1.0))
    seen.manifests[_digest("first")] = _manifest("named")
    unused = seen.unused_blobs(2.0)
    assert len(unused) == 4
    assert _digest("named") not in unused

    now = seen.copy()
    now.manifests[_digest("second")] = _manifest("needed-since")
    now.use(_digest("asked-for-since"), 3.0)
    now.blobs.pop(_digest("gone-since"))
    assert now.remove_unused_blobs(unused, seen, 2.0) == 1
    assert set(now.blobs) == {_digest(one) for one in ("named", "needed-since", "asked-for-since")}
