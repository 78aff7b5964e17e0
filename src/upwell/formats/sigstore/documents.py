"""JSON documents about images: one form for equal content, and bounds for those of strangers."""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from upwell.oci.json_values import has_more_values, holds_unicode

MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
"""Of a statement, decoded; the SBOM of a large image takes a few MiB."""
MAX_VALUES = 1_000_000
"""Values in one document; an empty list takes thirty times as much memory as text."""


class InvalidSignatureDocumentError(ValueError):
    """Bytes are not the document that they should be; the message says which and why."""


def canonical(document: Mapping[str, object]) -> bytes:
    """Return the JSON form that equal documents share: keys sorted, no spaces, UTF-8."""
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def json_object(raw: bytes, what: str, limit: int = MAX_DOCUMENT_BYTES) -> Mapping[str, Any]:
    """Parse a JSON object of at most `limit` bytes; raises InvalidSignatureDocumentError."""
    if len(raw) > limit:
        raise InvalidSignatureDocumentError(f"{what}: {len(raw)} bytes, more than {limit}")
    if has_more_values(raw, MAX_VALUES):
        raise InvalidSignatureDocumentError(f"{what}: more than {MAX_VALUES} values")
    try:
        document = json.loads(raw)
        is_text = holds_unicode(document, raw)
    except (ValueError, RecursionError) as error:
        raise InvalidSignatureDocumentError(f"{what}: not JSON: {error}") from error
    if not is_text:
        raise InvalidSignatureDocumentError(f"{what}: it has half of a surrogate pair")
    return mapping(document, what)


def mapping(value: object, what: str) -> Mapping[str, Any]:
    """Return a JSON object; raises InvalidSignatureDocumentError for anything else."""
    if not isinstance(value, dict):
        raise InvalidSignatureDocumentError(
            f"{what}: expected an object, found {type(value).__name__}"
        )
    return value


def items(value: object, what: str, most: int) -> list[Any]:
    """Return a JSON list of at most `most` items; raises InvalidSignatureDocumentError."""
    if not isinstance(value, list):
        raise InvalidSignatureDocumentError(
            f"{what}: expected a list, found {type(value).__name__}"
        )
    if len(value) > most:
        raise InvalidSignatureDocumentError(f"{what}: {len(value)} items, more than {most}")
    return value


def text(value: object, what: str) -> str:
    """Return a JSON string; raises InvalidSignatureDocumentError for anything else."""
    if not isinstance(value, str):
        raise InvalidSignatureDocumentError(f"{what}: expected text, found {type(value).__name__}")
    return value


def decoded(value: object, what: str) -> bytes:
    """Return what a base64 text of a JSON document holds (RFC 4648, section 4)."""
    try:
        return base64.b64decode(text(value, what), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidSignatureDocumentError(f"{what}: not base64: {error}") from error


def encoded(raw: bytes) -> str:
    """Return bytes as base64 for a JSON document (RFC 4648, section 4)."""
    return base64.b64encode(raw).decode()
