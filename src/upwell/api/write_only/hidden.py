"""Objects without the values of their write-only fields, and those values put back; pure.

A hidden value has a placeholder in its place, made of the object's uid and the value by a MAC whose
key the server alone has: so a placeholder that is written back finds its value in whichever item of
a list the field stands by then, and tells nothing about the value. It stands for nothing in another
field or another object: there the value might be shown.
"""

import hmac
import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import UnionType
from typing import Annotated, Any, TypeAliasType, TypeGuard, Union, get_args, get_origin

from pydantic import BaseModel

from upwell.api.codec import InvalidObjectError, UnknownKindError, encode, resource_for
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.api.write_only.fields import Cover, ObjectsInside, WriteOnly

LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""Annotation in which kubectl keeps the whole object once more."""
_PLACEHOLDER = re.compile(r"hidden-value-[0-9a-f]{24}")
_MAC_LETTERS = 24


@dataclass(frozen=True, slots=True)
class _Place:
    """Place of a text in a document."""

    path: str = ""
    """As faults name it, with indices."""
    field: str = ""
    """The field of the schema, of whichever item: with the kind of each object, without indices."""

    def of(self, kind: type[BaseModel]) -> "_Place":
        return replace(self, field=f"{self.field}({kind.__module__}.{kind.__qualname__})")

    def at(self, name: str) -> "_Place":
        dot = "." if self.path else ""
        return _Place(f"{self.path}{dot}{name}", f"{self.field}.{name}")

    def entry(self, name: str) -> "_Place":
        return _Place(f"{self.path}.{name}", f"{self.field}{{}}")

    def item(self, number: int) -> "_Place":
        return _Place(f"{self.path}[{number}]", f"{self.field}[]")


type _Swap = Callable[[WriteOnly, str, _Place], str]
"""Takes a field's rule, its value and its place; returns the value to put there."""


@dataclass(frozen=True, slots=True)
class WriteOnlyField:
    """A field that is write-only (`rule`), or below which one is (`below`)."""

    name: str
    alias: str
    rule: WriteOnly | None
    below: type[BaseModel] | None


@cache
def write_only_fields(model: type[BaseModel]) -> tuple[WriteOnlyField, ...]:
    """Return the fields of a model that are write-only, or hold such fields."""
    return tuple(_declared(model, frozenset()))


def hidden[R: Resource](resource: R, key: bytes) -> R:
    """Return the object without its write-only values; itself if it has none."""
    return _covered(resource, _cover(resource, key))


def published[R: Resource](resource: R) -> R:
    """Return the object as it may be given away: `***` in the place of its write-only values."""
    return _covered(resource, lambda _: "***")


def _covered[R: Resource](resource: R, cover: Cover) -> R:
    if not write_only_fields(type(resource)):
        return resource
    shown = _hidden_model(resource, cover)
    copy = shown.annotations.get(LAST_APPLIED)
    if copy is not None:
        text = _hidden_copy(copy, type(resource), cover)
        shown = shown.with_metadata(annotations={**shown.annotations, LAST_APPLIED: text})
    return shown


def restored(document: Mapping[str, Any], old: Resource | None, key: bytes) -> dict[str, Any]:
    """Return a document with the values of `old` in the place of their placeholders.

    Raises InvalidObjectError for a placeholder that stands for none of them.
    """
    whole = dict(document)
    kind = type(old) if old is not None else _kind_of(whole)
    if kind is None or not write_only_fields(kind) or _PLACEHOLDER.search(str(whole)) is None:
        return whole
    cover = None if old is None else _cover(old, key)
    known = {} if old is None or cover is None else _known(old, cover)
    faults: list[Fault] = []

    def restore(rule: WriteOnly, text: str, place: _Place) -> str:
        if _PLACEHOLDER.search(text) is None:
            return text
        value = known.get((place.field, text))
        if value is None or cover is None or rule.hide(value, cover) != text:
            why = "stands for a value that is hidden: write the value itself"
            faults.append(Fault(place.path, why))
            return text
        return value

    found = _mapped(whole, kind, restore, _Place())
    if faults:
        metadata = whole.get("metadata")
        name = metadata.get("name", "") if isinstance(metadata, Mapping) else ""
        raise InvalidObjectError(f"{kind.KIND} {name!r}", tuple(faults))
    return found


def _known(old: Resource, cover: Cover) -> dict[tuple[str, str], str]:
    """Return the values of an object by their field and what is shown of them."""
    known: dict[tuple[str, str], str] = {}

    def note(rule: WriteOnly, text: str, place: _Place) -> str:
        known[place.field, rule.hide(text, cover)] = text
        return text

    _mapped(encode(old), type(old), note, _Place())
    return known


