"""Templates to objects: parameters, generated values, labels (template.openshift.io/v1).

Randomness is passed in. No fault repeats a parameter's value: it may be a password.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.api.codec import UnknownKindError
from upwell.api.decoding.limits import MAX_MANIFEST_BYTES
from upwell.api.legacy import to_group_form
from upwell.api.manifests import MAX_DEPTH
from upwell.api.template import Parameter, Template
from upwell.api.values.faults import Fault
from upwell.policy.templates.generators import GeneratorError, generate_value

GENERATE_EXPRESSION = "expression"

_NAME = re.compile(r"[A-Za-z0-9_]+")
_TEXT_REFERENCE = re.compile(r"\$\{([A-Za-z0-9_]+)\}")
_WHOLE_REFERENCE = re.compile(r"\$\{\{([A-Za-z0-9_]+)\}\}")

type Choose = Callable[[str], str]
"""Returns one character of a text, each as likely: `secrets.choice`."""


class InvalidTemplateError(ValueError):
    """The template cannot be processed with these values; `faults` has every reason."""

    def __init__(self, name: str, faults: tuple[Fault, ...]) -> None:
        reasons = "; ".join(str(fault) for fault in faults)
        super().__init__(f"template {name!r} cannot be processed: {reasons}")
        self.faults = faults


@dataclass(frozen=True, slots=True)
class ProcessRequest:
    """Request to process a template."""

    values: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Values of parameters; one that is given wins over the template's own and a generated one."""
    labels: Mapping[str, str] = field(default_factory=dict)
    """Labels for every object, over those of the template."""
    ignore_unknown: bool = False
    """True if a value for a parameter that the template does not have is no fault."""


@dataclass(frozen=True, slots=True)
class Processed:
    """The objects of a template, as documents, and what it says to whoever made them."""

    objects: tuple[dict[str, Any], ...] = field(repr=False)
    message: str = field(default="", repr=False)
    parameters: tuple[Parameter, ...] = field(default=(), repr=False)
    """The template's, each with the value that was used."""


def process_template(template: Template, request: ProcessRequest, choose: Choose) -> Processed:
    """Return the template's objects with every parameter replaced.

    Lists are flattened, group-less kinds of OpenShift get their group, and a namespace is dropped
    unless it has a `${NAME}` in it. Kinds that are not ours pass through.

    Raises InvalidTemplateError.
    """
    faults = list(_unknown(template, request))
    values = _resolve(template, request, choose, faults)
    expansion = _Expansion(values, faults)
    labels = {
        expansion.text(key, "labels"): expansion.text(value, f"labels.{key}")
        for key, value in template.labels_.items()
    } | dict(request.labels)
    objects = []
    for path, document in _flatten(template):
        if not isinstance(document.get("kind"), str) or not document.get("apiVersion"):
            faults.append(Fault(path, "every object needs apiVersion and kind"))
            continue
        expanded = expansion.value(_without_fixed_namespace(document), path)
        objects.append(_grouped(_labelled(expanded, labels, path, faults)))
    message = expansion.text(template.message or "", "message")
    if faults:
        raise InvalidTemplateError(template.name, tuple(dict.fromkeys(faults)))
    parameters = tuple(
        one.model_copy(update={"value": values[one.name]}) for one in template.parameters
    )
    return Processed(tuple(objects), message, parameters)


def _unknown(template: Template, request: ProcessRequest) -> Iterator[Fault]:
    if request.ignore_unknown:
        return
    known = [parameter.name for parameter in template.parameters]
    for name in request.values:
        if name not in known:
            have = ", ".join(known) or "none"
            yield Fault("parameters", f"the template has no parameter {name!r} (it has {have})")


def _resolve(
    template: Template, request: ProcessRequest, choose: Choose, faults: list[Fault]
) -> dict[str, str]:
    """Return the value of every parameter; what has none adds a fault."""
    values: dict[str, str] = {}
    for at, parameter in enumerate(template.parameters):
        path = f"parameters[{at}]"
        if _NAME.fullmatch(parameter.name) is None:
            why = f"{parameter.name!r} is not a valid name: use letters, digits and '_'"
            faults.append(Fault(f"{path}.name", why))
            continue
        if parameter.name in values:
            faults.append(Fault(f"{path}.name", f"{parameter.name!r} is declared twice"))
            continue
        value = request.values.get(parameter.name)
        values[parameter.name] = (
            _own_value(parameter, path, choose, faults) if value is None else value
        )
        if parameter.required and not values[parameter.name]:
            faults.append(Fault(path, f"parameter {parameter.name!r} is required: give it a value"))
    return values


def _own_value(parameter: Parameter, path: str, choose: Choose, faults: list[Fault]) -> str:
    if parameter.value or not parameter.generate:
        return parameter.value or ""
    if parameter.generate != GENERATE_EXPRESSION:
        why = f"{parameter.generate!r} is unknown; only {GENERATE_EXPRESSION!r} is supported"
        faults.append(Fault(f"{path}.generate", why))
        return "unknown"
    try:
        return generate_value(parameter.from_ or "", choose)
    except GeneratorError as error:
        faults.append(Fault(f"{path}.from", str(error)))
        return "unknown"


