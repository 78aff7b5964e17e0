"""Commits the digests of Releases to the repositories of stages that are kept in git."""

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.pipeline import GitTarget
from upwell.api.promotion import Promotion, PromotionPhase
from upwell.git.interface import GitSource
from upwell.gitops.interface import GitOpsRepositories, RepositoryClone, RepositoryError
from upwell.policy.promotion import transitions
from upwell.policy.promotion.git_commits import wanted_images
from upwell.policy.promotion.manifests.wanted import ManifestError
from upwell.policy.promotion.moves import Move
from upwell.policy.promotion.rollouts import RolledOut, StageRollout
from upwell.reconcilers.promotion.placing.git_changes import GitChange
from upwell.reconcilers.sources import MissingSecretError, read_secret
from upwell.store.interface import Store

_FRESH = timedelta(seconds=30)
"""Time for which the host is not asked again for what it has said."""
_SOONEST, _LATEST = timedelta(seconds=5), timedelta(minutes=5)
"""Until a host that gives trouble is asked again: the longer it lasts, the later."""
_ATTEMPTS = 6
"""Looks in a row, each after a push: by us, or by others who were faster."""
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class _Known:
    """State of a repository at the last look."""

    at: datetime
    target: GitTarget
    tips: Mapping[str, str]
    found: StageRollout


@dataclass(frozen=True, slots=True)
class _Silent:
    """A host that has just failed, and why."""

    at: datetime
    why: str


class CommittedReleases:
    """Has the branches of stages name the digests of Releases; implements ReleasePlacer.

    It says COMPLETE once the branch has them, whatever runs. `link` returns where a Promotion is
    found, for the commit's message.
    """

    def __init__(
        self,
        store: Store,
        repositories: GitOpsRepositories,
        link: Callable[[Promotion], str],
        clock: Callable[[], datetime],
    ) -> None:
        self._store = store
        self._repositories = repositories
        self._link = link
        self._clock = clock
        self._known: OrderedDict[tuple[str, str], _Known] = OrderedDict()
        self._silent: dict[tuple[str, str, str], _Silent] = {}

    async def place(self, move: Move) -> StageRollout:
        """Have the branch name the Release's digests, and say whether it does.

        A repository that gives trouble is tried again, ever less often, for as long as the
        promotion has time. Raises StoreError.
        """
        return self._waiting(move) or await self._looked(move, change=True)

    async def observe(self, move: Move) -> StageRollout:
        """Say whether the branch has the Release's digests, and change nothing."""
        return await self._looked(move, change=False)

    async def _looked(self, move: Move, *, change: bool) -> StageRollout:
        try:
            return await self._in_git(move, change=change)
        except (RepositoryError, ManifestError) as error:
            if not _was_there(move):
                return self._later(move, str(error))
            return StageRollout(RolledOut.COMPLETE)  # what runs goes on without the host

    async def _in_git(self, move: Move, *, change: bool) -> StageRollout:
        target = move.stage.git
        if target is None:
            raise ValueError(f"stage {move.stage.name} is not kept in git")
        known = self._known.get((move.promotion.uid, move.release.name))
        if known is not None and known.target != target:
            known = None
        if known is not None and timedelta() <= self._clock() - known.at < _FRESH:
            return known.found
        source = await self._source(move, target)
        async with self._repositories.open(source) as clone:
            wanted = wanted_images(move.release, move.stage)
            link = self._link(move.promotion)
            one = GitChange(self._store, clone, move, target, wanted, link)
            for _ in range(_ATTEMPTS):
                tips = await self._tips(clone, one)
                if known is not None and known.tips == tips:
                    return self._remember(move, tips, known.found)
                tips = await clone.fetch(list(tips)) if tips else tips
                found = await one.settle(tips) if change else await one.look(tips)
                if found is not None:
                    return self._remember(move, tips, found)
        raise RepositoryError(
            f"{target.repository}: others were faster in each of {_ATTEMPTS} attempts to push"
        )

    async def _tips(self, clone: RepositoryClone, change: GitChange) -> dict[str, str]:
        """Ask the host, unless it has just failed: who waited meanwhile need not try as well."""
        target, now = change.target, self._clock()
        login = target.secret.name if target.secret is not None else ""
        place = (target.repository, change.move.pipeline.namespace, login)
        silent = self._silent.get(place)
        if silent is not None and timedelta() <= now - silent.at < _SOONEST:
            raise RepositoryError(silent.why)
        try:
            return await clone.tips(change.branches)
        except RepositoryError as error:
            recent = {k: one for k, one in self._silent.items() if now - one.at < _SOONEST}
            self._silent = {**recent, place: _Silent(self._clock(), str(error))}
            raise

    def _remember(self, move: Move, tips: Mapping[str, str], found: StageRollout) -> StageRollout:
        target = move.stage.git
        still_there = found.state in {RolledOut.COMPLETE, RolledOut.GOING_ON}
        if target is not None and still_there:
            key = (move.promotion.uid, move.release.name)
            self._known[key] = _Known(self._clock(), target, tips, found)
            self._known.move_to_end(key)
            while len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return found

    async def _source(self, move: Move, target: GitTarget) -> GitSource:
        source = GitSource(target.repository)
        if target.secret is None:
            return source
        try:
            secret = await read_secret(self._store, move.pipeline.namespace, target.secret.name)
        except MissingSecretError as error:
            raise RepositoryError(str(error)) from error
        return source.with_login(secret.decoded())

    def _waiting(self, move: Move) -> StageRollout | None:
        """Return how it stands while it is not yet time to try again.

        A time further off than any that is set here is of another clock, and does not count.
        """
        until, now = move.status.until, self._clock()
        if until is None or not now < until <= now + _LATEST:
            return None
        message = move.status.steps[-1].message if move.puts_back else move.status.message
        return StageRollout(RolledOut.GOING_ON, message, until=until, review=_in_review(move))

    def _later(self, move: Move, why: str) -> StageRollout:
        now = self._clock()
        since = move.status.steps[-1].started if move.status.steps else now
        pause = min(max((now - since) / 4, _SOONEST), _LATEST)
        end = transitions.deadline(move.status, move.stage)
        until = min(now + pause, end) if end is not None and end > now else now + pause
        why = f"{why}; it is tried again"
        return StageRollout(RolledOut.GOING_ON, why, until=until, review=_in_review(move))


def _was_there(move: Move) -> bool:
    """Return True if the branch has had the digests, as far as the promotion has noted."""
    if move.status.phase is PromotionPhase.VERIFYING:
        return True
    reviewed = move.stage.git is not None and move.stage.git.push_branch is not None
    return bool(move.status.commit) and not reviewed and not move.puts_back


def _in_review(move: Move) -> bool:
    """Return True if people were at it when it was looked at last."""
    return bool(move.status.steps) and move.status.steps[-1].name == transitions.REVIEW
