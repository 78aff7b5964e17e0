"""Places Releases of stages that are kept in git, and waits until what runs has their digests."""

from dataclasses import replace

from upwell.policy.builds.triggers import digest_of
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.reconcilers.promotion.placing.ports import ReleasePlacer
from upwell.verification.interface import HttpQuestion, ProbeError, Probes

_OK = 200


class GitPlacement:
    """Stages whose digests are committed, and rolled out here by others; implements ReleasePlacer.

    `committed` has the branch name them, `workloads` says what runs here.
    """

    def __init__(self, committed: ReleasePlacer, workloads: ReleasePlacer, probes: Probes) -> None:
        self._committed = committed
        self._workloads = workloads
        self._probes = probes

    async def place(self, move: Move) -> StageRollout:
        """Have the repository name the Release's digests, and say how what runs follows.

        Raises StoreError.
        """
        return await self._followed(await self._committed.place(move), move)

    async def observe(self, move: Move) -> StageRollout:
        """Say how repository and workloads stand to the Release, and change nothing."""
        return await self._followed(await self._committed.observe(move), move)

    async def _followed(self, found: StageRollout, move: Move) -> StageRollout:
        if found.state is not RolledOut.COMPLETE:
            return found
        return replace(await self._running(move), commit=found.commit)

    async def _running(self, move: Move) -> StageRollout:
        """Say whether what runs has the digests, as far as the stage lets that be seen."""
        if move.stage.workloads:
            return await self._workloads.observe(move)
        url = move.stage.git.running_url if move.stage.git is not None else ""
        if not url:
            return StageRollout(RolledOut.COMPLETE)
        try:
            answer = await self._probes.get(HttpQuestion(url))
        except ProbeError as error:
            return StageRollout(RolledOut.GOING_ON, f"runningUrl: {error}")
        if answer.status != _OK:
            return StageRollout(RolledOut.GOING_ON, f"runningUrl answered {answer.status}")
        digests = {
            name: digest_of(image) for name, image in stage_images(move.release, move.stage).items()
        }
        missing = [name for name, digest in digests.items() if digest.encode() not in answer.body]
        if not missing:
            return StageRollout(RolledOut.COMPLETE, digests=frozenset(digests.values()))
        names = ", ".join(f"{name} {digests[name]}" for name in missing)
        return StageRollout(RolledOut.GOING_ON, f"waits for runningUrl to name {names}")
