import tarfile

import pytest
from tests.support.inventory.layer_archives import ImageInMemory, read_packages
from tests.support.paths import SHARED

from upwell.inventory.databases import is_database, parse_database

IMAGES = SHARED / "data" / "images"

STATUS = """\
Package: libc6
Status: install ok installed
Architecture: amd64
Source: glibc (2.31-13)
Version: 2.31-13+deb11u11
Description: GNU C Library
 Version: this is text, not a field

Package: gone
Status: deinstall ok config-files
Version: 1

Package: broken
Status: install ok half-installed
Version: 1

Package: base-files
Status: hold ok installed
Version: 11.1
"""


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("var/lib/dpkg/status", True),
        ("var/lib/dpkg/status-old", False),
        ("var/lib/dpkg/status.d/base", True),
        ("var/lib/dpkg/status.d/base.md5sums", False),
        ("lib/apk/db/installed", True),
        ("usr/lib/apk/db/installed", True),
        ("srv/var/lib/dpkg/status", False),
    ],
)
def test_databases_are_known_by_their_path(path: str, *, expected: bool) -> None:
    assert is_database(path) is expected


def test_dpkg_names_what_is_installed_and_its_source() -> None:
    assert parse_database("var/lib/dpkg/status", STATUS) == [
        ("libc6", "2.31-13+deb11u11", "amd64", "glibc"),
        ("base-files", "11.1", "", ""),
    ]


def test_distroless_images_have_no_status_field() -> None:
    text = "Package: tzdata\nVersion: 2024a\nArchitecture: all\n"
    found = parse_database("var/lib/dpkg/status.d/tzdata", text)
    assert found == [("tzdata", "2024a", "all", "")]


def test_apk_names_package_version_architecture_and_origin() -> None:
    text = "C:Q1abc=\nP:libcrypto3\nV:3.1.4-r5\nA:x86_64\no:openssl\nF:lib\nR:libcrypto.so.3\n\n"
    found = parse_database("lib/apk/db/installed", text)
    assert found == [("libcrypto3", "3.1.4-r5", "x86_64", "openssl")]


@pytest.mark.parametrize("path", ["var/lib/dpkg/status", "lib/apk/db/installed"])
@pytest.mark.parametrize("text", ["", "\n\n\n", "no colon", "::::", " starts with a space"])
def test_text_that_names_no_package_is_no_package(path: str, text: str) -> None:
    assert parse_database(path, text) == []


@pytest.mark.parametrize("version", ["3.10.3", "3.18.9", "3.20.3"])
async def test_real_alpine_images_are_read_whole(version: str) -> None:
    path = IMAGES / f"alpine-minirootfs-{version}-x86_64.tar.gz"
    if not path.exists():
        pytest.skip(f"no {path} (set UPWELL_SHARED)")
    with tarfile.open(path) as archive:
        member = archive.extractfile("./lib/apk/db/installed")
        assert member is not None
        expected = sorted(
            line.removeprefix("P:")
            for line in member.read().decode().splitlines()
            if line.startswith("P:")
        )
    found = await read_packages(ImageInMemory(path.read_bytes()))
    assert [package.name for package in found] == expected
    assert "musl" in expected
    assert {package.architecture for package in found} <= {"x86_64", "noarch"}
    assert all(package.version and package.source for package in found)
