"""Canaries of a Wave: the workloads that go first, and whether the others follow them."""

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from itertools import islice, zip_longest

from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import CanaryState, Wave, WaveCanary, WaveObject
from upwell.policy.explain.freshness import Snapshot
from upwell.policy.explain.graph import Node
from upwell.policy.images.streams import StreamTag
from upwell.policy.promotion.rollouts import Placed, RolledOut, workload_rollout
from upwell.policy.promotion.stages import upstream
from upwell.policy.rollouts.settings import Workload
from upwell.policy.rollouts.summary import desired_replicas
from upwell.policy.waves.approval import NO_APPROVALS, asks_for_approval, waiting_changes
from upwell.policy.waves.gate import needs_approval
from upwell.policy.waves.impact import Impact, PlannedStep, StepAction
from upwell.policy.waves.tenants import are_of_several

_LONGEST = timedelta(hours=1)
"""Time after which a rollout that is not healthy counts as failed: it may never end."""
_LONGEST_TO_BEGIN = timedelta(days=1)
"""The same of one that has not begun."""


@dataclass(frozen=True, slots=True)
class CanaryRules:
    """Share of a Wave's workloads that go first, and how long they have to be healthy."""

    share: float = 0.0
    """Between 0 and 1; 0: all go at once."""
    healthy_for: timedelta = timedelta(minutes=5)
    watched_since: datetime | None = None
    """Time since which their health is seen: what nobody has watched does not count."""


class _Health(StrEnum):
    """Health of a workload that goes first."""

    HEALTHY = "healthy"
    PENDING = "pending"
    FAILING = "failing"
    OUT = "out"
    """It does not get the image by itself, or runs nothing: nobody waits for it."""


@dataclass(frozen=True)
class _Candidate:
    """A workload that may go first, as it is now."""

    step: PlannedStep
    workload: Workload = field(repr=False, compare=False)
    health: _Health
    text: str = field(default="", compare=False)
    well_before: bool = True
    """Its last rollout is complete, so that a failure tells of the new image."""
    arrives: timedelta | None = field(default=None, compare=False)
    """Expected time until its image is there; None: nobody knows."""

    @property
    def key(self) -> ObjectKey:
        return self.workload.key


def canary_of(
    wave: Wave,
    impact: Impact,
    snapshot: Snapshot,
    blocked: Collection[Node],
    rules: CanaryRules,
    now: datetime,
    ends: Mapping[Node, timedelta] | None = None,
) -> WaveCanary | None:
    """Return which workloads go first and how they are; None where all go at once.

    `blocked` are the objects that a failed build keeps the image from. Those go first whose images
    are there first, as the others wait for the last of them: with `ends`, the expected times of the
    steps, those are foretold. Who was chosen stays so; others are added while those that count are
    too few: some may go, be held, or run nothing. Nobody is chosen of those that wait for an
    approval: another would be in their place, and go first beside them when it is given.
    """
    before = wave.status.canary
    if not rules.share:
        return None
    if needs_approval(wave):
        return before
    if before is not None and before.state is CanaryState.PASSED and not before.apart:
        return before
    candidates = {one.key: one for one in _candidates(wave, impact, snapshot, blocked, now, ends)}
    chosen = [
        key
        for one in (before.workloads if before is not None else ())
        if (key := ObjectKey(one.kind, one.namespace, one.name)) in candidates
    ]
    ones = [candidates[key] for key in chosen]
    failing = {one.key.namespace for one in ones if one.health is _Health.FAILING}
    if before is not None and before.state is CanaryState.PASSED:
        return before.model_copy(update={"apart": _ordered({*before.apart} & failing)})
    apart = frozenset() if _hold_all(ones, candidates.values(), failing) else frozenset(failing)
    if apart or not failing:
        chosen += _added(wave, candidates, chosen, rules.share, apart)
    wanted = share_of(len(_able(candidates.values(), apart)), rules.share)
    counting = [
        one
        for one in (candidates[key] for key in chosen)
        if one.health is not _Health.OUT and one.key.namespace not in apart
    ]
    told = _judged(wave, counting, wanted, rules, now)
    if apart:
        names = ", ".join(_ordered(apart))
        message = f"{told.message}; not for namespace {names}, whose own fail on it"
        told = told.model_copy(update={"apart": _ordered(apart), "message": message})
    return told.model_copy(
        update={
            "workloads": tuple(
                WaveObject(kind=key.kind, namespace=key.namespace, name=key.name) for key in chosen
            )
        }
    )


