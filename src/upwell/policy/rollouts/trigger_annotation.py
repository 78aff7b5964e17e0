"""The annotation `image.openshift.io/triggers`: which containers of a workload follow which tags.

OpenShift drops the whole annotation, silently, for one wrong quote. Here every entry that can be
understood counts, and what was unusual about it or could not be understood becomes a warning.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.defaults import IMAGE_STREAM_TAG
from upwell.api.pod_template import PodSpec

_FIELD_PATH = re.compile(
    r"""spec\.(?:jobTemplate\.spec\.)?template\.spec\.
    (?P<list>containers|initContainers)
    \[(?:
        (?P<index>[0-9]{1,4})
        | \?\(\s*@\.name\s*==\s*(?P<quote>["'])(?P<name>[^"']+)(?P=quote)\s*\)
    )\]
    \.image""",
    re.VERBOSE,
)
_TEXT_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class ImageTrigger:
    """A container whose image follows a tag."""

    container: str
    init: bool
    """True if it is an init container."""
    namespace: str
    """The stream's namespace; empty: the workload's own."""
    tag: str
    """`stream:tag`."""
    paused: bool = False


class _Skipped(Exception):  # noqa: N818 - not an error: the entry becomes a warning
    """The entry cannot be understood; the message says why."""


def trigger_entry(
    container: str, tag: str, *, of_jobs: bool = False, paused: bool = False
) -> dict[str, Any]:
    """Return the entry by which the image of a container follows `stream:tag`.

    `of_jobs`: the container is one of a CronJob's Jobs.
    """
    steps = "spec.jobTemplate.spec.template.spec" if of_jobs else "spec.template.spec"
    entry: dict[str, Any] = {
        "from": {"kind": IMAGE_STREAM_TAG, "name": tag},
        "fieldPath": f'{steps}.containers[?(@.name=="{container}")].image',
    }
    return {**entry, "paused": True} if paused else entry


def parse(text: str, pod: PodSpec) -> tuple[list[ImageTrigger], list[str]]:
    """Return the triggers of an annotation, and warnings about what is unusual or not understood.

    `pod` has the containers that field paths name. Of two entries for one container the first
    counts.
    """
    warnings: list[str] = []
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError):
        return [], [": it is not JSON, so nothing is triggered"]
    if not isinstance(entries, list):
        return [], [": it is not a list, so nothing is triggered"]
    found: dict[tuple[str, bool], ImageTrigger] = {}
    for at, entry in enumerate(entries):
        try:
            trigger = _trigger(entry, pod)
        except _Skipped as skipped:
            warnings.append(f"[{at}]: {skipped}; the entry has no effect")
            continue
        if (trigger.container, trigger.init) in found:
            warnings.append(f"[{at}]: {trigger.container} has a trigger already; the first counts")
            continue
        warnings.extend(f"[{at}]: {oddity}" for oddity in _oddities(entry))
        found[trigger.container, trigger.init] = trigger
    return list(found.values()), warnings


def _trigger(entry: object, pod: PodSpec) -> ImageTrigger:
    if not isinstance(entry, Mapping):
        raise _Skipped("it is not an object")
    source = entry.get("from")
    if not isinstance(source, Mapping):
        raise _Skipped("from is missing")
    if source.get("kind", IMAGE_STREAM_TAG) != IMAGE_STREAM_TAG:
        raise _Skipped(f"from.kind is {source.get('kind')!r}, not {IMAGE_STREAM_TAG}")
    name, namespace = source.get("name"), source.get("namespace") or ""
    if not isinstance(name, str) or not name or not isinstance(namespace, str):
        raise _Skipped("from.name is missing")
    container, init = _container(entry.get("fieldPath"), pod)
    tag = name if ":" in name else f"{name}:latest"
    return ImageTrigger(container, init, namespace, tag, _is_paused(entry))


def _container(field_path: object, pod: PodSpec) -> tuple[str, bool]:
    match = _FIELD_PATH.fullmatch(field_path) if isinstance(field_path, str) else None
    if match is None:
        raise _Skipped(f"fieldPath {field_path!r} names no container's image")
    init = match["list"] == "initContainers"
    names = [container.name for container in (pod.init_containers if init else pod.containers)]
    if match["index"] is not None:
        at = int(match["index"])
        if at >= len(names):
            raise _Skipped(f"there is no {match['list']}[{at}]")
        return names[at], init
    if match["name"] not in names:
        raise _Skipped(f"no container is named {match['name']!r}")
    return match["name"], init


def _is_paused(entry: Mapping[str, Any]) -> bool:
    paused = entry.get("paused")
    if isinstance(paused, str) and paused.lower() in _TEXT_BOOLEANS:
        return _TEXT_BOOLEANS[paused.lower()]
    if paused is None or isinstance(paused, bool):
        return bool(paused)
    raise _Skipped(f"paused is {paused!r}, neither true nor false")


def _oddities(entry: Mapping[str, Any]) -> Iterator[str]:
    """Yield what OpenShift would not have understood."""
    if isinstance(entry.get("paused"), str):
        yield "paused is a text; it was read as true or false"
    field_path = str(entry["fieldPath"])
    if "'" in field_path or " " in field_path:
        yield 'fieldPath has single quotes or spaces; OpenShift wants [?(@.name=="x")]'
    if ":" not in str(entry["from"]["name"]):
        yield "from.name has no tag; latest was taken"
