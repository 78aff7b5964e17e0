"""Brings a Release into a repository: by a commit on its branch, or by one that is reviewed.

What the repository says is the memory: the trailers of a commit tell whose it is, so that a retry
finds it. What a person has changed since is left as it is.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.pipeline import GitTarget
from upwell.api.promotion import PIPELINE_LABEL, Promotion, PromotionPhase, Release
from upwell.api.values.commits import short_commit
from upwell.gitops.interface import Draft, RepositoryClone, RepositoryError, TreeFile
from upwell.oci import InvalidReferenceError
from upwell.policy.promotion import git_commits
from upwell.policy.promotion.manifests.wanted import ManifestError, WantedImage
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.policy.promotion.stages import has_hold, with_hold
from upwell.reconcilers.promotion.placing.git_branch import Branch, read_branch
from upwell.store.interface import NotFoundError, Selector, Store


@dataclass(frozen=True, slots=True)
class GitChange:
    """One move in one open repository. Raises RepositoryError, ManifestError or StoreError."""

    store: Store
    clone: RepositoryClone
    move: Move
    target: GitTarget
    wanted: Sequence[WantedImage]
    link: str = ""

    @property
    def branches(self) -> list[str]:
        """The branches that matter."""
        review = git_commits.review_branch(self.move)
        back = [git_commits.return_branch(self.move)] if review and self.move.puts_back else []
        return [self.target.branch, *([review] if review else []), *back]

    async def look(self, tips: Mapping[str, str]) -> StageRollout:
        """Say whether the branch has the images, and change nothing."""
        main, changes = await self._main(tips)
        if not changes:
            return await self._there(main)
        why = f"branch {main.name} of {self.target.repository} does not have its images"
        return StageRollout(RolledOut.GOING_ON, why)

    async def settle(self, tips: Mapping[str, str]) -> StageRollout | None:
        """Say how it stands; None: something was pushed, here or by others, so look again."""
        main, changes = await self._main(tips)
        review = git_commits.review_branch(self.move)
        if not review:
            return await self._straight(main, changes)
        if not changes:
            failed = await self._failed_change(main, review, tips)
            if failed is None:
                return await self._there(main)
            await self._push(*failed, review)
            return None
        if self.move.puts_back:
            review = git_commits.return_branch(self.move)
        return await self._reviewed(main, changes, review, tips.get(review, ""))

    async def _main(self, tips: Mapping[str, str]) -> tuple[Branch, dict[TreeFile, str]]:
        name = self.target.branch
        if name not in tips:
            raise RepositoryError(f"{self.target.repository} has no branch {name}: create it")
        main = await self._read(name, tips[name])
        return main, await main.edited(self.wanted)

    async def _straight(self, main: Branch, changes: Mapping[TreeFile, str]) -> StageRollout | None:
        if not changes:
            return await self._there(main)
        if main.commit_of(self.move) or self._was_there or await self._altered(main):
            return await self._give_way(main, changes)
        await self._push(main, changes, main.name)
        return None

    async def _reviewed(
        self, main: Branch, changes: Mapping[TreeFile, str], review: str, tip: str
    ) -> StageRollout | None:
        """Have the change on a branch of its own, and wait until it is merged."""
        if tip and not await self.clone.contains(main.tip, tip):
            return await self._under_review(await self._read(review, tip))
        merged = main.commit_of(self.move) or self.move.status.phase is PromotionPhase.VERIFYING
        if merged or await self._altered(main):
            return await self._give_way(main, changes)
        if self.move.status.commit and not tip and not self.move.puts_back:
            why = f"branch {review} is gone, and {main.name} does not have its change: declined"
            return StageRollout(RolledOut.FAILED, why)
        await self._push(main, changes, review)
        return None

    async def _under_review(self, side: Branch) -> StageRollout | None:
        changes = await side.edited(self.wanted)
        mine = side.commit_of(self.move)
        if not changes:
            return self._waits(side.name, mine or side.tip)
        if mine:
            return await self._give_way(side, changes)
        await self._push(side, changes, side.name)
        return None

    async def _failed_change(
        self, main: Branch, review: str, tips: Mapping[str, str]
    ) -> tuple[Branch, Mapping[TreeFile, str]] | None:
        """Return the branch of a change that failed unmerged, and what takes it back there."""
        tip = tips.get(review, "")
        if not (self.move.puts_back and tip) or await self.clone.contains(main.tip, tip):
            return None
        side = await self._read(review, tip)
        changes = await side.edited(self.wanted)
        return (side, changes) if changes else None

    def _waits(self, review: str, commit: str) -> StageRollout:
        why = f"waits for branch {review} of {self.target.repository} to be merged"
        why = f"{why} into {self.target.branch}"
        return StageRollout(RolledOut.GOING_ON, why, commit=commit, review=True)

    @property
    def _was_there(self) -> bool:
        """Return True if the branch had the images already: the promotion has noted the commit."""
        return bool(self.move.status.commit) and not self.move.puts_back

    async def _there(self, main: Branch) -> StageRollout:
        commit = main.commit_of(self.move)
        commit = commit or await self.clone.touched(main.tip, list(main.files))
        return StageRollout(RolledOut.COMPLETE, commit=commit)

    async def _altered(self, main: Branch) -> bool:
        """Return True if a person has put other images there since the stage's last promotion.

        A person who promotes knows; and a change counts once: its hold has been lifted.
        """
        last = main.newest_of_stage(self.move)
        by_person = self.move.promotion.spec.requested_by and not self.move.puts_back
        if last is None or by_person:
            return False
        try:
            name = last.trailers[git_commits.RELEASE]
            release = await self.store.get(Release, self.move.promotion.namespace, name)
            changes = await main.edited(git_commits.wanted_images(release, self.move.stage))
        except (NotFoundError, ManifestError, InvalidReferenceError):
            return False  # it is not known any more
        if not changes:
            return False
        foreign = await self._newest(main, changes)
        return foreign != last.id and not await self._gave_way(foreign)

    async def _gave_way(self, foreign: str) -> bool:
        """Return True if a promotion into the stage gave way to that commit, or accepted it."""
        selector = Selector(
            self.move.promotion.namespace, {PIPELINE_LABEL: self.move.pipeline.name}
        )
        known = (await self.store.list(Promotion, selector)).items
        return any(
            one.spec.stage == self.move.stage.name and one.status.commit == foreign for one in known
        )

    async def _give_way(self, branch: Branch, changes: Collection[TreeFile]) -> StageRollout:
        """Leave what a person has put there, and hold the stage until that is lifted."""
        foreign = await self._newest(branch, changes)
        paths = ", ".join(sorted(one.path for one in changes))
        who = branch.author_of(foreign)
        why = f"{who} changed {paths} on {branch.name} in commit {short_commit(foreign)}"
        pipeline, stage = self.move.pipeline, self.move.stage
        if not has_hold(pipeline, stage):
            await self.store.update(with_hold(pipeline, stage.name, why))
        command = f"`upwell resume pipeline/{pipeline.name} --stage {stage.name}` lifts the hold"
        return StageRollout(RolledOut.TAKEN_OVER, f"{why}; {command}", commit=foreign)

    async def _newest(self, branch: Branch, changed: Collection[TreeFile]) -> str:
        return await self.clone.touched(branch.tip, [one.path for one in changed])

    async def _read(self, name: str, tip: str) -> Branch:
        return await read_branch(self.clone, name, tip, self.target, self.wanted)

    async def _push(self, base: Branch, changes: Mapping[TreeFile, str], branch: str) -> None:
        """Commit on top of `base` and push, unless the branch has moved meanwhile."""
        message = git_commits.message(self.move, await self._previous(), self.link)
        await self.clone.push(await self.clone.commit(Draft(base.tip, changes, message)), branch)

    async def _previous(self) -> Release | None:
        status, spec = self.move.status, self.move.promotion.spec
        name = spec.release if self.move.puts_back else status.previous
        try:
            return await self.store.get(Release, self.move.promotion.namespace, name)
        except NotFoundError:
            return None
