"""Looks at repositories, and the builds that they start."""

from datetime import timedelta

import pytest
from tests.support.builds.build_namespace import NAMESPACE, BuildNamespace
from tests.support.builds.remote_commits import FakeCommits

from upwell.api.builds.build import Build, BuildRequest, BuildTriggerCause, WebHookCause
from upwell.api.builds.config import PAUSED_ANNOTATION
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.conditions import find
from upwell.api.core import Secret
from upwell.api.meta import Condition, LocalReference, ObjectKey, ObjectMeta
from upwell.policy.builds.commits.following import COMMITS_ANNOTATION, FOLLOWED, NEW_COMMIT
from upwell.reconcilers.authority import Authority
from upwell.reconcilers.builds.commits import Commits
from upwell.reconcilers.builds.logins import BuildLogins

URI = "https://git.test/shop.git"
ONE, TWO = "1" * 40, "2" * 40
KEY = ObjectKey("BuildConfig", NAMESPACE, "app")
INTERVAL = timedelta(minutes=5)


class FollowedRepository:
    """A BuildConfig that follows `main`, looked at when a test says so."""

    def __init__(self) -> None:
        self.setup = BuildNamespace()
        self.lookup = FakeCommits({URI: ONE})
        self.seconds = 0.0
        self.commits = self.started()

    def started(self) -> Commits:
        """Return the reconciler of a process that has just begun."""
        return Commits(
            self.setup.index,
            BuildLogins(self.setup.store, "registry.internal"),
            self.lookup,
            authority=Authority(None, "registry.internal"),
            interval=INTERVAL,
            clock=self.setup.clock,
            elapsed=lambda: self.seconds,
            chance=lambda: 0.5,
        )

    async def make(self, annotation: str = "true", **git: str) -> None:
        await self.setup.stream("base", "old")
        config = await self.setup.config(
            "app", "base:latest", source={"git": {"uri": URI, "ref": "main", **git}}
        )
        annotations = {COMMITS_ANNOTATION: annotation} if annotation else {}
        await self.setup.store.update(config.with_metadata(annotations=annotations))

    async def build_first(self) -> None:
        """Build the first commit, as the BuildConfig's own trigger has it."""
        await self.setup.reconcile("app")
        await self.fetched("app-1", ONE)
        await self.setup.end("app-1")

    async def fetched(self, name: str, commit: str) -> None:
        build = await self.setup.store.get(Build, NAMESPACE, name)
        revision = {"type": "Git", "git": {"commit": commit}}
        status = type(build.status).model_validate({"phase": "Running", "revision": revision})
        await self.setup.store.update_status(build.with_status(status))

    async def look(self) -> float | None:
        """Let the time to the next look pass, and look; return the seconds to the next one."""
        self.seconds += INTERVAL.total_seconds()
        self.setup.clock.advance(INTERVAL.total_seconds())
        return (await self.commits.reconcile(KEY)).requeue_after

    async def condition(self) -> Condition | None:
        return find((await self.setup.get("app")).status.conditions, FOLLOWED)


@pytest.fixture
async def repository() -> FollowedRepository:
    repository = FollowedRepository()
    await repository.make()
    await repository.build_first()
    await repository.look()
    return repository


async def test_a_new_commit_is_built_once(repository: FollowedRepository) -> None:
    repository.lookup.heads[URI] = TWO
    assert await repository.look() == INTERVAL.total_seconds()
    await repository.look()

    builds = await repository.setup.builds("app")
    assert [one.revision.commit for one in builds] == [ONE, TWO]
    assert [cause.message for cause in builds[1].spec.triggered_by] == [NEW_COMMIT]
    assert not builds[1].spec.forced
    condition = await repository.condition()
    assert condition is not None
    assert (condition.status, condition.reason) == ("True", "Followed")
    assert condition.message == "main is at 222222222222; it is looked at every 5m"


async def test_a_branch_that_stays_costs_no_write(repository: FollowedRepository) -> None:
    version = (await repository.setup.get("app")).resource_version
    await repository.look()
    assert (await repository.setup.get("app")).resource_version == version
    assert len(repository.lookup.asked) == 2


