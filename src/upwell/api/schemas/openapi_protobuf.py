"""The OpenAPI 2 document in gnostic's protobuf form (openapiv2/OpenAPIv2.proto).

kubectl before 1.33 asks for it when it meets a kind that OpenAPI 3 has no paths for, a `List` say,
and then judges objects by it. The server judges better, and keeps fields that the models do
not know: so here each kind is named, and anything is valid.
"""

import functools
import json

from upwell.api.codec import RESOURCES
from upwell.api.meta import Kind

MEDIA_TYPE = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
ASKED_FOR = (MEDIA_TYPE, "application/com.github.proto-openapi.spec.v2@v1.0+protobuf")
"""Names of it in `Accept`; the older one is no media type by RFC 9110, so no answer has it."""

_SWAGGER, _INFO, _PATHS, _DEFINITIONS = 1, 2, 8, 9
"""Fields of a Document."""
_TITLE, _VERSION = 1, 2
_SCHEMA_DESCRIPTION, _SCHEMA_EXTENSION = 4, 31
_NAME, _VALUE = 1, 2
"""Fields of what is named: a schema, an extension."""
_YAML = 2
_PROPERTIES = 1
_LENGTH_DELIMITED = 2


@functools.cache
def document_v2_protobuf() -> bytes:
    """Return the document."""
    info = _field(_TITLE, b"Upwell") + _field(_VERSION, b"v1")
    definitions = b"".join(
        _field(_PROPERTIES, _named(_name(resource.KIND), _schema(resource.KIND)))
        for resource in RESOURCES
    )
    return (
        _field(_SWAGGER, b"2.0")
        + _field(_INFO, info)
        + _field(_PATHS, b"")
        + _field(_DEFINITIONS, definitions)
    )


def _name(kind: Kind) -> str:
    return f"{kind.group or 'core'}.{kind.version}.{kind.kind}"


def _schema(kind: Kind) -> bytes:
    """Return a schema that says which kind it is of."""
    names = [{"group": kind.group, "kind": kind.kind, "version": kind.version}]
    extension = _named("x-kubernetes-group-version-kind", _field(_YAML, json.dumps(names).encode()))
    return _field(_SCHEMA_DESCRIPTION, kind.kind.encode()) + _field(_SCHEMA_EXTENSION, extension)


def _named(name: str, value: bytes) -> bytes:
    return _field(_NAME, name.encode()) + _field(_VALUE, value)


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | _LENGTH_DELIMITED) + _varint(len(content)) + content


def _varint(value: int) -> bytes:
    encoded = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits in each byte
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)
