"""Decisions of people about Waves, written into the store, and what they have begun again."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from upwell.actions.builds import BuildActions
from upwell.actions.rollouts import RolloutActions
from upwell.api.builds.build import BuildRequest, BuildTriggerCause
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream
from upwell.api.meta import ObjectKey
from upwell.api.waves.wave import (
    StreamApproval,
    Wave,
    WaveCancellation,
    WaveDecision,
    WaveRetry,
)
from upwell.policy.builds.requests import BuildRefusedError
from upwell.policy.promotion.requests import RefusedError
from upwell.policy.rollouts.requests import RolloutRefusedError
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.policy.waves.changes import present_moves
from upwell.policy.waves.decisions import (
    MOST_BEGUN,
    approved,
    cancelled,
    require_retryable,
    retried,
    stream_approved,
)
from upwell.policy.waves.progress import failures
from upwell.reconcilers.waves.index import WaveIndex
from upwell.store.interface import NotFoundError, StoreError
from upwell.store.retry import update_with_retry

_KINDS = {kind.KIND.kind: kind for kind in WORKLOADS}


@dataclass(frozen=True, slots=True)
class RetriedWave:
    """Result of a retry: objects by their names, and why others were left."""

    begun: tuple[str, ...] = ()
    left: tuple[str, ...] = ()


class WaveActions:
    """Approvals, cancellations and retries of Waves; methods raise RefusedError or StoreError."""

    def __init__(
        self,
        index: WaveIndex,
        builds: BuildActions,
        rollouts: RolloutActions,
        clock: Callable[[], datetime],
    ) -> None:
        self._index = index
        self._store = index.cache.store
        self._builds = builds
        self._rollouts = rollouts
        self._clock = clock
        self._retrying = asyncio.Lock()
        """Held while failures are looked up and begun again: so that each is begun once."""

    async def approve(self, name: str, decision: WaveDecision) -> Wave:
        """Let builds begin on the image of a Wave that needs an approval."""
        return await self._changed(name, lambda wave: approved(wave, decision))

    async def approve_for(
        self, stream: ObjectKey, name: str, decision: WaveDecision
    ) -> StreamApproval:
        """Let builds begin that follow a Wave's change through one stream.

        Errors tell nothing of a Wave whose change the stream has not: nor whether there is one.
        """
        found = await self._store.get(ImageStream, stream.namespace, stream.name)
        approval = StreamApproval(
            **decision.model_dump(), namespace=stream.namespace, stream=stream.name
        )

        def change(wave: Wave) -> Wave:
            moves = [move for _, move in present_moves(found) if move.is_of(wave)]
            if not moves:
                raise _not_imported(stream, name)
            return stream_approved(wave, approval, {move.requested_by for move in moves})

        try:
            await self._changed(name, change)
        except NotFoundError:
            raise _not_imported(stream, name) from None
        return approval

    async def cancel(self, name: str, decision: WaveCancellation) -> Wave:
        """Let no build begin any more on the image of a Wave."""
        return await self._changed(name, lambda wave: cancelled(wave, decision))

    async def retry(self, name: str, decision: WaveDecision) -> RetriedWave:
        """Begin the builds and rollouts of a Wave that have failed again, each once."""
        async with self._retrying:
            wave = await self._store.get(Wave, "", name)
            require_retryable(wave)
            await self._index.ready()
            view = await self._index.look(wave.spec.image, wave.spec.digest, self._clock())
            failed = [
                one
                for one in failures(wave, view.impact, view.snapshot)
                if isinstance(one, ObjectKey)
            ]
            begun: list[str] = []
            left: list[str] = []
            for key in failed:
                try:
                    require_retryable(await self._store.get(Wave, "", name))  # it may be stopped
                    await self._begin(key, f"Wave {name} is retried by {decision.by}")
                    begun.append(str(key))
                except (RefusedError, BuildRefusedError, RolloutRefusedError, StoreError) as error:
                    left.append(f"{key}: {error}")
            if begun:
                retry = WaveRetry(**decision.model_dump(), begun=tuple(begun[:MOST_BEGUN]))
                await self._changed(name, lambda wave: retried(wave, retry))
        return RetriedWave(tuple(begun), tuple(left))

    async def _begin(self, key: ObjectKey, why: str) -> None:
        if key.kind == BuildConfig.KIND.kind:
            request = BuildRequest(
                triggered_by=(BuildTriggerCause(message=why),), unless_built=True
            )
            build = await self._builds.instantiate(key.namespace, key.name, request)
            await self._index.cache.wait_for(build)
        else:
            kind = _KINDS[key.kind]
            workload = await self._rollouts.retry(kind, key.namespace, key.name)
            await self._index.cache.wait_for(workload)

    async def _changed(self, name: str, change: Callable[[Wave], Wave]) -> Wave:
        async def write(wave: Wave) -> Wave:
            return await self._store.update_status(change(wave))

        return await update_with_retry(lambda: self._store.get(Wave, "", name), write)


def _not_imported(stream: ObjectKey, wave: str) -> RefusedError:
    return RefusedError(f"{stream} has not imported the change of a Wave {wave}")