def canary_text(canary: WaveCanary, wave: str, namespace: str) -> str:
    """Say what a workload that does not go first waits for; counts that change are left out.

    Those of other namespaces are not named, nor is how they fail.
    """
    own = ", ".join(one.name for one in canary.workloads if one.namespace == namespace)
    if namespace in canary.apart:
        return (
            f"waits for {own}, of this namespace and first in Wave {wave}, which fails on the new"
            " image: it has to be mended, held, or scaled to 0"
        )
    text = f"waits for the workloads that go first in Wave {wave}"
    text += f" ({own} of this namespace)" if own else ""
    if canary.state is CanaryState.FAILING:
        return f"{text}: they fail on the new image, or are not healthy in time"
    if canary.until is not None:
        return f"{text}: they are healthy; the others follow at {canary.until:%Y-%m-%dT%H:%M:%SZ}"
    return f"{text}: the others follow when they have been healthy for a while"


def goes_first(workload: ObjectKey, wave: Wave) -> bool:
    """Return True if a workload is one of those that go first in a Wave."""
    canary = wave.status.canary
    return canary is not None and any(
        (one.kind, one.namespace, one.name) == workload for one in canary.workloads
    )


def lets_go(wave: Wave, namespace: str) -> bool:
    """Return True if those that go first in a Wave have shown that a namespace may follow them."""
    canary = wave.status.canary
    if canary is None or canary.state is not CanaryState.PASSED:
        return False
    return namespace not in canary.apart


def _hold_all(
    chosen: Collection[_Candidate], every: Iterable[_Candidate], failing: Collection[str]
) -> bool:
    """Return True if workloads that fail hold everybody, not their own namespaces alone.

    One tenant holds nobody else, as long as others can show that the image is good; two do, if as
    many namespaces are not healthy on it.
    """
    healthy = {one.key.namespace for one in chosen if one.health is _Health.HEALTHY}
    others = {one.key.namespace for one in every if one.health is not _Health.OUT}
    if not others.difference(failing):
        return bool(failing)
    failed = ((one.key.namespace, one.workload) for one in chosen if one.health is _Health.FAILING)
    return are_of_several(failed, others) and len(failing) >= len(healthy.difference(failing))


def _ordered(namespaces: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(namespaces))


def _candidates(
    wave: Wave,
    impact: Impact,
    snapshot: Snapshot,
    blocked: Collection[Node],
    now: datetime,
    ends: Mapping[Node, timedelta] | None,
) -> Iterator[_Candidate]:
    """Yield the workloads that image change triggers update, and those of first stages."""
    for step in impact.steps.values():
        if not isinstance(step.node, ObjectKey) or not _is_first(step):
            continue
        workload = snapshot.workloads.get(step.node)
        if workload is None:
            continue
        rollout = workload_rollout(Placed(workload, {}))
        health = _health(step, workload, rollout.state, wave)
        text = rollout.message
        is_blocked = step.node in blocked and not step.done
        if is_blocked or _waits_for_stream(step, impact, snapshot, wave):
            health = _Health.OUT
        elif health is _Health.PENDING and (late := _late(wave, workload, now)):
            health, text = _Health.FAILING, late
        well = rollout.state is RolledOut.COMPLETE
        yield _Candidate(step, workload, health, text, well, _arrival(step, impact, ends))


