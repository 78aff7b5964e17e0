"""Valid objects from which mutants are made: small ones that set as many fields as they can."""

from functools import cache
from pathlib import Path

from tests.support.mutations.mutants import Document

from upwell.api.manifests import parse_manifests

_FOLDER = Path(__file__).parent / "objects"


def valid_objects(kind: str) -> list[Document]:
    """Return the valid objects of a kind; raises LookupError if there are none."""
    found = [document for document in _all() if document["kind"] == kind]
    if not found:
        raise LookupError(f"no object of kind {kind} in {_FOLDER}")
    return found


@cache
def _all() -> list[Document]:
    return [
        document
        for path in sorted(_FOLDER.glob("*.yaml"))
        for document in parse_manifests(path.read_text(), path.name)
    ]
