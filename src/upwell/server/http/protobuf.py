"""Objects in Kubernetes' protobuf form, as JSON.

`kubectl create deployment|job|service|secret|…`, `kubectl auth` and client libraries send it
whatever the server offers. Field numbers come from `kubernetes_messages.json`, which is made of the
Go types of Kubernetes' API. A field holds `text`, `bytes`, `bool`, `int`, `double`, `raw` (JSON),
one of Kubernetes' own values (`Time`, `Quantity`, `IntOrString`), or a message by its name; `[]`
before it says a list, `{}` a map, and `!` behind it that a zero is a value, where it else means
that nothing was set. A field without a name is part of the message around it.
"""

import base64
import json
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

from upwell.server.http.errors import ApiError
from upwell.server.http.kubernetes_fields import message_table
from upwell.server.http.values import MAX_VALUES, too_many_values

MEDIA_TYPE = "application/vnd.kubernetes.protobuf"

type Document = dict[str, Any]
type _Fields = Mapping[str, tuple[str, str]]
"""Field number -> JSON name, and what it holds."""

_MAGIC = b"k8s\x00"
_VARINT, _LENGTH_DELIMITED = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}
_MAX_VARINT_BYTES = 10
_MAX_SMALL_FIELDS = 8
"""Of the messages that have up to four fields: an envelope, a time, an entry of a map."""
_MICROSECONDS = 1000
"""Nanoseconds of one."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ENTRY_KEY, _ENTRY_VALUE = 1, 2
_DELETE_OPTIONS = "DeleteOptions"
"""A kind that clients send in the group and version of what they delete."""


def decode_protobuf(body: bytes) -> Document:
    """Return the object in `body` as its JSON; raises ApiError, 415 for a kind that is unknown."""
    if not body.startswith(_MAGIC):
        raise ApiError(400, "the body is not Kubernetes' protobuf")
    envelope = _last_values(body[len(_MAGIC) :])
    type_meta = _last_values(_bytes(envelope.get(1, b""), "typeMeta"))
    version = _text(_bytes(type_meta.get(1, b""), "apiVersion"))
    kind = _text(_bytes(type_meta.get(2, b""), "kind"))
    table = message_table()
    place = "v1" if kind == _DELETE_OPTIONS else version
    message = table["kinds"].get(f"{place}/{kind}")
    if message is None:
        raise ApiError(
            415,
            f"cannot read a {kind or 'nameless kind'} in protobuf, only in JSON or YAML:"
            " with kubectl, add --dry-run=client -o yaml and pipe it to kubectl apply -f -",
        )
    found = _Decoder(table["messages"]).message(_bytes(envelope.get(2, b""), "raw"), message)
    return {"apiVersion": version, "kind": kind} | found


class _Decoder:
    """Reads the messages of one body, which hold no more values than JSON may."""

    def __init__(self, messages: Mapping[str, _Fields]) -> None:
        self._messages = messages
        self._values = 0

    def message(self, raw: bytes, name: str) -> Document:
        """Return the known fields of a message that say something."""
        fields = self._messages[name]
        found: Document = {}
        for number, value in self._counted(_wire_fields(raw)):
            if (field := fields.get(str(number))) is not None:
                self._put(found, *field, value)
        return found

    def _counted[V](self, values: Iterable[V]) -> Iterator[V]:
        for value in values:
            self._values += 1
            if self._values > MAX_VALUES:
                raise too_many_values()
            yield value

    def _put(self, found: Document, name: str, holds: str, value: int | bytes) -> None:
        keeps_zero = holds.endswith("!")
        holds = holds.removesuffix("!")
        if holds.startswith("[]"):
            one = self._value(name, holds[2:], value)
            several = one if isinstance(one, list) else [one]
            found.setdefault(name, []).extend(several)
        elif holds.startswith("{}"):
            entry = _last_values(_bytes(value, name))
            key = _text(_bytes(entry.get(_ENTRY_KEY, b""), name))
            content = entry.get(_ENTRY_VALUE, b"")
            found.setdefault(name, {})[key] = self._value(name, holds[2:], content)
        elif not name:
            found.update(self.message(_bytes(value, holds), holds))
        elif (one := self._value(name, holds, value)) is not None and (one or keeps_zero):
            found[name] = one

    def _value(self, name: str, holds: str, value: int | bytes) -> Any:
        if holds in _NUMBERS:
            if isinstance(value, bytes) and holds in {"int", "bool"} and value:
                return [_NUMBERS[holds](number) for number in self._counted(_packed(value))]
            return _NUMBERS[holds](value) if _fits(holds, value) else _wrong_type(name)
        raw = _bytes(value, name)
        if (read := _VALUES.get(holds)) is not None:
            return read(raw)
        if holds.startswith("items:"):
            items = [item for number, item in self._counted(_wire_fields(raw)) if number == 1]
            return [self._value(name, holds.removeprefix("items:[]"), item) for item in items]
        return self.message(raw, holds)


def _fits(holds: str, value: int | bytes) -> bool:
    return isinstance(value, bytes) if holds == "double" else isinstance(value, int)


def _wrong_type(name: str) -> Any:
    raise ApiError(400, f"protobuf: {name} has the wrong type")


def _bytes(value: int | bytes, name: str) -> bytes:
    return value if isinstance(value, bytes) else _wrong_type(name)


def _last_values(raw: bytes) -> dict[int, int | bytes]:
    """Return the fields of a small message, by number; raises ApiError for one of many."""
    found = list(islice(_wire_fields(raw), _MAX_SMALL_FIELDS + 1))
    if len(found) > _MAX_SMALL_FIELDS:
        raise too_many_values()
    return dict(found)


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


def _packed(raw: bytes) -> Iterator[int]:
    at = 0
    while at < len(raw):
        number, at = _varint(raw, at)
        yield number


def _signed(value: int | bytes) -> int:
    """Return a number of 64 bits in two's complement."""
    number = int(value) & (1 << 64) - 1
    return number - (1 << 64) if number >> 63 else number


