"""The types of values in the configuration file, each with its text for errors and reference."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, Never, Self, Union, get_args, get_origin

from pydantic import BeforeValidator, Field, ValidationInfo

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.oci import Reference
from upwell.oci.registry_names import canonical_name, canonical_registry
from upwell.oci.registry_prefix import registry_prefix
from upwell.policy.images.schedule import parse_duration
from upwell.server.auth.issuers import is_issuer_url
from upwell.settings.errors import SettingsError

_HTTP_ADDRESS = re.compile(r"https?://[^/?#\s]+\S*")


@dataclass(frozen=True, slots=True)
class AllowedValues:
    """The values that a key takes."""

    words: str
    """Continues "expected …"."""
    blank: bool = False
    """Counts an empty text as if the key were absent."""
    explained: bool = False
    """The error of whatever reads the value says more, and shows nothing secret of it."""


_TABLE = AllowedValues("a table")


class KeyType(NamedTuple):
    """The type of a key, and the values that it takes."""

    kind: Any
    allowed: AllowedValues

    @classmethod
    def of(cls, annotation: Any, metadata: Sequence[object] = ()) -> Self:
        """Return the type of an annotation, whose Annotated may be inside a union with None."""
        if get_origin(annotation) in {Union, UnionType}:
            annotation = next(kind for kind in get_args(annotation) if kind is not NoneType)
        if get_origin(annotation) is Annotated:
            annotation, *inner = get_args(annotation)
            metadata = [*metadata, *inner]
        allowed = next((part for part in metadata if isinstance(part, AllowedValues)), _TABLE)
        return cls(annotation, allowed)


def parse_size(text: str) -> int:
    """Return the bytes that a quantity such as `512Mi` or `2Gi` is; raises SettingsError."""
    try:
        size = int(parse_quantity(text))
    except InvalidQuantityError:
        size = 0
    if size < 1:
        raise SettingsError(f"{text!r} is not {SIZE.words}")
    return size


def is_http_address(text: str) -> bool:
    """Return whether this is an address such as http://HOST:PORT."""
    return _HTTP_ADDRESS.fullmatch(text) is not None


def show_duration(duration: timedelta) -> str:
    """Return a text that `parse_duration` reads as `duration`, which is of whole minutes."""
    hours, minutes = divmod(int(duration.total_seconds()) // 60, 60)
    return f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)


def duration(value: Any) -> Any:
    """Read a duration; raises ValueError."""
    if isinstance(value, timedelta):
        return value
    return parse_duration(_text(value))


def issuer_url(value: Any) -> str:
    """Read the `iss` of an issuer of tokens; raises ValueError."""
    if not isinstance(value, str) or not is_issuer_url(value):
        raise ValueError("not an issuer")
    return value


def _interval(value: Any) -> Any:
    found = duration(value)
    if not found:
        raise ValueError("no time at all")
    return found


def _size(value: Any) -> int:
    try:
        return parse_size(_text(value))
    except SettingsError as error:
        raise ValueError(str(error)) from error


def _path(value: Any) -> Path:
    return value if isinstance(value, Path) else Path(_text(value))


def _address(value: Any) -> str:
    if not is_http_address(_text(value)):
        raise ValueError("not an address")
    return str(value)


def _image_names(value: Any) -> str:
    """Read the name of an image, or of all below one, in its one spelling; raises ValueError."""
    name = _text(value)
    below = name.removesuffix("/*")
    if below != name:
        return f"{canonical_name(below)}/*" if below else _refuse_name(name)
    if "@" in name or ":" in name.rpartition("/")[2]:
        return _refuse_name(name)
    return Reference.parse(name).name


def _registry_name(value: Any) -> str:
    """Read the HOST[:PORT] of a registry in its one spelling; raises ValueError."""
    return canonical_registry(_text(value))


def _registry_prefix(value: Any) -> str:
    """Read the beginning of names of images in its one spelling; raises ValueError."""
    return registry_prefix(_text(value))


def _refuse_name(name: str) -> Never:
    raise ValueError(f"{name!r} is not the name of images")


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - pydantic counts ValueErrors alone
    return value


SIZE = AllowedValues("a size such as 512Mi or 2Gi", blank=True)

Flag = Annotated[bool, AllowedValues("true or false")]
Text = Annotated[str, AllowedValues("a text")]
Duration = Annotated[
    timedelta,
    BeforeValidator(duration),
    AllowedValues("a duration such as 5m or 1h30m"),
]
Interval = Annotated[
    timedelta,
    BeforeValidator(_interval),
    AllowedValues("a duration such as 5m or 1h30m, above 0"),
]
Size = Annotated[int, BeforeValidator(_size), SIZE]
Count = Annotated[int, Field(ge=1), AllowedValues("a whole number, 1 or more")]
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False), AllowedValues("a number above 0")]
HttpAddress = Annotated[
    str,
    BeforeValidator(_address),
    AllowedValues("http://HOST:PORT or https://HOST:PORT", blank=True),
]
RegistryName = Annotated[
    str, BeforeValidator(_registry_name), AllowedValues("HOST[:PORT]", blank=True)
]
RegistryPrefix = Annotated[
    str, BeforeValidator(_registry_prefix), AllowedValues("HOST[:PORT][/PATH]", blank=True)
]
ImageNames = Annotated[
    str, BeforeValidator(_image_names), AllowedValues("the name of an image, or of all below one")
]
FilePath = Annotated[Path, BeforeValidator(_path), AllowedValues("the path of a file", blank=True)]


FILES_ELSEWHERE: Final = {"files elsewhere": True}
"""Context of a validation for a server that runs elsewhere, as in a Pod, with its files."""


def has_files_here(info: ValidationInfo) -> bool:
    """Return True if the files that keys name are those of this machine."""
    return info.context != FILES_ELSEWHERE


def require_readable(key: str, path: Path | None, info: ValidationInfo) -> None:
    """Raise ValueError if the file that a key names cannot be read; None names none.

    Files that are elsewhere are not looked at.
    """
    if path is None or not has_files_here(info):
        return
    try:
        with path.open("rb") as file:
            file.read(1)
    except OSError as error:
        raise ValueError(f"{key} {path} cannot be read: {error.strerror}") from error
