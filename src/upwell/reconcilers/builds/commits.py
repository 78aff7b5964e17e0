"""Commits: looks at the repositories of BuildConfigs that ask for it, and starts builds of them.

For repositories whose host can call no webhook. When one is looked at next is kept in memory: to
lose it costs a look. The last commit stands in the status, so that none is built twice.
"""

import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig, FollowedCommit
from upwell.api.conditions import find, set_condition, without
from upwell.api.meta import Condition, ObjectKey
from upwell.builder.interface import BuildError
from upwell.controller import Controller, Result, Watch
from upwell.git.interface import CommitLookup, GitError, GitSource
from upwell.policy.builds.commits.following import (
    FOLLOWED,
    AwaitBuild,
    BuildCommit,
    CommitLook,
    commit_request,
    decide_commit,
    first_look,
    followed,
    look_of,
    next_look,
    not_built,
    unfollowed,
    unreachable,
)
from upwell.policy.builds.plan import proxies_of
from upwell.policy.builds.requests import BuildRefusedError, RequestedBuild, requested_build
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.builds.index import BuildIndex
from upwell.reconcilers.builds.logins import BuildLogins
from upwell.store.interface import AlreadyExistsError, ConflictError, NotFoundError
from upwell.store.retry import update_with_retry

log = logging.getLogger(__name__)

_WORKERS = 2
"""Repositories that are asked at once: no crowd of looks meets a host."""


@dataclass(frozen=True, slots=True)
class _Plan:
    """The next look, and what it is a look at."""

    what: tuple[str, ...]
    at: float
    """Seconds, as the injected clock of waits has them."""


class Commits:
    """Reconciles the commits that BuildConfigs follow."""

    def __init__(  # noqa: PLR0913 - the ports and the clocks
        self,
        index: BuildIndex,
        logins: BuildLogins,
        lookup: CommitLookup,
        *,
        authority: Authority,
        interval: timedelta,
        clock: Callable[[], datetime],
        elapsed: Callable[[], float],
        chance: Callable[[], float] = random.random,
    ) -> None:
        """`interval` is that of BuildConfigs that name none."""
        self._cache = index.cache
        self._store = index.cache.store
        self._index = index
        self._logins = logins
        self._lookup = lookup
        self._authority = authority
        self._interval = interval
        self._clock = clock
        self._elapsed = elapsed
        self._chance = chance
        self._plans: dict[ObjectKey, _Plan] = {}

    async def reconcile(self, key: ObjectKey) -> Result:
        """Look at the repository if it is time to, and start a build of a new commit."""
        await self._cache.ready(BuildConfig)
        config = self._cache.get(BuildConfig, key.namespace, key.name)
        look = look_of(config, self._interval) if config is not None else None
        if config is None or look is None or config.is_deleting:
            self._plans.pop(key, None)
            if config is not None and find(config.status.conditions, FOLLOWED) is not None:
                await self._record(config, None, "")
            return Result()
        if (why := unfollowed(config)) is not None:
            self._plans.pop(key, None)
            await self._record(config, why, "")
            return Result()
        now, what = self._elapsed(), _what(config, look)
        plan = self._plans.get(key)
        if plan is None and find(config.status.conditions, FOLLOWED) is not None:
            plan = _Plan(what, now + first_look(look, self._chance()))
        if plan is not None and plan.what == what and plan.at > now:
            self._plans[key] = plan
            return Result(requeue_after=plan.at - now)
        condition, commit = await self._look(config, look)
        await self._record(config, condition, commit)
        wait = next_look(look, self._chance())
        self._plans[key] = _Plan(what, now + wait)
        return Result(requeue_after=wait)

    async def _look(self, config: BuildConfig, look: CommitLook) -> tuple[Condition, str]:
        """Return what became of a look, and the commit to remember; empty: none."""
        if refusal := await self._authority.refusal(config):
            return unreachable(refusal), ""
        try:
            head = await self._lookup.commit_of(await self._source(config))
        except (GitError, BuildError) as error:
            return unreachable(str(error)), ""
        context = await self._index.context_of(config.key)
        present = context.configs.get(config.key)
        if present is None or _what(present, look) != _what(config, look):
            raise ConflictError(config.key, "it has changed during the look at its repository")
        decision = decide_commit(present, context.builds(config.key), head)
        if isinstance(decision, AwaitBuild):
            return followed(present, head, look), ""
        if isinstance(decision, BuildCommit):
            if waits := context.unapproved(present):
                return not_built(head, "; ".join(waits)), ""
            images = context.followed(present)
            asked = RequestedBuild(commit_request(head))
            earlier = context.earlier(config.key)
            try:
                build = requested_build(present, context.streams, earlier, images, asked)
            except BuildRefusedError as error:
                return not_built(head, str(error)), ""
            await self._start(build, head)
        return followed(present, head, look), head

    async def _source(self, config: BuildConfig) -> GitSource:
        """Return the repository with its login; raises BuildError."""
        git = config.spec.source.git
        if git is None:
            raise GitError("its source is no git repository")
        login = await self._logins.of_source(config, git.uri)
        source = GitSource(git.uri, git.ref or "", proxies=proxies_of(config))
        return source.with_login(login)

    async def _start(self, build: Build, commit: str) -> None:
        try:
            started = await self._store.create(build)
        except AlreadyExistsError as error:
            # Somebody started a build that the cache has not yet: it may be of this very commit.
            with suppress(NotFoundError):
                there = await self._store.get(Build, build.namespace, build.name)
                await self._cache.wait_for(there)
            raise ConflictError(build.key) from error
        log.info("build of a new commit", extra={"key": str(started.key), "commit": commit})
        await self._cache.wait_for(started)

    async def _record(self, config: BuildConfig, condition: Condition | None, commit: str) -> None:
        """Write the condition, None: that there is none, and a commit; nothing that stands so."""

        async def write(config: BuildConfig) -> BuildConfig:
            status = config.status
            known = status.followed_commit
            if commit and (known is None or known.commit != commit):
                known = FollowedCommit(commit=commit, time=self._clock())
            conditions = without(status.conditions, FOLLOWED)
            if condition is not None:
                observed = condition.model_copy(update={"observed_generation": config.generation})
                conditions = set_condition(status.conditions, observed, self._clock())
            update = {"conditions": conditions, "followed_commit": known}
            changed = status.model_copy(update=update)
            if changed == status:
                return config
            return await self._store.update_status(config.with_status(changed))

        with suppress(NotFoundError):
            await update_with_retry(
                lambda: self._store.get(BuildConfig, config.namespace, config.name), write
            )


def _what(config: BuildConfig, look: CommitLook) -> tuple[str, ...]:
    """Return what a look depends on: a change of it is a reason to look at once."""
    git, secret = config.spec.source.git, config.spec.source.source_secret
    place = (git.uri, git.ref or "") if git is not None else ()
    return (config.uid, *place, secret.name if secret is not None else "", str(look.interval))


def commit_controller(commits: Commits, index: BuildIndex) -> Controller:
    """Return the controller that looks for commits."""
    return Controller("commits", commits, index.cache, (Watch(BuildConfig),), workers=_WORKERS)
