"""Packages of an image as an SBOM (SPDX 2.3, JSON), for an attestation."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote

from upwell import __version__
from upwell.formats.sigstore import InTotoStatement, PredicateType, Subject
from upwell.inventory.interface import Package

_DOCUMENT, _IMAGE = "SPDXRef-DOCUMENT", "SPDXRef-Image"
_UNKNOWN = "NOASSERTION"
_NO_TEXT = re.compile(r"[\x00-\x1f\x7f]")


def package_list(image: Subject, packages: Sequence[Package], made: datetime) -> InTotoStatement:
    """Return the SBOM of an image that was made at `made`; equal packages, equal documents."""
    entries = [_package(at, package) for at, package in enumerate(packages)]
    predicate = {
        "spdxVersion": "SPDX-2.3",
        "dataLicense": "CC0-1.0",
        "SPDXID": _DOCUMENT,
        "name": image.name,
        "documentNamespace": f"https://upwell.dev/spdx/{image.digest.algorithm}/{image.digest.hex}",
        "creationInfo": {
            "created": made.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "creators": [f"Tool: upwell-{__version__}"],
        },
        "packages": [_image(image), *entries],
        "relationships": list(_relationships(entries)),
    }
    return InTotoStatement((image,), PredicateType.SPDX, predicate)


def _image(image: Subject) -> dict[str, Any]:
    registry, _, repository = image.name.partition("/")
    name = repository.rpartition("/")[2] or registry
    place = f"?repository_url={quote(image.name, safe='')}"
    return {
        "SPDXID": _IMAGE,
        "name": image.name,
        "versionInfo": str(image.digest),
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
        "primaryPackagePurpose": "CONTAINER",
        "checksums": [
            {
                "algorithm": image.digest.algorithm.upper(),
                "checksumValue": image.digest.hex,
            }
        ],
        "externalRefs": [
            {
                "referenceCategory": "PACKAGE-MANAGER",
                "referenceType": "purl",
                "referenceLocator": f"pkg:oci/{name}@{quote(str(image.digest), safe='')}{place}",
            }
        ],
    }


def _package(at: int, package: Package) -> dict[str, Any]:
    found: dict[str, Any] = {
        "SPDXID": f"SPDXRef-Package-{at}",
        "name": _text(package.name),
        "versionInfo": _text(package.version),
        "downloadLocation": _UNKNOWN,
        "filesAnalyzed": False,
    }
    if package.source:
        found["sourceInfo"] = f"built from source package {_text(package.source)}"
    if package.architecture:
        found["comment"] = f"architecture {_text(package.architecture)}"
    return found


def _text(text: str) -> str:
    """Return what a package database says, without what is no text."""
    return _NO_TEXT.sub("?", text).encode("utf-8", "replace").decode()


def _relationships(entries: Iterable[dict[str, Any]]) -> Iterable[dict[str, str]]:
    yield _related(_DOCUMENT, "DESCRIBES", _IMAGE)
    for entry in entries:
        yield _related(_IMAGE, "CONTAINS", entry["SPDXID"])


def _related(one: str, how: str, other: str) -> dict[str, str]:
    return {"spdxElementId": one, "relationshipType": how, "relatedSpdxElement": other}