def _cover(resource: Resource, key: bytes) -> Cover:
    def cover(text: str) -> str:
        mac = hmac.digest(key, f"{resource.uid}\0{text}".encode("utf-8", "replace"), "sha256")
        return f"hidden-value-{mac.hex()[:_MAC_LETTERS]}"

    return cover


def _hidden_model[M: BaseModel](model: M, cover: Cover) -> M:
    changes: dict[str, Any] = {}
    for field in write_only_fields(type(model)):
        value = getattr(model, field.name)
        new = _hidden_value(field.rule, value, cover)
        if new is not value:
            changes[field.name] = new
    return model.model_copy(update=changes) if changes else model


def _hidden_value(rule: WriteOnly | None, value: Any, cover: Cover) -> Any:
    match value:
        case BaseModel():
            return _hidden_model(value, cover)
        case tuple() if value:
            items = tuple(_hidden_value(rule, one, cover) for one in value)
            same = all(new is old for new, old in zip(items, value, strict=True))
            return value if same else items
        case dict() if isinstance(rule, ObjectsInside):
            return _mapped_object(value, lambda inner, text, _: inner.hide(text, cover), _Place())
        case dict() if rule is not None:
            return {name: _hidden_value(rule, one, cover) for name, one in value.items()}
        case str() if rule is not None:
            return rule.hide(value, cover)
        case _:
            return value


def _hidden_copy(text: str, kind: type[Resource], cover: Cover) -> str:
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        return "{}"  # nobody can read it, so nobody can say what it tells
    if not isinstance(document, dict):
        return "{}"
    shown = _mapped(document, kind, lambda rule, one, _: rule.hide(one, cover), _Place())
    return json.dumps(shown, separators=(",", ":"))


def _mapped(document: Any, model: type[BaseModel], swap: _Swap, place: _Place) -> dict[str, Any]:
    """Return a copy of a document in which each write-only text has been through `swap`."""
    copy = dict(document)
    here = place.of(model) if issubclass(model, Resource) else place
    for field in write_only_fields(model):
        for name in {field.alias, field.name}:
            if name in copy:
                below = replace(here.at(name), field=here.at(field.alias).field)
                copy[name] = _mapped_value(copy[name], field, swap, below)
    return copy


def _mapped_value(value: Any, field: WriteOnlyField, swap: _Swap, place: _Place) -> Any:
    match value:
        case list():
            return [_mapped_value(one, field, swap, place.item(at)) for at, one in enumerate(value)]
        case dict() if isinstance(field.rule, ObjectsInside):
            return _mapped_object(value, swap, place)
        case dict() if field.below is not None:
            return _mapped(value, field.below, swap, place)
        case dict() if field.rule is not None:
            return {
                name: _mapped_value(one, field, swap, place.entry(name))
                for name, one in value.items()
            }
        case str() if field.rule is not None:
            return swap(field.rule, value, place)
        case _:
            return value


def _mapped_object(document: dict[str, Any], swap: _Swap, place: _Place) -> dict[str, Any]:
    kind = _kind_of(document)
    return document if kind is None else _mapped(document, kind, swap, place)


def _kind_of(document: Mapping[str, Any]) -> type[Resource] | None:
    api_version, kind = document.get("apiVersion"), document.get("kind")
    if not isinstance(api_version, str) or not isinstance(kind, str):
        return None
    try:
        return resource_for(api_version, kind)
    except UnknownKindError:
        return None


def _declared(
    model: type[BaseModel], above: frozenset[type[BaseModel]]
) -> Iterator[WriteOnlyField]:
    if model in above:
        return
    for name, field in model.model_fields.items():
        rules = [one for one in field.metadata if isinstance(one, WriteOnly)]
        below: type[BaseModel] | None = None
        for part in _parts(field.annotation):
            if isinstance(part, WriteOnly):
                rules.append(part)
            elif _is_model(part) and any(_declared(part, above | {model})):
                below = part
        if rules or below is not None:
            alias = field.serialization_alias or field.alias or name
            yield WriteOnlyField(name, alias, rules[0] if rules else None, below)


def _is_model(part: object) -> TypeGuard[type[BaseModel]]:
    return isinstance(part, type) and issubclass(part, BaseModel)


def _parts(annotation: Any) -> Iterator[Any]:
    """Yield what a type is made of: models and rules, inside unions, lists and mappings."""
    if isinstance(annotation, TypeAliasType):
        yield from _parts(annotation.__value__)
    elif get_origin(annotation) is Annotated:
        yield from annotation.__metadata__
        yield from _parts(annotation.__origin__)
    elif get_origin(annotation) in {Union, UnionType, tuple, list, dict}:
        for part in get_args(annotation):
            yield from _parts(part)
    else:
        yield annotation
