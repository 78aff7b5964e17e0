"""One JSON text of equal documents, the same in every version."""

from upwell.formats.canonical_json import canonical_json


def test_equal_documents_have_one_text() -> None:
    text = canonical_json({"b": [1, {"d": None, "c": "ä/\u2028"}], "a": True})
    assert text == rb'{"a":true,"b":[1,{"c":"\u00e4/\u2028","d":null}]}'
    assert canonical_json({"a": True, "b": [1, {"c": "ä/\u2028", "d": None}]}) == text