def _is_first(step: PlannedStep) -> bool:
    """Return True for a workload of a trigger, or of a stage that no other comes before."""
    if step.action is StepAction.ROLL_OUT:
        return True
    place = step.place
    return place is not None and not tuple(upstream(place.pipeline, place.stage))


def _health(step: PlannedStep, workload: Workload, rollout: RolledOut, wave: Wave) -> _Health:
    kept_away = any(one.stops or one.until is not None for one in step.obstacles)
    if not step.arrives or kept_away or not desired_replicas(workload):
        return _Health.OUT
    newest = next(iter(workload.status.revisions), None)
    began = wave.spec.changed
    its_own = newest is not None and (began is None or newest.created >= began)
    if rollout is RolledOut.FAILED and its_own:
        return _Health.FAILING
    if step.done and rollout is RolledOut.COMPLETE:
        return _Health.HEALTHY
    return _Health.PENDING


def _waits_for_stream(step: PlannedStep, impact: Impact, snapshot: Snapshot, wave: Wave) -> bool:
    """Return True if the owner of a stream that a workload follows has not approved the change."""
    tags = _tags_above(step, impact)
    found = (snapshot.streams.get(name) for name in {tag.stream_name for tag in tags})
    return any(
        change.tag in tags and change.move.is_of(wave)
        for stream in found
        if stream is not None and asks_for_approval(stream)
        for change in waiting_changes(stream, lambda _: (wave,), NO_APPROVALS)
    )


def _tags_above(step: PlannedStep, impact: Impact) -> set[StreamTag]:
    """Return the tags that a workload follows, and those that they take their image from."""
    found: set[StreamTag] = set()
    waiting = [step]
    for one in waiting:  # grows meanwhile
        tags = {edge.source for edge in one.edges if isinstance(edge.source, StreamTag)} - found
        found |= tags
        waiting += [impact.steps[tag] for tag in tags if tag in impact.steps]
    return found


def _late(wave: Wave, workload: Workload, now: datetime) -> str:
    """Say that nobody waits any longer for a workload to be healthy; empty: they do."""
    began, newest = wave.spec.changed, next(iter(workload.status.revisions), None)
    if began is None:
        return ""
    if newest is not None and newest.created >= began:
        late = now - newest.created >= _LONGEST
        return f"{workload.name} is not healthy an hour after its rollout began" if late else ""
    late = now - began >= _LONGEST_TO_BEGIN
    return f"{workload.name} has not got the image in a day" if late else ""


def share_of(count: int, share: float) -> int:
    """Return the least number that is a share of so many; 7 % of 100 is 7."""
    return math.ceil(round(share * count, 6))  # a product of floats may be just above it


def _added(
    wave: Wave,
    candidates: dict[ObjectKey, _Candidate],
    chosen: Sequence[ObjectKey],
    share: float,
    apart: Collection[str],
) -> list[ObjectKey]:
    """Return who goes first besides those that were chosen, of those whose images are there.

    As many as the share is, when all have come: no more of a namespace than if all were there now.
    """
    able = _able(candidates.values(), apart)
    wanted = share_of(len(able), share)
    already = frozenset(chosen)
    free = [one for one in able if one.key not in already]
    well = [one for one in free if one.well_before or _is_ahead(one)]
    image = wave.spec.image
    turns = Counter(one.key.namespace for one in islice(_spread(image, able), wanted))
    taken = Counter(one.key.namespace for one in able if one.key in already)
    missing = wanted - taken.total()
    there = [one for one in (well if len(well) >= missing else free) if one.arrives is not None]
    found: list[ObjectKey] = []
    for one in _in_turn(image, there):
        if len(found) < missing and taken[one.key.namespace] < max(turns.values()):
            taken[one.key.namespace] += 1
            found.append(one.key)
    return found


