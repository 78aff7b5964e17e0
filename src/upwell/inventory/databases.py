"""Package databases in a file system: dpkg's (deb-control(5)) and apk's (apk-installed format).

Pure: text in, packages out. Workers import it, one for each layer: so it imports little.
"""

from collections.abc import Iterator, Mapping

type PackageRow = tuple[str, str, str, str]
"""Name, version, architecture and source of a package, as `Package` has them."""

DPKG_STATUS = "var/lib/dpkg/status"
DPKG_STATUS_FOLDER = "var/lib/dpkg/status.d/"
"""Distroless images keep one file a package here."""
APK_INSTALLED = ("lib/apk/db/installed", "usr/lib/apk/db/installed")

_FILES = (DPKG_STATUS, *APK_INSTALLED)
_MAX_VALUE = 500
"""Characters of a field; versions and names of packages have a tenth of them."""


def is_database(path: str) -> bool:
    """Return True if a file of an image is a package database that we read."""
    return (
        path == DPKG_STATUS
        or path in APK_INSTALLED
        or (path.startswith(DPKG_STATUS_FOLDER) and not path.endswith(".md5sums"))
    )


def may_hold_databases(folder: str) -> bool:
    """Return True if a package database that we read lies below this path; "" is the root."""
    prefix = f"{folder}/" if folder else ""
    return any(known.startswith(prefix) for known in (DPKG_STATUS_FOLDER, *_FILES))


def parse_database(path: str, text: str) -> list[PackageRow]:
    """Return the installed packages that the database at `path` names."""
    if path in APK_INSTALLED:
        return [_apk(fields) for fields in _apk_entries(text) if "P" in fields]
    return [
        _dpkg(fields)
        for fields in _paragraphs(text)
        if "Package" in fields and _is_installed(fields)
    ]


def _is_installed(fields: Mapping[str, str]) -> bool:
    """Return True if dpkg has it installed; distroless writes no status at all."""
    return fields.get("Status", "install ok installed").endswith(" installed")


def _dpkg(fields: Mapping[str, str]) -> PackageRow:
    source = fields.get("Source", "").partition(" ")[0]
    return _package(
        fields["Package"], fields.get("Version", ""), fields.get("Architecture", ""), source
    )


def _package(name: str, version: str, architecture: str, source: str) -> PackageRow:
    most = _MAX_VALUE
    return name[:most], version[:most], architecture[:most], source[:most]


def _paragraphs(text: str) -> Iterator[dict[str, str]]:
    for paragraph in text.split("\n\n"):
        fields: dict[str, str] = {}
        for line in paragraph.splitlines():
            if line[:1] in {" ", "\t"}:
                continue  # a longer value goes on; none that we need has more than one line
            name, colon, value = line.partition(":")
            if colon:
                fields[name] = value.strip()
        if fields:
            yield fields


def _apk(fields: Mapping[str, str]) -> PackageRow:
    return _package(fields["P"], fields.get("V", ""), fields.get("A", ""), fields.get("o", ""))


def _apk_entries(text: str) -> Iterator[dict[str, str]]:
    for paragraph in text.split("\n\n"):
        lines = (line.partition(":") for line in paragraph.splitlines())
        yield {name: value for name, colon, value in lines if colon}
