"""Plans and results of builds as JSON, on their way between the server and a build's Pod.

Both ends are of one version: a Pod runs the image that made it. A document is read by the types of
the dataclasses themselves, so that a new field needs nothing here.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints

from upwell.builder import interface
from upwell.builder.interface import BuildError, BuildPlan, BuildResult
from upwell.oci import Digest

_MESSAGE_BYTES = 1500
"""Of an error: the kubelet cuts a termination message off after 4096 bytes, escapes included."""

_ERRORS: Mapping[str, type[BuildError]] = {
    kind.__name__: kind
    for kind in vars(interface).values()
    if isinstance(kind, type) and issubclass(kind, BuildError)
}
"""Errors that others tell apart by their class."""


class InvalidDocumentError(Exception):
    """The text is no document of this version."""


@dataclass(frozen=True, slots=True)
class RegistryFiles:
    """Settings of registries, as Buildah reads them."""

    conf: str = ""
    """Content of registries.conf (containers-registries.conf(5))."""
    authorities: tuple[bytes, ...] = ()
    """Certificate authorities that are trusted besides the system's, PEM."""


@dataclass(frozen=True, slots=True)
class PodInput:
    """Input of a build's Pod, besides its source."""

    plan: BuildPlan
    registries: RegistryFiles = RegistryFiles()


def encode_plan(plan: BuildPlan) -> bytes:
    """Return the plan as JSON."""
    return json.dumps(_plain(plan), separators=(",", ":")).encode()


def encode_input(given: PodInput) -> bytes:
    """Return the input as JSON."""
    return json.dumps(_plain(given), separators=(",", ":")).encode()


def decode_input(raw: bytes) -> PodInput:
    """Return the input that a document holds; raises InvalidDocumentError."""
    try:
        given: PodInput = _typed(PodInput, json.loads(raw))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidDocumentError(f"no input of a build: {error}") from error
    return given


def encode_result(result: BuildResult) -> str:
    """Return the end of a build as the message with which its container ends."""
    digest = str(result.digest) if result.digest is not None else None
    return json.dumps({"digest": digest, "stages": dict(result.stages), "image": result.image})


def encode_error(error: BuildError) -> str:
    """Return the failure of a build as the message with which its container ends."""
    said = str(error).encode("utf-8", "replace")[:_MESSAGE_BYTES]
    document = {
        "error": type(error).__name__,
        "reason": error.reason,
        "message": said.decode("utf-8", "ignore"),
        "retryable": error.retryable,
        "retryAfter": error.retry_after,
    }
    return json.dumps(document, ensure_ascii=False)


def decode_end(message: str) -> BuildResult:
    """Return the result that a container ended with; raises its BuildError.

    Raises InvalidDocumentError for a message that is neither.
    """
    try:
        document = json.loads(message)
        if "error" in document:
            kind = _ERRORS.get(document["error"], BuildError)
            retryable, after = bool(document["retryable"]), document["retryAfter"]
            failure = kind(
                str(document["reason"]),
                str(document["message"]),
                retryable=retryable,
                retry_after=after,
            )
        else:
            digest = document["digest"]
            stages = {str(name): float(took) for name, took in document["stages"].items()}
            return BuildResult(
                Digest.parse(digest) if digest else None, stages, str(document["image"])
            )
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise InvalidDocumentError(f"no end of a build: {error}") from error
    raise failure


def _plain(value: Any) -> Any:  # noqa: PLR0911 - a form for each type
    """Return a value as JSON has it; of mappings and sets, in an order of their own."""
    match value:
        case Enum():
            return value.value
        case Path():
            return str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case Mapping():
            pairs = [[_plain(key), _plain(item)] for key, item in value.items()]
            return sorted(pairs, key=json.dumps)
        case frozenset():
            return sorted(map(_plain, value), key=json.dumps)
        case tuple():
            return [_plain(item) for item in value]
        case _ if is_dataclass(value):
            return {one.name: _plain(getattr(value, one.name)) for one in fields(value)}
    return value


def _typed(wanted: Any, plain: Any) -> Any:  # noqa: PLR0911 - as above
    """Return what `_plain` was given, which had the type `wanted`."""
    origin, arguments = get_origin(wanted), get_args(wanted)
    if origin in {Union, UnionType}:
        [inner] = [one for one in arguments if one is not NoneType]
        return None if plain is None else _typed(inner, plain)
    if origin is tuple:
        if arguments[-1] is ...:
            return tuple(_typed(arguments[0], item) for item in plain)
        return tuple(_typed(one, item) for one, item in zip(arguments, plain, strict=True))
    if origin is frozenset:
        return frozenset(_typed(arguments[0], item) for item in plain)
    if origin is not None:  # a Mapping
        key, value = arguments
        return {_typed(key, name): _typed(value, item) for name, item in plain}
    if isinstance(wanted, type) and is_dataclass(wanted):
        kinds = _types_of(wanted)
        return wanted(**{name: _typed(kinds[name], item) for name, item in plain.items()})
    return _scalar(wanted, plain)


def _scalar(wanted: Any, plain: Any) -> Any:
    if wanted is bytes:
        return base64.b64decode(plain, validate=True)
    if issubclass(wanted, (Enum, Path)):
        return wanted(plain)
    if wanted is float and isinstance(plain, int):
        return float(plain)
    if not isinstance(plain, wanted):
        raise TypeError(f"{plain!r} is no {wanted.__name__}")
    return plain


@cache
def _types_of(kind: type) -> Mapping[str, Any]:
    return get_type_hints(kind)