def _able(every: Iterable[_Candidate], apart: Collection[str]) -> list[_Candidate]:
    """Return those that may go first."""
    return [
        one for one in every if one.health is not _Health.OUT and one.key.namespace not in apart
    ]


def _in_turn(image: str, candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    """Yield candidates in the order in which they are chosen."""
    groups: dict[tuple[bool, bool, timedelta], list[_Candidate]] = defaultdict(list)
    for one in candidates:
        ahead = _is_ahead(one)
        groups[not ahead, not (ahead or one.well_before), one.arrives or timedelta()].append(one)
    for group in sorted(groups):
        yield from _spread(image, groups[group])


def _arrival(
    step: PlannedStep, impact: Impact, ends: Mapping[Node, timedelta] | None
) -> timedelta | None:
    """Return the expected time until the image of a workload is there; None: it is not known."""
    times = [timedelta()]
    for edge in step.edges:
        source = impact.steps.get(edge.source)
        if source is not None and not source.done:
            end = ends.get(edge.source) if ends is not None else None
            if end is None:
                return None
            times.append(end)
    return max(times)


def _is_ahead(candidate: _Candidate) -> bool:
    """Return True for who has the image already, or is of a first stage and gets it anyway."""
    return candidate.step.done or candidate.step.action is StepAction.PROMOTE


def _spread(image: str, candidates: Iterable[_Candidate]) -> Iterator[_Candidate]:
    """Yield them in an order that the image gives, one of each namespace in turn."""
    of: dict[str, list[_Candidate]] = defaultdict(list)
    for one in sorted(candidates, key=lambda one: _rank(image, str(one.key))):
        of[one.key.namespace].append(one)
    turns = zip_longest(*(of[name] for name in sorted(of, key=lambda one: _rank(image, one))))
    yield from (one for turn in turns for one in turn if one is not None)


def _rank(image: str, text: str) -> bytes:
    return hashlib.sha256(f"{image}\n{text}".encode()).digest()


def _judged(
    wave: Wave, counting: Sequence[_Candidate], wanted: int, rules: CanaryRules, now: datetime
) -> WaveCanary:
    healthy = [one for one in counting if one.health is _Health.HEALTHY]
    failing = next((one for one in counting if one.health is _Health.FAILING), None)
    length = _length(rules.healthy_for)
    if failing is not None:
        what = f"{failing.text}; it has to be mended, held, or scaled to 0"
        return WaveCanary(state=CanaryState.FAILING, message=what, healthy=len(healthy))
    if len(counting) < wanted and len(healthy) == len(counting):
        what = f"{len(counting)} of {wanted} are chosen; the others when their images are there"
        return WaveCanary(message=what, healthy=len(healthy))
    if not counting or len(healthy) < len(counting):
        names = ", ".join(f"{one.key.namespace}/{one.key.name}" for one in counting[:3])
        more = f" and {len(counting) - 3} more" if len(counting) > 3 else ""  # noqa: PLR2004
        what = f"{names}{more}; the others follow when they have been healthy for {length}"
        if not counting:
            what = "none is chosen yet"
        return WaveCanary(message=what, healthy=len(healthy))
    before = wave.status.canary
    since = before.healthy_since if before is not None and before.healthy_since else now
    until = max(since, rules.watched_since or since) + rules.healthy_for
    passed = now >= until
    return WaveCanary(
        state=CanaryState.PASSED if passed else CanaryState.SOAKING,
        message=(
            f"they have been healthy for {length}"
            if passed
            else f"they are healthy; the others follow at {until:%Y-%m-%dT%H:%M:%SZ}"
        ),
        healthy=len(healthy),
        healthy_since=since,
        until=None if passed else until,
    )


def _length(time: timedelta) -> str:
    minutes, seconds = divmod(int(time.total_seconds()), 60)
    return f"{minutes}m" if not seconds else f"{minutes}m{seconds}s" if minutes else f"{seconds}s"
