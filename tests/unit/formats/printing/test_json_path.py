"""Paths into objects, and scalars as text."""

import pytest

from upwell.formats.printing.json_path import text_of, values_at


@pytest.mark.parametrize(
    ("path", "values"),
    [
        ("spec.size", [3]),
        ("spec.tags[*].name", ["a", "b"]),
        ("spec.tags[1].name", ["b"]),
        ("spec.tags[7].name", []),
        ('spec.tags[?(@.name=="b")].size', [7]),
        ('spec.tags[?(@.name=="c")].size', []),
        ('spec.size[?(@.name=="b")].size', []),
        ("spec.absent.deep", []),
        ("spec.size.deep", []),
        ("spec.size[*].x", []),
        ("spec.empty", []),
    ],
)
def test_values_at_a_path(path: str, values: list[object]) -> None:
    document = {
        "spec": {"size": 3, "tags": [{"name": "a"}, {"name": "b", "size": 7}, {}], "empty": ""}
    }

    assert values_at(document, path) == values


@pytest.mark.parametrize(("value", "text"), [(True, "true"), (0, "0"), ("shop", "shop")])
def test_a_scalar_is_written_as_kubectl_writes_it(value: object, text: str) -> None:
    assert text_of(value) == text
