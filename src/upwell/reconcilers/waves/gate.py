"""Gate of rollouts: what Waves keep back, until others have gone first or a person lets it go."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from upwell.api.conditions import find
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey, Resource
from upwell.api.pipeline import Quarantine
from upwell.api.waves.wave import ENDED_WAVES, CanaryState, Wave, WavePhase
from upwell.controller import Watch
from upwell.policy.builds.triggers import ImageBar, digest_of
from upwell.policy.images.streams import StreamName, StreamTag
from upwell.policy.promotion.components import bases
from upwell.policy.promotion.stages import STAGED
from upwell.policy.rollouts.commands import goes_at_once
from upwell.policy.rollouts.triggers import IMAGE_TRIGGERED, Reason, followers_of
from upwell.policy.waves.canary import canary_text, goes_first, lets_go
from upwell.policy.waves.gate import keeps_cancelled
from upwell.policy.waves.stop import WAVE_LABEL, holds
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.rollouts.gate import ImageUpdate, RolloutBar

_ALL = ""
_COMING = timedelta(minutes=1)
"""Age of an import up to which its Wave may not be there yet."""
_LOOK_AGAIN = 2.0
_REASONS = frozenset({Reason.WAVE_CANARY, Reason.WAVE_STOPPED, Reason.WAVE_APPROVAL})


class WaveGate:
    """Keeps images back whose Wave has not let them go: a gate of rollouts."""

    def __init__(
        self,
        builds: BuildIndex,
        clock: Callable[[], datetime],
        *,
        canaries: bool = False,
        hint: Callable[[Resource], str] = goes_at_once,
    ) -> None:
        """`hint` names the command by which a person lets a workload go at once, if there is one.

        Without `canaries`, none go first.
        """
        self._cache = builds.cache
        self._builds = builds
        self._clock = clock
        self._canaries = canaries
        self._hint = hint
        self._open = self._cache.index(Wave, _while_open)
        self._every = self._cache.index(Wave, lambda wave: wave.digests)
        self._kept_back = self._cache.index(Wave, _while_kept_back)
        self._quarantines = self._cache.index(
            Quarantine, lambda one: (_ALL,) if WAVE_LABEL in one.labels else ()
        )
        self._waiting = [self._cache.index(kind, _while_waiting) for kind in STAGED]

    async def bar(
        self,
        workload: Resource,
        updates: Sequence[ImageUpdate],
        streams: Mapping[StreamName, ImageStream],
    ) -> RolloutBar | None:
        """Return which of these images wait, and for what; None: none does."""
        await self._cache.ready(Wave, Quarantine)
        kept_back = self._kept_back.get(_ALL) if self._canaries else ()
        quarantined = self._quarantines.get(_ALL)
        followed = await self._followed(workload) if kept_back or quarantined else ()
        waves = [one for one in kept_back if one.spec.image in followed]
        quarantines = [one for one in quarantined if holds(one, followed)]
        tags = {one.tag for one in followers_of(workload).entries}
        unapproved = await self._builds.unapproved_changes(*tags, known=streams)
        if not waves and not quarantines and not unapproved and not self._canaries:
            return None
        found: RolloutBar | None = None
        slots = []
        news = {one: self._new_digests(one, streams) for one in updates}
        # Who goes first in one Wave does so in all: two never wait for each other.
        is_first = any(
            goes_first(workload.key, wave)
            for wave in waves
            for digests in news.values()
            if digests.intersection(wave.digests)
        )
        for update, digests in news.items():
            bar = self._stopped(quarantines, digests)
            if bar is None and (missing := unapproved.get(digest_of(update.after))) is not None:
                bar = RolloutBar(Reason.WAVE_APPROVAL, missing.message, frozenset())
            if bar is None and not is_first:
                bar = self._behind(workload, waves, digests) or self._coming(update, streams)
            if bar is not None:
                slots.append(update.slot)
                found = found or bar
        if found is None:
            return None
        return RolloutBar(found.reason, found.message, frozenset(slots), found.look_again)

    async def unapproved(self, tag: StreamTag) -> Mapping[str, ImageBar]:
        """Return what bars the digests of changes that nobody has approved, for what uses a tag."""
        return await self._builds.unapproved_changes(tag)

    def watches(
        self, waiting: Callable[[], Iterable[ObjectKey]] | None = None
    ) -> Sequence[Watch[Wave] | Watch[Quarantine]]:
        """Return which changes make workloads ask again; without `waiting`, their statuses say who.

        A status that the cluster's own controllers write does not.
        """
        asking = waiting or self._every_waiting

        def of_wave(before: Wave | None, after: Wave | None) -> Iterable[ObjectKey]:
            return asking() if _view(before) != _view(after) else ()

        def of_quarantine(
            before: Quarantine | None, after: Quarantine | None
        ) -> Iterable[ObjectKey]:
            changed = [one for one in (before, after) if one is not None]
            return asking() if any(WAVE_LABEL in one.labels for one in changed) else ()

        return (Watch(Wave, of_wave), Watch(Quarantine, of_quarantine))

    async def _followed(self, workload: Resource) -> frozenset[str]:
        """Return the images of registries whose changes reach a workload."""
        tags = (one.tag for one in followers_of(workload).entries)
        return await self._builds.images_above(*tags)

    def _new_digests(
        self, update: ImageUpdate, streams: Mapping[StreamName, ImageStream]
    ) -> set[str]:
        """Return what an image stands on, and the one in its place does not."""
        return self._below(update.after, streams) - self._below(update.before, streams)

    def _below(self, image: str, streams: Mapping[StreamName, ImageStream]) -> set[str]:
        digest = digest_of(image)
        found = {digest, *_upstream(digest, streams)}
        if (made_by := self._builds.maker(digest)) is not None:
            found |= {one.digest for one in bases(made_by, self._builds.maker)}
        return found

    @staticmethod
    def _stopped(quarantines: Iterable[Quarantine], digests: set[str]) -> RolloutBar | None:
        found = next((one for one in quarantines if one.spec.digest in digests), None)
        if found is None:
            return None
        message = (
            f"stands on {found.spec.image}, which is in Quarantine {found.name}:"
            f" {found.spec.reason}; `upwell quarantine lift {found.name}` ends it"
        )
        return RolloutBar(Reason.WAVE_STOPPED, message, frozenset())

    def _behind(
        self, workload: Resource, waves: Iterable[Wave], digests: set[str]
    ) -> RolloutBar | None:
        for wave in waves:
            canary = wave.status.canary
            if digests.isdisjoint(wave.digests) or lets_go(wave, workload.namespace):
                continue
            if keeps_cancelled(wave):
                text = f"waits for the next image: Wave {wave.name} was cancelled before those that"
                text += " go first in it were healthy"
            elif wave.status.phase in ENDED_WAVES:
                newer = next(iter(self._open.get(wave.spec.image)), None)
                if newer is None:
                    continue
                text = (
                    f"waits for what Wave {newer.name} brings: {wave.spec.image} changed again"
                    f" before those that go first in Wave {wave.name} were healthy"
                )
            elif canary is None:
                text = f"waits until Wave {wave.name} has chosen which workloads go first"
            else:
                text = canary_text(canary, wave.name, workload.namespace)
            text += self._hint(workload)
            return RolloutBar(Reason.WAVE_CANARY, text, frozenset())
        return None

    def _coming(
        self, update: ImageUpdate, streams: Mapping[StreamName, ImageStream]
    ) -> RolloutBar | None:
        """Say that the Wave of an import is not there yet, which makes it known who goes first."""
        if not self._canaries:
            return None
        digest, now = digest_of(update.after), self._clock()
        names = {digest, *_upstream(digest, streams)}
        for stream in streams.values():
            for tag in stream.status.tags:
                if len(tag.items) > 1 and tag.items[0].image == digest and tag.import_state:
                    imported = tag.import_state.imported_digest == digest
                    created = tag.items[0].created
                    # An import in the future is one from before the clock was set back.
                    is_new = abs(now - created) < _COMING
                    if imported and is_new and not self._is_known(names, created):
                        text = f"waits for the Wave of {stream.name}:{tag.tag}"
                        return RolloutBar(Reason.WAVE_CANARY, text, frozenset(), _LOOK_AGAIN)
        return None

    def _is_known(self, digests: Iterable[str], imported: datetime) -> bool:
        """Return True if there is a Wave of an import, or was."""
        return any(
            wave.status.phase not in ENDED_WAVES
            or wave.spec.changed is None
            or wave.spec.changed >= imported
            for digest in digests
            for wave in self._every.get(digest)
        )

    def _every_waiting(self) -> Iterator[ObjectKey]:
        for index in self._waiting:
            yield from (workload.key for workload in index.get(_ALL))


def _upstream(digest: str, streams: Mapping[StreamName, ImageStream]) -> Iterator[str]:
    """Yield the digests that the sources of tags have, whose image this is or is a part of."""
    for stream in streams.values():
        for tag in stream.status.tags:
            state = tag.import_state
            if state is not None and state.imported_digest == digest and state.upstream_digest:
                yield state.upstream_digest


def _is_past(wave: Wave) -> bool:
    """Return True for a Wave whose workloads that go first hold nobody any more."""
    canary = wave.status.canary
    return canary is not None and canary.state is CanaryState.PASSED and not canary.apart


def _while_open(wave: Wave) -> tuple[str, ...]:
    return () if wave.status.phase in ENDED_WAVES else (wave.spec.image,)


def _while_kept_back(wave: Wave) -> tuple[str, ...]:
    """Return the key of a Wave whose canaries have not passed; one that never had any is over."""
    phase = wave.status.phase
    over = phase is WavePhase.COMPLETE or (phase in ENDED_WAVES and wave.status.canary is None)
    return () if over or _is_past(wave) else (_ALL,)


def _while_waiting(workload: Resource) -> tuple[str, ...]:
    found = find(getattr(workload.status, "conditions", ()), IMAGE_TRIGGERED)  # type: ignore[attr-defined]
    return (_ALL,) if found is not None and found.reason in _REASONS else ()


def _view(wave: Wave | None) -> object:
    """Return what of a Wave decides about rollouts."""
    if wave is None:
        return None
    canary = wave.status.canary
    told = (
        (canary.state, canary.workloads, canary.until, canary.apart) if canary is not None else None
    )
    given = (wave.status.approval, wave.status.stream_approvals)
    return (wave.status.phase in ENDED_WAVES, told, given, frozenset(wave.digests))
