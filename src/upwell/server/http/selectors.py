"""labelSelector and fieldSelector (Kubernetes' query syntax) as a filter of objects."""

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.api.codec import encode
from upwell.api.meta import Resource
from upwell.server.http.errors import ApiError

_KEY = r"[A-Za-z0-9./_-]+"
_SET = re.compile(rf"(?P<key>{_KEY})\s+(?P<operator>in|notin)\s*\((?P<values>[^()]*)\)")
_EQUALITY = re.compile(rf"(?P<key>{_KEY})\s*(?P<operator>==|=|!=)\s*(?P<value>[^,=]*)")
_EXISTENCE = re.compile(rf"(?P<absent>!?)\s*(?P<key>{_KEY})")
_FIELD = re.compile(r"(?P<path>[A-Za-z0-9._-]+)(?P<operator>==|=|!=)(?P<value>.*)")
_MAX_SELECTOR = 4096

type LabelTest = Callable[[Mapping[str, str]], bool]


@dataclass(frozen=True, slots=True)
class FieldTest:
    """`path=value` or `path!=value`; an absent field is the empty text."""

    path: str
    value: str
    equal: bool

    def holds(self, document: Any) -> bool:
        """Return True if an object's JSON passes."""
        found = document
        for step in self.path.split("."):
            found = found.get(step) if isinstance(found, dict) else None
        return (_text(found) == self.value) is self.equal


@dataclass(frozen=True, slots=True)
class Filter:
    """Filter of the objects of a list or a watch."""

    labels: tuple[LabelTest, ...] = ()
    fields: tuple[FieldTest, ...] = ()
    exact: Mapping[str, str] = field(default_factory=dict)
    """Labels that may have one value alone: stores find them by it. `labels` tests them too."""

    @property
    def is_trivial(self) -> bool:
        """Tells whether every object passes, but for its name, which stores look for themselves."""
        return not self.labels and all(
            test.equal and test.path == "metadata.name" for test in self.fields
        )

    def matches(self, resource: Resource, shown: Callable[[Resource], Resource]) -> bool:
        """Return True if the object passes every test.

        Fields are tested in what is `shown` of it, so that what is hidden can be no oracle.
        """
        if not self.selects(resource.labels):
            return False
        if not self.fields:
            return True
        document = encode(shown(resource))
        return all(test.holds(document) for test in self.fields)

    def selects(self, labels: Mapping[str, str]) -> bool:
        """Return True if labels pass their tests."""
        return all(test(labels) for test in self.labels)

    def named(self, field: str) -> str:
        """Return the one value that the field may have; empty when it may have several."""
        return next((test.value for test in self.fields if test.equal and test.path == field), "")


def parse_filter(labels: str, fields: str) -> Filter:
    """Return the filter of the two selectors; raises ApiError 400."""
    if len(labels) > _MAX_SELECTOR or len(fields) > _MAX_SELECTOR:
        raise ApiError(400, f"a selector has more than {_MAX_SELECTOR} characters")
    wanted = list(_requirements(labels))
    exact = {
        match["key"]: match["value"].strip()
        for match in wanted
        if match.groupdict().get("operator") in {"=", "=="}
    }
    return Filter(tuple(map(_label_test, wanted)), tuple(_field_tests(fields)), exact)


def _requirements(text: str) -> Iterator[re.Match[str]]:
    rest = text.strip()
    while rest:
        match = _SET.match(rest) or _EQUALITY.match(rest) or _EXISTENCE.match(rest)
        if match is None:
            raise ApiError(400, f"labelSelector: cannot understand {rest!r}")
        yield match
        rest = rest[match.end() :].strip()
        if rest:
            if not rest.startswith(","):
                raise ApiError(400, f"labelSelector: expected a comma before {rest!r}")
            rest = rest[1:].strip()


def _label_test(match: re.Match[str]) -> LabelTest:
    parts = match.groupdict()
    key, operator = parts["key"], parts.get("operator")
    if operator is None:
        wanted = not parts["absent"]
        return lambda labels: (key in labels) is wanted
    if operator in {"in", "notin"}:
        values = frozenset(value.strip() for value in parts["values"].split(","))
    else:
        values = frozenset({parts["value"].strip()})
    if operator in {"in", "=", "=="}:
        return lambda labels: labels.get(key) in values
    return lambda labels: labels.get(key) not in values


def _field_tests(text: str) -> Iterator[FieldTest]:
    for part in filter(None, (part.strip() for part in text.split(","))):
        match = _FIELD.fullmatch(part)
        if match is None:
            raise ApiError(400, f"fieldSelector: cannot understand {part!r}")
        yield FieldTest(match["path"], match["value"], match["operator"] != "!=")


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)