async def test_it_is_not_asked_before_its_time(repository: FollowedRepository) -> None:
    repository.seconds += 100
    waits = (await repository.commits.reconcile(KEY)).requeue_after
    assert waits == 200
    assert len(repository.lookup.asked) == 1


async def test_a_start_asks_all_over_a_while(repository: FollowedRepository) -> None:
    repository.lookup.heads[URI] = TWO
    repository.commits = repository.started()
    assert (await repository.commits.reconcile(KEY)).requeue_after == 150
    assert len(repository.lookup.asked) == 1
    repository.seconds += 150
    await repository.commits.reconcile(KEY)
    assert await repository.setup.names("app") == ["app-1", "app-2"]


async def test_a_webhooks_commit_is_not_built_again(repository: FollowedRepository) -> None:
    repository.lookup.heads[URI] = TWO
    revision = SourceRevision.of_git(GitSourceRevision(commit=TWO))
    cause = BuildTriggerCause(message="Generic WebHook", generic_web_hook=WebHookCause())
    pushed = BuildRequest(revision=revision, triggered_by=(cause,))
    await repository.setup.actions.instantiate(NAMESPACE, "app", pushed)
    await repository.look()
    assert await repository.setup.names("app") == ["app-1", "app-2"]


async def test_what_a_killed_look_has_started_is_not_started_again(
    repository: FollowedRepository,
) -> None:
    before = await repository.setup.get("app")
    repository.lookup.heads[URI] = TWO
    await repository.look()
    after = await repository.setup.get("app")
    killed = before.with_metadata(resource_version=after.resource_version)
    await repository.setup.store.update_status(killed)
    repository.commits = repository.started()
    await repository.look()
    await repository.look()
    assert await repository.setup.names("app") == ["app-1", "app-2"]


async def test_a_repository_that_cannot_be_asked_is_told_of(repository: FollowedRepository) -> None:
    del repository.lookup.heads[URI]
    assert await repository.look() == INTERVAL.total_seconds()
    condition = await repository.condition()
    assert condition is not None
    assert (condition.status, condition.reason) == ("False", "RepositoryUnreachable")
    assert URI in condition.message
    repository.lookup.heads[URI] = TWO
    await repository.look()
    assert await repository.setup.names("app") == ["app-1", "app-2"]


async def test_a_paused_config_is_built_once_it_goes_on(repository: FollowedRepository) -> None:
    setup, config = repository.setup, await repository.setup.get("app")
    paused = {**config.annotations, PAUSED_ANNOTATION: "true"}
    await setup.store.update(config.with_metadata(annotations=paused))
    repository.lookup.heads[URI] = TWO
    assert await repository.look() is None
    condition = await repository.condition()
    assert condition is not None
    assert condition.reason == "Paused"
    config = await setup.get("app")
    await setup.store.update(config.with_metadata(annotations={COMMITS_ANNOTATION: "true"}))
    await repository.look()
    await repository.look()
    assert await setup.names("app") == ["app-1", "app-2"]


async def test_nothing_is_looked_at_without_the_annotation(repository: FollowedRepository) -> None:
    config = await repository.setup.get("app")
    await repository.setup.store.update(config.with_metadata(annotations={}))
    assert await repository.look() is None
    assert len(repository.lookup.asked) == 1
    assert await repository.condition() is None


async def test_it_is_asked_with_the_login_of_its_secret() -> None:
    repository = FollowedRepository()
    secret = Secret(
        metadata=ObjectMeta(name="login", namespace=NAMESPACE),
        data=Secret.encode_values({"username": b"ann", "password": b"correct-horse"}),
    )
    await repository.setup.store.create(secret)
    await repository.make()
    config = await repository.setup.get("app")
    source = config.spec.source.model_copy(update={"source_secret": LocalReference(name="login")})
    spec = config.spec.model_copy(update={"source": source})
    await repository.setup.store.update(config.model_copy(update={"spec": spec}))
    await repository.look()
    [asked] = repository.lookup.asked
    assert (asked.uri, asked.ref, asked.username) == (URI, "main", "ann")
    assert asked.password == "correct-horse"
