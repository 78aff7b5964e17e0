"""Tokens of the embedded registry at another replica than the one that has made them."""

import pytest

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.codec import decode_as
from upwell.app.access import build_runs
from upwell.machine.clock import now
from upwell.policy.access.roles import REPOSITORIES, Action
from upwell.server.auth.principals import Principal
from upwell.server.auth.registry_access import RegistryAccess, RegistryAccessTokens
from upwell.server.auth.tokens import RegistryTokens, Tokens
from upwell.store.memory import MemoryStore

KEY = b"k" * 32
HALF_DAY = 12 * 3600
TAG = "inputs-1"


async def running_build(store: MemoryStore, name: str = "web-1") -> Build:
    made = await store.create(
        decode_as(Build, {"metadata": {"namespace": "shop", "name": name}, "spec": {}})
    )
    return await with_phase(store, made, BuildPhase.RUNNING)


async def with_phase(store: MemoryStore, build: Build, phase: BuildPhase) -> Build:
    status = build.status.model_copy(update={"phase": phase})
    return await store.update_status(build.model_copy(update={"status": status}))


def replica(store: MemoryStore, key: bytes = KEY) -> RegistryTokens:
    async def runs(build: str, uid: str) -> bool:
        return await build_runs(store, build, uid)

    return RegistryTokens(key, runs)


async def principal(store: MemoryStore, token: str, key: bytes = KEY) -> Principal | None:
    """Return whose token it is, as another replica says."""
    return await Tokens(store, now, (), replica(store, key)).principal(token)


def may(user: Principal, verb: str, repository: str) -> bool:
    return user.may(Action(verb, REPOSITORIES, repository.partition("/")[0], repository))


async def test_a_build_of_one_replica_pushes_to_any_until_it_ends() -> None:
    store = MemoryStore(now)
    build = await running_build(store)
    bases = {f"upstream/registry.example/team/base-{number}" for number in range(99)}
    with replica(store).of_build("shop/web-1", bases, "shop/web", TAG, build.uid) as token:
        found = await principal(store, token)
        assert found is not None
        assert (found.username, found.inputs_tag) == ("system:build:shop/web-1", TAG)
        assert all(may(found, "pull", name) for name in (*bases, "shop/web"))
        assert may(found, "push", "shop/web")
        assert not may(found, "push", min(bases))
        assert not may(found, "pull", "bank/secret")
    assert await principal(store, token) == found  # its Pod runs on when a leader dies

    build = await with_phase(store, build, BuildPhase.COMPLETE)
    assert await principal(store, token) is None
    await store.delete(Build, "shop", "web-1")
    assert await principal(store, token) is None
    await running_build(store)  # another one of its name
    assert await principal(store, token) is None


async def test_nobody_without_the_key_makes_one() -> None:
    store = MemoryStore(now)
    build = await running_build(store)
    with replica(store).of_build("shop/web-1", (), "shop/web", uid=build.uid) as token:
        assert await principal(store, token, b"o" * 32) is None
        assert await principal(store, token.replace(":shop/web-1:", ":shop/web-2:")) is None
        assert await principal(store, token + "A") is None


@pytest.mark.parametrize(
    "token",
    ["upwell_system:pull_", "upwell_system:push:shop", "upwell_system:build:shop/web-1:0"],
)
async def test_the_mere_beginning_of_a_token_is_nobody_s(token: str) -> None:
    assert await principal(MemoryStore(now), token) is None


@pytest.mark.parametrize("made", [0.0, HALF_DAY - 1.0])
async def test_a_token_of_the_server_itself_ends_within_a_day(made: float) -> None:
    time = [made]
    tokens = RegistryTokens(KEY, clock=lambda: time[0])
    one, pushing = tokens.to_pull(), tokens.to_push("shop")
    assert tokens.to_pull() == one  # so that a client that keeps logins by it keeps one
    for later, is_known in ((0, True), (HALF_DAY, True), (2 * HALF_DAY, False)):
        time[0] = made + later
        for token in (one, pushing):
            assert (await RegistryTokens(KEY, clock=lambda: time[0]).principal(token) is None) is (
                not is_known
            )


def test_replicas_open_the_tokens_that_registry_clients_got_at_each_other() -> None:
    time = [1_800_000_000.0]
    one, two = (RegistryAccessTokens(lambda: time[0], KEY) for _ in range(2))
    access = RegistryAccess("login", {"pull": frozenset({"shop/app"}), "push": frozenset()})
    token = one.issue(access)
    assert two.open(token) == access
    assert RegistryAccessTokens(lambda: time[0], b"o" * 32).open(token) is None
    time[0] += 300
    assert two.open(token) is None