def _flatten(template: Template) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object with its path; the items of a List are objects of their own."""
    waiting: list[tuple[str, Any]] = [
        (f"objects[{at}]", document) for at, document in enumerate(template.objects)
    ]
    waiting.reverse()
    while waiting:
        path, document = waiting.pop()
        if not isinstance(document, dict):
            yield path, {}
            continue
        kind, items = document.get("kind"), document.get("items")
        if isinstance(kind, str) and kind.endswith("List") and isinstance(items, list):
            inner = [(f"{path}.items[{at}]", item) for at, item in enumerate(items)]
            waiting.extend(reversed(inner))
        else:
            yield path, document


class _Expansion:
    """Replaces references in values, within the size that a manifest may have."""

    def __init__(self, values: Mapping[str, str], faults: list[Fault]) -> None:
        self._values = values
        self._faults = faults
        self._left = MAX_MANIFEST_BYTES

    def value(self, value: Any, path: str, depth: int = 0) -> Any:
        """Return a JSON value with every reference in its texts and keys replaced."""
        if depth > MAX_DEPTH:
            self._faults.append(Fault(path, f"nested more than {MAX_DEPTH} deep"))
            return None
        if isinstance(value, str):
            whole = _WHOLE_REFERENCE.fullmatch(value)
            if whole is not None and whole[1] in self._values:
                return self._unquoted(self._values[whole[1]], path, depth)
            return self.text(value, path)
        if isinstance(value, dict):
            return {
                self.text(key, path): self.value(item, f"{path}.{key}", depth + 1)
                for key, item in value.items()
            }
        if isinstance(value, list):
            return [self.value(item, f"{path}[{at}]", depth + 1) for at, item in enumerate(value)]
        return value

    def text(self, text: str, path: str) -> str:
        """Replace each `${NAME}` once: a value that looks like a reference stays as it is."""
        if "${" not in text:
            return text
        return _TEXT_REFERENCE.sub(lambda match: self._replacement(match, path), text)

    def _replacement(self, match: re.Match[str], path: str) -> str:
        value = self._values.get(match[1])
        if value is None:
            return match[0]
        return value if self._pays(value, path) else ""

    def _unquoted(self, text: str, path: str, depth: int) -> Any:
        """Return what a value is as JSON; one that is no JSON is text (as OpenShift does)."""
        if not self._pays(text, path):
            return None
        try:
            value = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            return text
        except RecursionError:
            value = None
            depth = MAX_DEPTH + 1
        if depth + _depth(value) > MAX_DEPTH:
            self._faults.append(Fault(path, f"nested more than {MAX_DEPTH} deep"))
            return None
        return value

    def _pays(self, value: str, path: str) -> bool:
        """Return True if the value still fits; the first that does not is a fault."""
        exhausted = self._left < 0
        self._left -= len(value)
        if self._left >= 0:
            return True
        if not exhausted:
            self._faults.append(
                Fault(path, f"the values make the objects larger than {MAX_MANIFEST_BYTES} bytes")
            )
        return False


def _refuse_constant(name: str) -> None:
    """Refuse NaN and Infinity: Python reads them, JSON has no such numbers."""
    raise ValueError(name)


def _depth(value: Any) -> int:
    deepest, waiting = 0, [(value, 0)]
    while waiting:
        item, depth = waiting.pop()
        deepest = max(deepest, depth)
        if isinstance(item, dict):
            waiting.extend((inner, depth + 1) for inner in item.values())
        elif isinstance(item, list):
            waiting.extend((inner, depth + 1) for inner in item)
    return deepest


def _without_fixed_namespace(document: dict[str, Any]) -> dict[str, Any]:
    metadata = document.get("metadata")
    if not isinstance(metadata, dict) or "namespace" not in metadata:
        return document
    # As in OpenShift: `${{NAME}}` is no reference here, a namespace being always text.
    if _TEXT_REFERENCE.search(str(metadata["namespace"])):
        return document
    kept = {key: value for key, value in metadata.items() if key != "namespace"}
    return {**document, "metadata": kept}


def _labelled(
    document: dict[str, Any], labels: Mapping[str, str], path: str, faults: list[Fault]
) -> dict[str, Any]:
    if not labels:
        return document
    metadata = document.get("metadata") or {}
    own = metadata.get("labels") or {} if isinstance(metadata, dict) else None
    if not isinstance(own, dict):
        faults.append(Fault(f"{path}.metadata.labels", "expected an object"))
        return document
    return {**document, "metadata": {**metadata, "labels": {**own, **labels}}}


def _grouped(document: dict[str, Any]) -> dict[str, Any]:
    try:
        return to_group_form(document)
    except UnknownKindError:
        return document
