"""The pod template of an object, and its containers, as JSON."""

from collections.abc import Callable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

from upwell.cli.core.errors import CommandError
from upwell.cli.core.kept_options import keep_option

type Document = dict[str, Any]

_PATHS = {
    "CronJob": ("spec", "jobTemplate", "spec", "template", "spec"),
    "Pod": ("spec",),
}
PORT_DIGITS = 5
_TEMPLATE = ("spec", "template", "spec")


def pod_spec(document: Document) -> Document:
    """Return the spec of an object's Pods, to be changed in place; raises CommandError."""
    found: Any = document
    for step in _PATHS.get(str(document.get("kind")), _TEMPLATE):
        found = found.get(step) if isinstance(found, dict) else None
    if not isinstance(found, dict):
        raise CommandError("it has no pod template: name a workload, such as deployment/NAME")
    return found


def container_path(document: Document, name: str) -> str:
    """Return the path of a container's image, as triggers name it."""
    steps = ".".join(_PATHS.get(str(document.get("kind")), _TEMPLATE))
    return f'{steps}.containers[?(@.name=="{name}")].image'


def all_containers(spec: Document) -> list[Document]:
    """Return the init containers and the containers of a Pod."""
    return [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]


def containers_option(options: type[Any]) -> Callable[[Any], Any]:
    """Return the option `--containers`, whose value becomes the field `pattern` of `options`."""
    return keep_option(
        options,
        "pattern",
        "-c",
        "--containers",
        default="*",
        show_default=True,
        help="Names of containers, joined by commas; * and ? are wildcards.",
    )


def containers(spec: Document, pattern: str, *, init: bool = False) -> list[Document]:
    """Return the containers of these names, which may have wildcards.

    Raises CommandError when there is none.
    """
    among = all_containers(spec) if init else list(spec.get("containers") or ())
    found = [one for one in among if any_match(str(one.get("name", "")), pattern)]
    if not found:
        names = ", ".join(str(one.get("name", "")) for one in among)
        raise CommandError(f"no container matches {pattern!r}: there are {names}")
    return found


def any_match(name: str, patterns: str) -> bool:
    """Return whether one of the patterns, joined by commas, matches a name."""
    return any(fnmatchcase(name, pattern) for pattern in patterns.split(","))


def put(values: list[Document], value: Document) -> None:
    """Put an item of a list, known by its name, in the place of the one of that name."""
    for at, existing in enumerate(values):
        if existing.get("name") == value.get("name"):
            values[at] = value
            return
    values.append(value)


def without(values: Sequence[Document], names: set[str]) -> Iterator[Document]:
    """Yield the items whose names are not among these."""
    yield from (value for value in values if value.get("name") not in names)


def store(parent: Document, field: str, values: list[Document]) -> None:
    """Set a field to a list, or remove it when the list is empty."""
    if values:
        parent[field] = values
    else:
        parent.pop(field, None)


def port_of(text: str) -> int | str:
    """Return the number of a port, or its name."""
    is_number = text.isascii() and text.isdecimal() and len(text) <= PORT_DIGITS
    return int(text) if is_number else text
