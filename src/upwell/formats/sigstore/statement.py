"""In-toto statements: a predicate about artifacts (in-toto attestation framework, spec/v1)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Self

from upwell.formats.sigstore.documents import (
    InvalidSignatureDocumentError,
    canonical,
    items,
    json_object,
    mapping,
    text,
)
from upwell.oci import Digest, InvalidDigestError

_TYPE = "https://in-toto.io/Statement/v1"
_TYPES = frozenset({_TYPE, "https://in-toto.io/Statement/v0.1"})
"""Statements have the same fields in both."""
_MAX_SUBJECTS = 1_000
COSIGN_SIGNATURE = "https://sigstore.dev/cosign/sign/v1"
"""Predicate type of a signature of cosign 3, whose subject has a digest and no name."""


class PredicateType(StrEnum):
    """Predicates that are written here."""

    PROVENANCE = "https://slsa.dev/provenance/v1"
    SPDX = "https://spdx.dev/Document"
    TEST_RESULT = "https://in-toto.io/attestation/test-result/v0.1"


@dataclass(frozen=True, slots=True)
class Subject:
    """An artifact that a statement is about."""

    name: str
    digest: Digest


@dataclass(frozen=True, slots=True)
class InTotoStatement:
    """A predicate about subjects."""

    subjects: tuple[Subject, ...]
    predicate_type: str
    predicate: Mapping[str, Any]

    def is_about(self, digest: Digest) -> bool:
        """Return True if the artifact of this digest is among the subjects."""
        return any(subject.digest == digest for subject in self.subjects)

    def encode(self) -> bytes:
        """Return the JSON form; equal statements, equal bytes."""
        return canonical({
            "_type": _TYPE,
            "subject": [
                {"name": one.name, "digest": {one.digest.algorithm: one.digest.hex}}
                for one in self.subjects
            ],
            "predicateType": self.predicate_type,
            "predicate": self.predicate,
        })  # fmt: skip

    @classmethod
    def parse(cls, raw: bytes) -> Self:
        """Parse the payload of an envelope that was checked.

        Subjects without a digest that we can verify are left out. Raises
        InvalidSignatureDocumentError.
        """
        document = json_object(raw, "in-toto statement")
        kind = text(document.get("_type"), "_type")
        if kind not in _TYPES:
            raise InvalidSignatureDocumentError(f"_type: {kind!r} is no in-toto statement")
        subjects = items(document.get("subject"), "subject", _MAX_SUBJECTS)
        return cls(
            tuple(subject for each in subjects for subject in _subjects(each)),
            text(document.get("predicateType"), "predicateType"),
            mapping(document.get("predicate") or {}, "predicate"),
        )


def _subjects(value: object) -> list[Subject]:
    subject = mapping(value, "subject")
    name = text(subject.get("name") or "", "subject.name")
    found = []
    for algorithm, hexadecimal in mapping(subject.get("digest"), "subject.digest").items():
        try:
            found.append(Subject(name, Digest.parse(f"{algorithm}:{hexadecimal}")))
        except InvalidDigestError:
            continue
    return found