def _double(value: int | bytes) -> float:
    return float(struct.unpack("<d", _bytes(value, "a number"))[0])


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise ApiError(400, "protobuf: a text is not UTF-8") from None


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _quantity(raw: bytes) -> str:
    return _text(_bytes(_last_values(raw).get(1, b""), "a quantity"))


def _int_or_string(raw: bytes) -> int | str:
    fields = _last_values(raw)
    if fields.get(1, 0):
        return _text(_bytes(fields.get(3, b""), "a text"))
    number = fields.get(2, 0)
    return _signed(number) if isinstance(number, int) else _wrong_type("a number")


def _time(raw: bytes) -> str | None:
    """Return a time as RFC 3339 has it; None for one that was not set."""
    fields = _last_values(raw)
    if not fields:
        return None
    seconds, nanoseconds = fields.get(1, 0), fields.get(2, 0)
    if not isinstance(seconds, int) or not isinstance(nanoseconds, int):
        return str(_wrong_type("a time"))
    try:
        moment = _EPOCH + timedelta(
            seconds=_signed(seconds), microseconds=_signed(nanoseconds) // _MICROSECONDS
        )
    except OverflowError:
        raise ApiError(400, "protobuf: a time is out of range") from None
    return moment.isoformat().replace("+00:00", "Z")


def _json(raw: bytes) -> Any:
    """Return the JSON in a RawExtension."""
    text = _bytes(_last_values(raw).get(1, b""), "raw")
    try:
        return json.loads(text) if text else None
    except (ValueError, RecursionError):
        raise ApiError(400, "protobuf: an embedded object is not JSON") from None


_NUMBERS: Mapping[str, Callable[[int | bytes], Any]] = {
    "int": _signed,
    "bool": bool,
    "double": _double,
}
_VALUES: Mapping[str, Callable[[bytes], Any]] = {
    "text": _text,
    "bytes": _base64,
    "raw": _json,
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "Time": _time,
    "MicroTime": _time,
}
