"""Note on a workload of what triggers or a promotion have set: the memory of its rollouts."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Self

from upwell.api.meta import Resource, format_time, parse_time
from upwell.policy.cluster_rollouts.field_owners import OWN, owners_of
from upwell.policy.rollouts.commands import without_annotation
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.pod_template import template_hash
from upwell.policy.rollouts.triggers import with_images

NOTE_ANNOTATION = "upwell.dev/rollout"
"""JSON. Removed by a person, nothing is remembered: an image that failed is tried again.
Written by somebody else, as on a copy of a workload, it is none."""
NOTE_PATH = ("f:metadata", "f:annotations", f"f:{NOTE_ANNOTATION}")

_EARLIER_FAILURES = 10
"""Failures that are remembered beside the last one: all annotations together have 256 KiB."""
_MAX_WHY = 300
"""Characters kept of the reason of each."""


@dataclass(frozen=True, slots=True)
class FailedImage:
    """Image that failed in a container, and is not set there again."""

    container: str
    image: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class RolloutNote:
    """Images that were set, and how they did. Containers and init containers share no name."""

    images: Mapping[str, str] = field(default_factory=dict)
    """Pull specs that were set last, by container."""
    good: Mapping[str, str] = field(default_factory=dict)
    """Those that ran before, in full."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Those that failed here last and are not set again."""
    why: str = ""
    """Reason of the failure."""
    since: datetime | None = None
    """Time at which `images` were set."""
    template: str = ""
    """Hash of the template that they were set in, without its images."""
    complete: bool = False
    """They have been rolled out; told where the workload's own status does not keep it."""
    promotion: str = ""
    """UID of the Promotion that set them; empty: a trigger did."""

    earlier: tuple[FailedImage, ...] = ()
    """Those that failed before `failed`, the newest first; a tag that comes back names them."""
    last_success: str | None = None
    """`lastSuccessfulTime` that a CronJob had when `images` were set, by its cluster's clock.

    Empty: it had none; None: it was not noted, or is about no CronJob."""
    changed: tuple[str, ...] = ()
    """Containers whose images were set last, the others' being what they were before."""

    @property
    def failures(self) -> tuple[FailedImage, ...]:
        """Images that failed here and are not set again, the newest first."""
        last = (FailedImage(name, image, self.why) for name, image in self.failed.items())
        return (*last, *self.earlier)

    def earlier_than(self, failed: Mapping[str, str]) -> tuple[FailedImage, ...]:
        """Return what is remembered of failures once those in `failed` are the last."""
        found = {
            (one.container, one.image): replace(one, why=one.why[:_MAX_WHY])
            for one in self.failures
            if failed.get(one.container) != one.image
        }
        return tuple(found.values())[:_EARLIER_FAILURES]

    @classmethod
    def of(cls, workload: Resource) -> Self:
        """Return the note that was written here on a workload; what is none has nothing."""
        text = workload.annotations.get(NOTE_ANNOTATION)
        if not text or OWN not in owners_of(workload, NOTE_PATH):
            return cls()
        try:
            document = json.loads(text)
        except (ValueError, RecursionError):
            return cls()
        if not isinstance(document, dict):
            return cls()
        return cls(
            _images(document.get("images")),
            _images(document.get("good")),
            _images(document.get("failed")),
            str(document.get("why") or ""),
            parse_time(document.get("since")),
            str(document.get("template") or ""),
            document.get("complete") is True,
            str(document.get("promotion") or ""),
            _failures(document.get("earlier")),
            _text(document.get("lastSuccess")),
            _names(document.get("changed")),
        )

    def format(self) -> str:
        """Return the annotation's value."""
        document: dict[str, Any] = {"images": dict(self.images)}
        optional = {
            "good": dict(self.good),
            "failed": dict(self.failed),
            "why": self.why,
            "template": self.template,
            "promotion": self.promotion,
            "earlier": [[one.container, one.image, one.why] for one in self.earlier],
            "changed": list(self.changed),
        }
        document |= {name: value for name, value in optional.items() if value}
        if self.since is not None:
            document["since"] = format_time(self.since)
        if self.complete:
            document["complete"] = True
        if self.last_success is not None:
            document["lastSuccess"] = self.last_success
        return json.dumps(document, sort_keys=True, separators=(",", ":"))


def failures_text(workload: Resource, failures: Iterable[FailedImage]) -> str:
    """Return words of what failed at a workload and is not set again; empty: nothing."""
    by_cause: dict[str, dict[str, str]] = {}
    for one in failures:
        by_cause.setdefault(one.why or "it was put back", {})[one.container] = one.image
    if not by_cause:
        return ""
    told = [f"{listed_images(ones)} failed here before: {why}" for why, ones in by_cause.items()]
    return f"{'; '.join(told)}; {without_annotation(workload, NOTE_ANNOTATION)} tries it again"


def listed_images(images: Mapping[str, str]) -> str:
    """Return images by container, for people."""
    return ", ".join(f"{name} = {image}" for name, image in images.items())


def hash_without_images(workload: Resource) -> str:
    """Return a hash of all that a rollout is about, besides images."""
    template = pod_template(workload)
    if template is None:
        return ""
    pod = template.spec
    slots = [(one.name, False) for one in pod.containers]
    slots += [(one.name, True) for one in pod.init_containers]
    bare = pod_template(with_images(workload, dict.fromkeys(slots, "")))
    return "" if bare is None else template_hash(bare)


def _images(value: object) -> dict[str, str]:
    if not isinstance(value, Mapping):
        return {}
    return {str(name): image for name, image in value.items() if isinstance(image, str)}


def _names(value: object) -> tuple[str, ...]:
    return tuple(one for one in value if isinstance(one, str)) if isinstance(value, list) else ()


def _text(value: object) -> str | None:
    return value if isinstance(value, str) else None


def _failures(value: object) -> tuple[FailedImage, ...]:
    if not isinstance(value, list):
        return ()
    rows = [one for one in value if isinstance(one, list) and all(isinstance(x, str) for x in one)]
    width = len(fields(FailedImage))
    return tuple(FailedImage(*row) for row in rows if len(row) == width)[:_EARLIER_FAILURES]
