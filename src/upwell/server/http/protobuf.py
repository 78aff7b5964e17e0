"""The few objects that kubectl can only create in Kubernetes' protobuf form.

`kubectl create namespace|configmap|secret|serviceaccount|token` and `kubectl auth` send it whatever
the server offers; all other commands speak JSON. Field numbers are those of the generated.proto of
k8s.io/api/core/v1, authorization/v1 and authentication/v1.
"""

import base64
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.server.http.errors import ApiError

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

type Document = dict[str, Any]
type _Fields = Mapping[int, tuple[str, str | _Fields]]
"""Field number -> JSON name, and what it holds: text, bytes, bool, number, texts, text map, bytes
map, or the fields of a message."""

_MAGIC = b"k8s\x00"
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
_MAX_VARINT_BYTES = 10

_METADATA: _Fields = {
    1: ("name", "text"),
    2: ("generateName", "text"),
    3: ("namespace", "text"),
    11: ("labels", "text map"),
    12: ("annotations", "text map"),
    14: ("finalizers", "texts"),
}
_RESOURCE_ATTRIBUTES: _Fields = {
    1: ("namespace", "text"),
    2: ("verb", "text"),
    3: ("group", "text"),
    4: ("version", "text"),
    5: ("resource", "text"),
    6: ("subresource", "text"),
    7: ("name", "text"),
}
_ACCESS_SPEC: _Fields = {
    1: ("resourceAttributes", _RESOURCE_ATTRIBUTES),
    2: ("nonResourceAttributes", {1: ("path", "text"), 2: ("verb", "text")}),
}
_KINDS: Mapping[tuple[str, str], _Fields] = {
    ("v1", "Namespace"): {1: ("metadata", _METADATA)},
    ("v1", "ConfigMap"): {
        1: ("metadata", _METADATA),
        2: ("data", "text map"),
        3: ("binaryData", "bytes map"),
        4: ("immutable", "bool"),
    },
    ("v1", "Secret"): {
        1: ("metadata", _METADATA),
        2: ("data", "bytes map"),
        3: ("type", "text"),
        4: ("stringData", "text map"),
        5: ("immutable", "bool"),
    },
    ("v1", "ServiceAccount"): {
        1: ("metadata", _METADATA),
        4: ("automountServiceAccountToken", "bool"),
    },
    ("authentication.k8s.io/v1", "TokenRequest"): {
        1: ("metadata", _METADATA),
        2: (
            "spec",
            {
                1: ("audiences", "texts"),
                3: (
                    "boundObjectRef",
                    {
                        1: ("kind", "text"),
                        2: ("apiVersion", "text"),
                        3: ("name", "text"),
                        4: ("uid", "text"),
                    },
                ),
                4: ("expirationSeconds", "number"),
            },
        ),
    },
    ("authentication.k8s.io/v1", "SelfSubjectReview"): {1: ("metadata", _METADATA)},
    ("authorization.k8s.io/v1", "SelfSubjectAccessReview"): {2: ("spec", _ACCESS_SPEC)},
    ("authorization.k8s.io/v1", "SubjectAccessReview"): {
        2: ("spec", {**_ACCESS_SPEC, 3: ("user", "text"), 4: ("groups", "texts")}),
    },
    ("authentication.k8s.io/v1", "TokenReview"): {
        2: ("spec", {1: ("token", "text"), 2: ("audiences", "texts")}),
    },
    ("authorization.k8s.io/v1", "SelfSubjectRulesReview"): {
        2: ("spec", {1: ("namespace", "text")}),
    },
}
_TYPE_META: _Fields = {1: ("apiVersion", "text"), 2: ("kind", "text")}
_ENVELOPE: _Fields = {1: ("typeMeta", _TYPE_META), 2: ("raw", "raw")}
_ENTRY_KEY, _ENTRY_VALUE = 1, 2


def decode_protobuf(body: bytes) -> Document:
    """Return the object in `body` as its JSON; raises ApiError, 415 for any other kind."""
    if not body.startswith(_MAGIC):
        raise ApiError(400, "the body is not Kubernetes' protobuf")
    envelope = _message(body[len(_MAGIC) :], _ENVELOPE)
    type_meta: Document = envelope.get("typeMeta", {})
    kind = (type_meta.get("apiVersion", ""), type_meta.get("kind", ""))
    fields = _KINDS.get(kind)
    if fields is None:
        raise ApiError(
            415,
            f"cannot read a {kind[1] or 'nameless kind'} in protobuf, only in JSON or YAML:"
            " with kubectl, add --dry-run=client -o yaml and pipe it to kubectl apply -f -",
        )
    return type_meta | _message(envelope.get("raw", b""), fields)


def _message(raw: bytes, fields: _Fields) -> Document:
    """Return the known fields of a message that are not empty."""
    found: Document = {}
    for number, value in _wire_fields(raw):
        if number not in fields:
            continue
        name, holds = fields[number]
        if holds == "bool":
            found[name] = bool(value)
            continue
        if holds == "number" and isinstance(value, int):
            found[name] = value
            continue
        if not isinstance(value, bytes):
            raise ApiError(400, f"protobuf: {name} has the wrong type")
        _put(found, name, holds, value)
    return {name: value for name, value in found.items() if value not in ("", b"", {}, [])}


def _put(found: Document, name: str, holds: str | _Fields, value: bytes) -> None:
    if not isinstance(holds, str):
        found[name] = _message(value, holds)
    elif holds == "text":
        found[name] = _text(value)
    elif holds == "texts":
        found.setdefault(name, []).append(_text(value))
    elif holds == "raw":
        found[name] = value
    else:
        entry = dict(_wire_fields(value))
        key, content = entry.get(_ENTRY_KEY, b""), entry.get(_ENTRY_VALUE, b"")
        if not isinstance(key, bytes) or not isinstance(content, bytes):
            raise ApiError(400, f"protobuf: {name} has the wrong type")
        readable = _text(content) if holds == "text map" else base64.b64encode(content).decode()
        found.setdefault(name, {})[_text(key)] = readable


def _wire_fields(raw: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Yield the number and the value of every field of a message."""
    at = 0
    while at < len(raw):
        tag, at = _varint(raw, at)
        wire_type = tag & 7
        if wire_type == _VARINT:
            number, at = _varint(raw, at)
            yield tag >> 3, number
            continue
        if wire_type == _LENGTH_DELIMITED:
            size, at = _varint(raw, at)
        elif wire_type in _FIXED_SIZES:
            size = _FIXED_SIZES[wire_type]
        else:
            raise ApiError(400, f"protobuf: unknown wire type {wire_type}")
        if at + size > len(raw):
            raise ApiError(400, "protobuf: a field ends beyond its message")
        yield tag >> 3, raw[at : at + size]
        at += size


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(_MAX_VARINT_BYTES):
        if at + shift >= len(raw):
            break
        byte = raw[at + shift]
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:  # noqa: PLR2004 - the continuation bit
            return value, at + shift + 1
    raise ApiError(400, "protobuf: a number does not end")


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "protobuf: a text is not UTF-8") from None
