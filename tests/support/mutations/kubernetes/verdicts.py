"""Recorded verdicts of Kubernetes 1.20 about mutants of its own kinds.

`apiserver` beside this asks a server, and records its verdicts anew when objects or mutants change.
"""

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path as FilePath

from tests.support.mutations.mutants import Breakage, Document, Mutant, Path, mutants, path_text
from tests.support.mutations.valid_objects import valid_objects

KINDS = (
    "Deployment",
    "StatefulSet",
    "DaemonSet",
    "Job",
    "CronJob",
    "Service",
    "ConfigMap",
    "Secret",
    "Pod",
    "PersistentVolumeClaim",
    "Ingress",
    "HorizontalPodAutoscaler",
)
RECORDING = FilePath(__file__).with_name("accepted.json")
"""By kind and number of the object, and path: the changes that were accepted."""

type Labelled = tuple[str, str, Mutant]
"""The path of a mutant, a label of its change that no other has there, and the mutant."""


_TEMPLATE = ("spec", "template", "spec")


def places(kind: str) -> list[str]:
    """Return the places of the kind's valid objects in the recording."""
    return [f"{kind} {number}" for number in range(len(valid_objects(kind)))]


def mutants_of(place: str) -> Iterator[Labelled]:
    """Yield every mutant of the valid object at a place in the recording.

    Of further Deployments, Pods alone: what is around these is the same as in the first.
    """
    kind, number = place.split(" ")
    document = valid_objects(kind)[int(number)]
    if kind == "Deployment" and int(number):
        yield from _labelled(document, [_TEMPLATE])
    else:
        yield from _labelled(
            document, [(root,) for root in document if root not in {"apiVersion", "kind"}]
        )


@cache
def accepted() -> dict[str, dict[str, list[str]]]:
    """Return the recording."""
    found: dict[str, dict[str, list[str]]] = json.loads(RECORDING.read_text())
    return found


_MAPS = {
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "selector",
    "stringData",
}
"""Fields whose own fields have names of the user's."""


def _is_null_entry(mutant: Mutant) -> bool:
    """Return True for a null in a list, or in a map of the user's.

    Kubernetes takes it for an empty value, we for none.
    """
    if mutant.change is not Breakage.NULL:
        return False
    return isinstance(mutant.path[-1], int) or bool({*mutant.path[-2:-1]} & _MAPS)


def _labelled(document: Document, roots: list[Path]) -> Iterator[Labelled]:
    counts: dict[tuple[str, str], int] = {}
    for root in roots:
        for mutant in mutants(document, root):
            if mutant.path == ("metadata",) or _is_null_entry(mutant):
                continue
            key = (path_text(mutant.path), mutant.change.value)
            counts[key] = counts.get(key, 0) + 1
            yield key[0], f"{key[1]} {counts[key]}", mutant
