"""Explanation of where an image comes from: a build and its causes, or upstream."""

from collections.abc import Iterator
from datetime import datetime

from upwell.api.builds.build import Build, BuildPhase, BuildTriggerCause, ImageChangeCause
from upwell.api.conditions import find
from upwell.api.image import NamedTagEventList
from upwell.api.meta import ObjectKey, ObjectReference, Resource
from upwell.api.values.commits import short_commit
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import Snapshot, images_of, output_digest, short
from upwell.policy.explain.statement import Statement, Topic
from upwell.policy.health.builds import SBOM_ATTESTED, SIGNED, reason_of
from upwell.policy.images.streams import StreamTag


class OriginExplainer:
    """Follows an image backwards, through builds to a change upstream; a fact is stated once."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._stated: set[str] = set()

    def is_first(self, key: ObjectKey) -> bool:
        """Return True for an object that nothing was stated about yet; from now on it was."""
        name = str(key)
        is_new = name not in self._stated
        self._stated.add(name)
        return is_new

    def build(self, build: Build, depth: int) -> Iterator[Statement]:
        """Yield how a build ended, of which commit, and the causes that it was made for."""
        status = build.status
        self._stated.add(str(build.key))
        match status.phase:
            case BuildPhase.COMPLETE:
                text = f"build {build.name} made {short(output_digest(build)) or 'no image'}"
            case phase if phase.is_terminal:
                text = f"build {build.name} ended as {phase}: {reason_of(build)}"
            case phase:
                text = f"build {build.name} is {phase}: {reason_of(build)}"
        at = status.completion_timestamp or status.start_timestamp
        at = at or build.metadata.creation_timestamp
        yield Statement(Topic.BUILD, text, depth, at, new=output_digest(build))
        if status.retry_time is not None and not status.phase.is_terminal:
            text = f"it is tried again: attempt {status.attempts + 1}"
            yield Statement(Topic.HELD, text, depth, status.retry_time)
        yield from _rebase(build, depth)
        if not depth:
            yield from _signature(build)
            for image in images_of(build):
                yield from self._snapshot.policies.statements(image, build.namespace, 1)
        commit = _commit(build)
        if commit:
            yield Statement(Topic.COMMIT, commit, depth + 1)
        for cause in build.spec.triggered_by:
            yield from self._cause(build, cause, depth + 1)
        if not build.spec.triggered_by:
            yield Statement(Topic.CAUSE, "no cause was recorded", depth + 1)

    def origin(
        self, tag: StreamTag | None, image: str, depth: int, build: Build | None = None
    ) -> Iterator[Statement]:
        """Say where an image comes from: one of our builds, or upstream.

        With the build that took it: a tag may have got the same image again since.
        """
        producer = self._snapshot.producer_of(image)
        if producer is not None:
            if str(producer.key) not in self._stated:
                yield from self.build(producer, depth)
            return
        history = self._snapshot.history(tag) if tag is not None else None
        state = history.import_state if history is not None else None
        if history is None or state is None or not state.source or str(tag) in self._stated:
            return
        self._stated.add(str(tag))
        began = build.metadata.creation_timestamp if build is not None else None

        def is_before(moment: datetime | None) -> bool:
            if moment is None or began is None:
                return moment is not None
            return moment.replace(microsecond=0) <= began  # creations have whole seconds

        of_image = (e for e in history.items if e.image == digest_of(image))
        event = next((e for e in of_image if is_before(e.created)), None)
        seen = event.created if event is not None else None
        if event is not None and history.latest is event and is_before(state.first_seen):
            seen = state.first_seen
        text = f"{state.source} was first seen as {short(image)}"
        yield Statement(Topic.UPSTREAM, text, depth, seen, new=image)

    def next_checks(self, asked: Resource) -> Iterator[Statement]:
        """Say when the upstream images that `asked` stands on are looked at again."""
        graph = self._snapshot.graph
        for tag in graph.ancestors(asked.key):
            history = self._snapshot.history(tag) if isinstance(tag, StreamTag) else None
            if history is not None and isinstance(tag, StreamTag):
                yield from self.import_state(tag, history)

    def import_state(self, tag: StreamTag, history: NamedTagEventList) -> Iterator[Statement]:
        """Yield what holds the import of a tag up, what it takes, and when it is checked again."""
        state = history.import_state
        for fault in self._snapshot.faults_about(tag.stream_key, tag.tag):
            text = f"{tag}: {fault.reason}: {fault}"
            yield Statement(Topic.HELD, text, at=fault.since)
        if state is not None and state.selected:
            text = f"{tag} takes tag {state.selected} of {state.source}: {state.selection_reason}"
            yield Statement(Topic.UPSTREAM, text)
        if state is not None and state.ignored is not None:
            passed = state.ignored
            text = f"{state.source} is {short(passed.digest)} now, passed over: {passed.message}"
            yield Statement(Topic.UPSTREAM, text, at=passed.seen, new=passed.digest)
        if state is not None and state.next_check_time is not None:
            text = f"{state.source} is checked again for {tag}"
            yield Statement(Topic.NEXT, text, at=state.next_check_time)

    def _cause(self, build: Build, cause: BuildTriggerCause, depth: int) -> Iterator[Statement]:
        change = cause.image_change_build
        if change is None:
            yield Statement(Topic.CAUSE, f"because: {cause.message or 'unknown'}", depth)
            yield from self._inputs(build, depth)
            return
        tag = _tag(change, build.namespace)
        name = str(tag) if tag is not None else "an image"
        if change.previous_image_id:
            text = f"because {name} changed from {short(change.previous_image_id)} to"
        else:
            text = f"because {name} came to be"
        text = f"{text} {short(change.image_id)}"
        old, new = change.previous_image_id or "", change.image_id
        yield Statement(Topic.CAUSE, text, depth, old=old, new=new)
        yield from self.origin(tag, change.image_id, depth + 1, build)

    def _inputs(self, build: Build, depth: int) -> Iterator[Statement]:
        """Say which images a build took that no image change has started."""
        for used in build.spec.image_inputs:
            tag = StreamTag.of(used.from_, build.namespace)
            text = f"it took {tag} as it was, {short(used.image)}"
            yield Statement(Topic.IMAGE, text, depth, new=used.image)
            yield from self.origin(tag, used.image, depth + 1, build)


def _tag(change: ImageChangeCause, namespace: str) -> StreamTag | None:
    reference: ObjectReference | None = change.from_ref
    return StreamTag.of(reference, namespace) if reference is not None else None


def _rebase(build: Build, depth: int) -> Iterator[Statement]:
    """Say why the image was put on a new base, or was not."""
    found = build.status.rebase
    if found is None:
        return
    if found.rebased:
        text = (
            f"it was rebased: nothing but the base has changed since build {found.build}, and none"
            " of its layers depends on what the base update changes"
        )
        yield Statement(Topic.BUILD, text, depth, old=found.image or "")
    else:
        yield Statement(Topic.BUILD, f"it could not be rebased: {found.message}", depth)


def _signature(build: Build) -> Iterator[Statement]:
    """Say what of the build's image is signed and attested, or why it is not yet."""
    for kind, what in ((SIGNED, "signed"), (SBOM_ATTESTED, "attested")):
        condition = find(build.status.conditions, kind)
        if condition is None:
            continue
        if condition.is_true:
            text = f"its image is {what}: {condition.message}"
            yield Statement(Topic.BUILD, text, 1, condition.last_transition_time)
        elif kind == SIGNED:
            since = condition.last_transition_time
            yield Statement(Topic.HELD, f"its image is not signed: {condition.message}", 0, since)


def _commit(build: Build) -> str:
    """Return the commit that was built, as one line; empty without one."""
    revision = build.revision
    if not revision.commit:
        return ""
    name, subject = revision.git.author.name, revision.subject
    text = f"commit {short_commit(revision.commit)}"
    return text + (f" by {name}" if name else "") + (f": {subject}" if subject else "")
