import pytest

from upwell.api.decoding.limits import MAX_MANIFEST_BYTES
from upwell.api.manifests import InvalidManifestTextError, parse_manifests


def parse(text: str) -> list[dict[str, object]]:
    return parse_manifests(text, "app.yaml")


def test_several_documents_come_in_order() -> None:
    assert parse("a: 1\n---\n\n---\nb: 2\n") == [{"a": 1}, {"b": 2}]


def test_json_is_read_as_well() -> None:
    assert parse('{"kind": "ConfigMap", "data": {"a": "b"}}') == [
        {"kind": "ConfigMap", "data": {"a": "b"}}
    ]


def test_lists_are_flattened_to_any_depth() -> None:
    text = "kind: List\nitems: [{a: 1}, {kind: BuildConfigList, items: [{b: 2}]}]"

    assert parse(text) == [{"a": 1}, {"b": 2}]


def test_a_kind_that_only_ends_in_list_is_an_object() -> None:
    assert parse("kind: ShoppingList\nname: x") == [{"kind": "ShoppingList", "name": "x"}]


def test_times_stay_text() -> None:
    assert parse("a: 2024-05-06T07:08:09Z\nb: 2024-05-06") == [
        {"a": "2024-05-06T07:08:09Z", "b": "2024-05-06"}
    ]


def test_keys_are_text() -> None:
    assert parse("data: {8080: web}") == [{"data": {"8080": "web"}}]


def test_a_key_given_twice_is_refused_with_its_place() -> None:
    with pytest.raises(
        InvalidManifestTextError, match=r"app.yaml: not YAML: line 2, .*duplicate key 'a'"
    ):
        parse("a: 1\na: 2\n")


def test_the_last_of_equal_keys_counts_in_json() -> None:
    assert parse('{"a": {"b": 1, "b": 2}, "a": {"b": 3}}') == [{"a": {"b": 3}}]


def test_a_broken_json_file_is_called_one() -> None:
    with pytest.raises(InvalidManifestTextError, match=r"app\.json: not JSON: .*line 2"):
        parse_manifests('{"a":\n[1}', "app.json")


def test_braces_of_yaml_are_no_json() -> None:
    assert parse("{a: 1}") == [{"a": 1}]
    with pytest.raises(InvalidManifestTextError, match="not YAML"):
        parse("{a: [}")


@pytest.mark.parametrize("text", ['{"a": NaN}', '{"a": -Infinity}'])
def test_json_has_no_endless_numbers(text: str) -> None:
    assert isinstance(parse(text)[0]["a"], str)


def test_json_is_no_deeper_than_yaml() -> None:
    deep = '{"a":' * 98 + "{}" + "}" * 98

    assert parse(deep)
    with pytest.raises(InvalidManifestTextError, match="nested more than 100 deep"):
        parse('{"a":' * 105 + "1" + "}" * 105)
    with pytest.raises(InvalidManifestTextError, match="nested more than 100 deep"):
        parse("[" * 100_000)


def test_a_merged_key_may_be_overridden() -> None:
    text = "base: &base {a: 1, b: 2}\nitem:\n  <<: *base\n  b: 3\n"

    assert parse(text)[0]["item"] == {"a": 1, "b": 3}


@pytest.mark.parametrize("text", ["- a", "text", "7", "a: [", "a: !!python/object:os.system x"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(InvalidManifestTextError, match=r"app\.yaml"):
        parse(text)


def test_a_text_without_objects_has_none() -> None:
    assert parse("# nothing\n---\n") == []


def test_a_bomb_of_aliases_is_refused() -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 10)]
    bomb = "\n".join(["l0: &l0 [x, x, x]", *levels])

    with pytest.raises(InvalidManifestTextError, match="too large"):
        parse(bomb)


def test_an_alias_of_itself_is_refused() -> None:
    with pytest.raises(InvalidManifestTextError):
        parse("a: &a [*a]")
    with pytest.raises(InvalidManifestTextError):
        parse("a: &a {b: *a}")


def test_a_few_aliases_are_fine() -> None:
    assert parse("a: &a {x: 1}\nb: *a\nc: *a") == [{"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1}}]


def test_nesting_without_end_is_refused() -> None:
    with pytest.raises(InvalidManifestTextError):
        parse("a: " + "[" * 50_000)


def test_a_text_beyond_the_limit_is_refused() -> None:
    with pytest.raises(InvalidManifestTextError, match="larger than"):
        parse("a: " + "x" * MAX_MANIFEST_BYTES)


def test_values_that_json_cannot_hold_are_refused() -> None:
    with pytest.raises(InvalidManifestTextError, match="JSON"):
        parse("a: .inf")
