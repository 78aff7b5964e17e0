"""Cells that several kinds have alike, made from an object's JSON."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from upwell.api.meta import Column

type Document = Mapping[str, Any]
type Text = Callable[[Document], str]

_MODES = {
    "ReadWriteOnce": "RWO",
    "ReadOnlyMany": "ROX",
    "ReadWriteMany": "RWX",
    "ReadWriteOncePod": "RWOP",
}


def part(document: Document, *names: str) -> Document:
    """Return the object at these fields; empty where there is none."""
    for name in names:
        found = document.get(name)
        document = found if isinstance(found, Mapping) else {}
    return document


def items(document: Document, *names: str) -> list[Document]:
    """Return the objects of the list at these fields."""
    found = part(document, *names[:-1]).get(names[-1])
    return [one for one in _listed(found) if isinstance(one, Mapping)]


def texts(document: Document, name: str) -> list[str]:
    """Return what the list at this field holds, as texts."""
    return list(map(str, _listed(document.get(name))))


def _listed(found: object) -> list[Any] | tuple[Any, ...]:
    return found if isinstance(found, list | tuple) else ()


def access_modes(modes: Iterable[str]) -> str:
    """Return the access modes of a volume, shortened as Kubernetes prints them."""
    return ",".join(_MODES.get(mode, mode) for mode in modes)


def number(document: Document, *names: str) -> int:
    """Return the number at these fields; 0 where there is none."""
    found = part(document, *names[:-1]).get(names[-1])
    return found if isinstance(found, int) else 0


def pairs(labels: Document) -> str:
    """Return labels as selectors are written: `a=b,c=d`."""
    return ",".join(f"{key}={labels[key]}" for key in sorted(labels))


def label_selector(selector: Document) -> str:
    """Return a LabelSelector as `-l` takes it."""
    words = {"In": "in", "NotIn": "notin"}
    texts = [pairs(part(selector, "matchLabels"))]
    for one in items(selector, "matchExpressions"):
        operator, key = one.get("operator"), one.get("key")
        values = ",".join(map(str, one.get("values") or ()))
        known = {"Exists": f"{key}", "DoesNotExist": f"!{key}"}
        texts.append(known.get(str(operator)) or f"{key} {words.get(str(operator))} ({values})")
    return ",".join(filter(None, texts))


def first_line(text: str, width: int) -> str:
    """Return the first line of a text, cut at `width` letters."""
    line, _, rest = text.partition("\n")
    line = f"{line}..." if rest else line
    return line if len(line) <= width else f"{line[: width - 3].strip()}..."


def count_of(*names: str) -> Text:
    """Return a cell with how many entries these fields have together."""
    return lambda document: str(sum(len(document.get(name) or ()) for name in names))


def containers(*path: str) -> tuple[Column, Column]:
    """Return the wide columns with a template's containers, and their images."""
    place = ".".join((*path, "containers[*]"))
    return (
        Column("CONTAINERS", f"{place}.name", wide=True),
        Column("IMAGES", f"{place}.image", wide=True),
    )


def selector_at(*path: str) -> Column:
    """Return the wide column with the LabelSelector at a path."""
    return Column(
        "SELECTOR",
        ".".join((*path, "matchLabels")),
        wide=True,
        text=lambda document: label_selector(part(document, *path)),
    )
