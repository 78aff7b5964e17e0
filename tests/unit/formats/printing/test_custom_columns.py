"""`-o custom-columns=` and `--sort-by`: what kubectl 1.32 prints."""

import pytest
from tests.unit.formats.printing.test_json_path_template import DB, WEB

from upwell.formats.printing.custom_columns import CustomColumns, in_order
from upwell.formats.printing.errors import PrintingError


@pytest.mark.parametrize(
    ("columns", "web"),
    [
        ("N:.metadata.name,R:spec.replicas,P:{.spec.paused}", ("web", "3", "true")),
        ("I:.spec.containers[*].image,X:.a.b", ("i:1,j:2", "<none>")),
        ('C:.spec.containers[?(@.name=="b")].image', ("j:2",)),
        ("L:.metadata.labels", ("map[a.b/c:x app:web]",)),
        ("L:.metadata.labels['a\\.b/c'],U:.metadata['name','uid']", ("x", "web")),
        ("I:.spec.containers[7].image", ("<none>",)),
    ],
)
def test_a_row_has_what_the_paths_lead_to(columns: str, web: tuple[str, ...]) -> None:
    assert CustomColumns.parse(columns).row(WEB) == web


def test_a_file_has_titles_and_below_them_paths() -> None:
    columns = CustomColumns.parse_file("NAME           SIZE\nmetadata.name  spec.replicas\n")

    assert columns.titles == ("NAME", "SIZE")
    assert columns.row(DB) == ("db", "10")


@pytest.mark.parametrize("text", ["N", ":.a", "N:", "N:.a[", "N:.a b"])
def test_columns_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(PrintingError):
        CustomColumns.parse(text)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        (".metadata.name", ["db", "web"]),
        ("spec.replicas", ["web", "db"]),
        ("{.spec.paused}", ["db", "web"]),
    ],
)
def test_objects_have_the_order_of_a_field(path: str, names: list[str]) -> None:
    assert in_order([("web", WEB), ("db", DB)], path) == names


def test_numbers_in_names_count_as_numbers() -> None:
    named = [(name, {"name": name}) for name in ("shop-10", "shop-9", "shop", "10", "9")]

    assert in_order(named, "name") == ["9", "10", "shop", "shop-9", "shop-10"]


def test_an_order_by_what_no_object_has_is_refused() -> None:
    with pytest.raises(PrintingError, match="no object has this field"):
        in_order([("web", WEB)], ".nope")
