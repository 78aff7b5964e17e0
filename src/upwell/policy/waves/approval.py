"""Approval of changes: which of them need one, and what waits until it is given."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from upwell.api.builds.config import BuildConfig
from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.waves.wave import APPROVAL_ANNOTATION, ENDED_WAVES, Wave, WaveApproval
from upwell.policy.builds.triggers import CURRENT, ImageBar, digest_of
from upwell.policy.images.streams import StreamTag, pinned
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED
from upwell.policy.waves.changes import ImageMove, present_moves
from upwell.policy.waves.gate import WAITS_FOR_APPROVAL

_SHOWN = 60
"""Characters of a value that are shown."""

type WavesOf = Callable[[str], Iterable[Wave]]
"""Returns the Waves of an image."""


@dataclass(frozen=True, slots=True)
class ApprovalRules:
    """Rules of the administrator for changes of imported images."""

    all_images: bool = False
    patterns: tuple[str, ...] = ()
    """Images by the names of their registries; `*` is any text."""

    def of(self, image: str) -> WaveApproval:
        """Return the approval that changes of an image need."""
        manual = self.all_images or any(fnmatchcase(image, one) for one in self.patterns)
        return WaveApproval.MANUAL if manual else WaveApproval.AUTO

    @property
    def are_none(self) -> bool:
        """Return True if no change needs an approval."""
        return not self.all_images and not self.patterns


NO_APPROVALS = ApprovalRules()
"""Rules by which no change needs an approval."""


@dataclass(frozen=True, slots=True)
class WaitingChange:
    """A change that a tag has imported, and that nothing is built on yet by way of its stream."""

    tag: StreamTag
    move: ImageMove
    wave: Wave | None
    """None: it is being made."""
    doubt: str = ""
    """Remark about an annotation that is not understood."""

    @property
    def digests(self) -> frozenset[str]:
        """Digests that the tag has: that of the image, and of the one manifest of it."""
        return frozenset({self.move.digest, self.move.imported})

    @property
    def text(self) -> str:
        """Reason of the wait, and the next step."""
        if self.wave is None:
            return "its change waits for approval; its Wave is being made"
        where = f"ImageStream {self.tag.namespace}/{self.tag.stream}"
        given = f"--stream {self.tag.stream} -n {self.tag.namespace}"
        return (
            f"its change waits for approval, for which {where} asks{self.doubt};"
            f" `upwell wave approve {self.wave.name} {given}` gives it"
            f" (role promoter or approver in namespace {self.tag.namespace})"
        )

    @property
    def bar(self) -> ImageBar:
        """Bar of builds on it."""
        text = f"depends on {self.move.image}: {self.text}"
        return ImageBar(WAITS_FOR_APPROVAL, text, new_alone=True)


def asks_for_approval(stream: ImageStream) -> bool:
    """Return True if the owner of a stream approves its changes, for what is built by it.

    A value that is not known, stored before values were checked, asks for it too.
    """
    return stream.annotations.get(APPROVAL_ANNOTATION, WaveApproval.AUTO) != WaveApproval.AUTO


def _doubt(stream: ImageStream) -> str:
    """Return a remark about a value of the annotation that is not known; empty: it is."""
    value = stream.annotations.get(APPROVAL_ANNOTATION, WaveApproval.AUTO)
    if value in tuple(WaveApproval):
        return ""
    return f" (annotation {APPROVAL_ANNOTATION} is {value[:_SHOWN]!r}, which counts as manual)"


def waiting_changes(
    stream: ImageStream, waves_of: WavesOf, rules: ApprovalRules
) -> Iterator[WaitingChange]:
    """Yield the changes of a stream's tags that wait for an approval which their Wave tells not of.

    The Wave is not made yet, or the stream's own owner is asked. A Wave that waits says so itself.
    """
    asks = asks_for_approval(stream)
    if not asks and rules.are_none:
        return
    for tag, move in present_moves(stream):
        if not asks and rules.of(move.image) is WaveApproval.AUTO:
            continue
        wave = move.covered_by(waves_of(move.image))
        if wave is None or (asks and not _is_approved(stream, wave)):
            name = StreamTag(stream.namespace, stream.name, tag)
            yield WaitingChange(name, move, wave, _doubt(stream))


def waits_for_approval(found: Resource) -> bool:
    """Return True if a BuildConfig or a workload waits for the approval of a change."""
    kind = CURRENT if isinstance(found, BuildConfig) else IMAGE_TRIGGERED
    condition = find(getattr(found.status, "conditions", ()), kind)  # type: ignore[attr-defined]
    return condition is not None and condition.reason == WAITS_FOR_APPROVAL


def deletion_refusal(wave: Wave) -> str:
    """Say why a Wave is not deleted; empty: it may be. What somebody has approved stays so."""
    status = wave.status
    if status.phase in ENDED_WAVES or not (status.approval or status.stream_approvals):
        return ""
    return (
        f"{wave.key} is approved and has not ended: without it, what is left of it would wait for"
        f" approval again; `upwell wave cancel {wave.name} --reason WHY` ends it first"
    )


def approval_view(wave: Wave | None) -> object:
    """Return what of a Wave decides whether what waits for an approval still does, and for whose.

    None: there is no Wave.
    """
    if wave is None:
        return None
    status = wave.status
    end = status.phase if status.phase in ENDED_WAVES else None
    return (status.approval, status.stream_approvals, status.digests, end, status.lifted)


def approved_as(wave: Wave, earlier: Wave) -> Wave:
    """Return a Wave with the approvals of an earlier one of the same change."""
    given = {
        "approval": earlier.status.approval,
        "stream_approvals": earlier.status.stream_approvals,
    }
    return wave.with_status(wave.status.model_copy(update=given))


def waiting_digests(
    streams: Iterable[ImageStream], waves_of: WavesOf, rules: ApprovalRules
) -> Mapping[str, ImageBar]:
    """Return what bars the digests of waiting changes."""
    found: dict[str, ImageBar] = {}
    for stream in streams:
        for one in waiting_changes(stream, waves_of, rules):
            for digest in one.digests:
                found[digest] = with_both(found.get(digest), one.bar)
        for digest, bar in _untold(stream, rules):
            found[digest] = with_both(found.get(digest), bar)
    return found


def _untold(stream: ImageStream, rules: ApprovalRules) -> Iterator[tuple[str, ImageBar]]:
    """Yield what tags refer to without an import, and had imported before: each with its bar.

    Nothing tells which image that is, so nobody could approve it.
    """
    asks = asks_for_approval(stream)
    for history in stream.status.tags:
        latest = history.latest
        if latest is None or latest.image or not any(one.image for one in history.items):
            continue
        image = pinned(latest)
        if asks or rules.of(image) is WaveApproval.MANUAL:
            who = f"ImageStream {stream.namespace}/{stream.name} asks" if asks else "[waves] asks"
            text = (
                f"is {image}, to which the tag refers without an import, where {who} for approval"
                " of changes: have it imported again, so that there is one to approve"
            )
            yield digest_of(image), ImageBar(WAITS_FOR_APPROVAL, text, new_alone=True)


def with_both(bar: ImageBar | None, other: ImageBar) -> ImageBar:
    """Return a bar that names the approvals of both, where both wait for one.

    Neither stands in for the other; of other bars, the first is told.
    """
    if bar is None:
        return other
    if bar.reason != other.reason or bar.reason != WAITS_FOR_APPROVAL or bar == other:
        return bar
    return replace(bar, message=f"{bar.message}; {other.message}")


def _is_approved(stream: ImageStream, wave: Wave) -> bool:
    given = {(one.namespace, one.stream) for one in wave.status.stream_approvals}
    return (stream.namespace, stream.name) in given
