"""Workloads of a cluster that nobody gave to Upwell, as `status --all` shows them."""

from collections.abc import Iterator, Sequence
from typing import Any

from upwell.api.codec import encode
from upwell.api.requests.running import ImageAncestor, RunningWorkload, WorkloadImage
from upwell.policy.explain.freshness import short

_HOW = {"tag": "is an image of", "build": "was built on", "layers": "has the layers of"}


class ForeignWorkloads:
    """Those of the running workloads whose images Upwell does not set."""

    def __init__(self, running: Sequence[RunningWorkload]) -> None:
        self._found = [one for one in running if not one.status.given]

    def lines(self) -> Iterator[str]:
        """Yield a line for each workload, and one for each of its images below it."""
        for one in self._found:
            status = one.status
            name = f"{status.workload_kind} {one.namespace}/{status.workload_name}"
            yield f"{name}  {status.pods} {'pod' if status.pods == 1 else 'pods'}"
            if not status.images:
                yield "└─ no node tells which images they run"
            images = list(status.images)
            for at, image in enumerate(images):
                is_last = at + 1 == len(images) and not status.left_out
                yield f"{'└─ ' if is_last else '├─ '}{_image_text(image)}"
            if status.left_out:
                yield f"└─ and {status.left_out} more images"

    def counts(self) -> str:
        """Return how many there are, and how they stand."""
        behind = unknown = 0
        for one in self._found:
            counts = [image.behind for image in one.status.images]
            behind += any(counts)
            unknown += not any(counts) and (not counts or None in counts)
        total = len(self._found)
        current = total - behind - unknown
        return (
            f"{total} {'workload' if total == 1 else 'workloads'} that nobody gave to Upwell:"
            f" {behind} behind, {current} current, {unknown} unknown"
        )

    def data(self) -> dict[str, Any]:
        """Return the same as JSON data."""
        found = []
        for one in self._found:
            status = encode(one)["status"]
            found.append({"namespace": one.namespace, **status})
        return {"others": found}


def _image_text(image: WorkloadImage) -> str:
    name = image.image.partition("@")[0]
    nodes = f" on {image.nodes} nodes" if image.nodes > 1 else ""
    text = f"{name}  {short(image.digest)}{nodes}"
    if image.unknown:
        return f"{text}, unknown: {image.unknown}"
    return f"{text}, {'; '.join(map(_ancestor_text, image.ancestors))}"


def _ancestor_text(ancestor: ImageAncestor) -> str:
    state = f"behind by {ancestor.behind}" if ancestor.behind else "current"
    return f"{_HOW.get(ancestor.by, 'stands on')} {ancestor.tag} ({state})"
