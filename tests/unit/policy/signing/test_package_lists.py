"""SBOMs of images, as the SPDX project's own library reads and validates them."""

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from upwell.formats.sigstore import InTotoStatement, Subject
from upwell.inventory.interface import Package
from upwell.oci import Digest
from upwell.policy.signing.packages import package_list

IMAGE = Subject("registry.test:5000/shop/web", Digest.of(b"image"))
MADE = datetime(2026, 1, 2, 3, 4, 5, 678, UTC)
PACKAGES = (
    Package("base-files", "13", "amd64"),
    Package("libc6", "2.41-12", "amd64", "glibc"),
    Package("g++", "4:14.2.0-1", "amd64", "gcc-defaults"),
)


def faults(statement: InTotoStatement, folder: Path) -> list[str]:
    # Not for whoever collects tests and runs none of these: they cost half a second.
    from spdx_tools.spdx.parser.parse_anything import parse_file  # noqa: PLC0415
    from spdx_tools.spdx.validation.document_validator import (  # noqa: PLC0415
        validate_full_spdx_document,
    )

    document = folder / "document.spdx.json"
    document.write_text(json.dumps(statement.predicate))
    return [str(one) for one in validate_full_spdx_document(parse_file(str(document)))]


def test_it_is_valid_and_has_every_package(tmp_path: Path) -> None:
    statement = package_list(IMAGE, PACKAGES, MADE)

    assert faults(statement, tmp_path) == []
    names = [one["name"] for one in statement.predicate["packages"]]
    assert names == [IMAGE.name, "base-files", "libc6", "g++"]
    assert statement.predicate["packages"][2]["sourceInfo"] == "built from source package glibc"
    assert statement.is_about(IMAGE.digest)


TEXT = st.text(min_size=1, max_size=12)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=30)
@given(st.lists(st.builds(Package, TEXT, TEXT, TEXT, TEXT), min_size=1, max_size=4))
def test_whatever_a_package_database_says_it_is_valid(
    tmp_path: Path, packages: list[Package]
) -> None:
    assert faults(package_list(IMAGE, packages, MADE), tmp_path) == []


@pytest.mark.parametrize("text", ["a\ud800b", "a\x1b[31mb"])
def test_text_that_is_none_breaks_nothing(text: str) -> None:
    statement = package_list(IMAGE, [Package(text, "1")], MADE)

    (_, package) = json.loads(statement.encode())["predicate"]["packages"]
    assert "\x1b" not in package["name"]
    assert package["name"].isprintable()


def test_equal_packages_have_equal_documents() -> None:
    first, second = (package_list(IMAGE, PACKAGES, MADE).encode() for _ in range(2))

    assert first == second
