"""Verdicts that image policies have reached about an image, from their statuses; pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from upwell.api.image_policies.policy import (
    ImagePolicyResource,
    PolicyFinding,
    PolicyPass,
    PolicyPoint,
)
from upwell.api.meta import Resource
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.signatures.selection import is_enforced
from upwell.policy.signatures.wording import policy_name

_POINTS = tuple(PolicyPoint)

type _Entry = PolicyFinding | PolicyPass


@dataclass(frozen=True, slots=True)
class PolicyRecord:
    """Verdict of one policy about an image, at the points at which it was the same."""

    policy: str
    enforced: bool
    image: str
    """Pull spec with digest."""
    namespace: str
    points: tuple[str, ...]
    since: datetime
    passed: bool
    reason: str = ""
    message: str = ""

    @property
    def refuses(self) -> bool:
        """True if the image is kept out by it."""
        return not self.passed and self.enforced

    def __str__(self) -> str:
        if self.passed:
            return f"passed {self.policy}" + (f": {self.message}" if self.message else "")
        verb = "refused" if self.enforced else "would be refused"
        return f"{verb} by {self.policy}: {self.reason}: {self.message}"


class PolicyRecords:
    """Verdicts that the policies among `objects` have reached as they are now."""

    def __init__(self, objects: Iterable[Resource]) -> None:
        self._of: dict[str, list[PolicyRecord]] = defaultdict(list)
        for one in objects:
            if isinstance(one, ImagePolicyResource) and not one.is_deleting:
                for record in _records(one):
                    self._of[digest_of(record.image)].append(record)

    def about(self, image: str, namespace: str | None) -> Sequence[PolicyRecord]:
        """Return what was said of an image (by its digest) for a namespace; None: for any."""
        return [
            one
            for one in self._of.get(digest_of(image), ())
            if namespace is None or one.namespace == namespace
        ]

    def statements(self, image: str, namespace: str | None, depth: int = 0) -> Iterator[Statement]:
        """Yield the same as facts of an explanation."""
        for one in self.about(image, namespace):
            topic = Topic.HELD if one.refuses else Topic.POLICY
            place = f" in namespace {one.namespace}" if namespace is None else ""
            at = f" (at {', '.join(one.points)}{place})"
            verb = "is " if one.refuses else ""
            text = f"image {digest_of(image)} {verb}{one}{at}"
            yield Statement(topic, text, depth, one.since, new=image)


def judged_by(asked: Resource) -> Iterator[Statement]:
    """Yield what a policy keeps out, or would if it did more than warn, and how much passes.

    Of other kinds, nothing.
    """
    if not isinstance(asked, ImagePolicyResource):
        return
    records = tuple(_records(asked))
    for one in records:
        if not one.passed:
            topic = Topic.HELD if one.refuses else Topic.POLICY
            verb = "is refused" if one.refuses else "would be refused"
            place = ", ".join(one.points) + (f" in namespace {one.namespace}" * bool(one.namespace))
            text = f"image {one.image} {verb} at {place}: {one.reason}: {one.message}"
            yield Statement(topic, text, at=one.since, new=one.image)
    passed = len({one.image for one in records if one.passed})
    if passed:
        yield Statement(Topic.RUNNING, f"{passed} of the images that it judged last pass")
    if not records:
        yield Statement(Topic.RUNNING, "it has judged no image yet, as it stands now")


def _records(policy: ImagePolicyResource) -> Iterator[PolicyRecord]:
    """Yield the verdicts of a policy, those of one image that are the same together."""
    status = policy.status
    if status.observed_generation != policy.generation:
        return  # they are of what it was before
    all_entries: tuple[_Entry, ...] = (*status.findings, *status.passed)
    merged: dict[tuple[str, str, str, str], list[_Entry]] = defaultdict(list)
    for entry in all_entries:
        reason = entry.reason if isinstance(entry, PolicyFinding) else ""
        merged[entry.image, entry.namespace, reason, entry.message].append(entry)
    for (image, namespace, reason, message), entries in merged.items():
        points = {one.at for one in entries}
        yield PolicyRecord(
            policy=policy_name(policy),
            enforced=is_enforced(policy),
            image=image,
            namespace=namespace,
            points=tuple(one.value for one in _POINTS if one in points),
            since=min(one.since for one in entries),
            passed=not reason,
            reason=reason,
            message=message,
        )
