"""Tokens in real instances: in memory, for their user alone, made anew in time, gone with them."""

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.workload.podman_home import Workload
from tests.support.workload.waiting import eventually

from upwell.api.values.security_context import ContainerSecurity
from upwell.machine.clock import now
from upwell.workload.instance_spec import Files, InstanceMount, InstanceSpec, TokenFile
from upwell.workload.interface import State
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.tokens.issue import BoundInstance, IssuedToken, TokenRefusedError
from upwell.workload.podman.volumes.mounts import mounts_below

NAME = "web-1-a"
TOKEN = TokenFile("deep/token", "reader", seconds=600)
LIFE = timedelta(hours=1)


class TokensInTurn:
    """Makes numbered tokens, each for as long as the test says, and remembers who asked."""

    def __init__(self, *lives: timedelta) -> None:
        self.lives = list(lives)
        self.asked: list[BoundInstance] = []
        self.refused = False

    async def issue(self, instance: BoundInstance, wanted: TokenFile) -> IssuedToken:
        if self.refused:
            raise TokenRefusedError(f"{wanted.account} is not for {instance.name}")
        self.asked.append(instance)
        life = self.lives.pop(0) if self.lives else LIFE
        return IssuedToken(f"very-secret-{len(self.asked)}", now() + life)


def reading(workload: Workload, token: TokenFile = TOKEN, *users: int) -> InstanceSpec:
    """Return an instance whose containers, of these users, have a volume with a token."""
    mount = (InstanceMount("v", "/v", read_only=True),)
    containers = [
        replace(
            workload.container("sleep", "600", name=f"c{number}"),
            mounts=mount,
            security=ContainerSecurity(user=user),
        )
        for number, user in enumerate(users or (1000,))
    ]
    files = Files({"note": b"public"}, 0o440, {"note": 0o444}, (token,))
    return replace(workload.spec(*containers), volumes={"v": files})


async def printed(runtime: PodmanRuntime, *command: str, container: str = "") -> str:
    """Return what a command prints in the instance, once it succeeds."""

    async def run() -> tuple[int, bytes]:
        return await runtime.execute(NAME, ("/bin/busybox", *command), container)

    _, output = await eventually(run, lambda found: found[0] == 0)
    return output.decode().strip()


def files_with(text: bytes, *roots: Path) -> Sequence[Path]:
    """Return the files below folders that hold a text."""
    found = [path for root in roots for path in root.rglob("*") if path.is_file()]
    return [path for path in found if text in path.read_bytes()]


async def test_a_token_is_its_users_in_memory_and_gone_with_the_instance(
    settings: PodmanSettings, workload: Workload
) -> None:
    issuer = TokensInTurn()
    settings = replace(settings, issue_token=issuer.issue)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(reading(workload))
        assert await printed(runtime, "cat", "/v/deep/token") == "very-secret-1"
        assert await printed(runtime, "stat", "-c", "%a %u", "/v/deep/token") == "600 1000"
        assert await printed(runtime, "cat", "/v/note") == "public"
        [asked] = issuer.asked
        assert runtime.is_there(NAME, asked.uid)
        assert not runtime.is_there(NAME, "another")
        assert files_with(b"very-secret", settings.data_dir) == []
        [place] = mounts_below(settings.tokens_root)
        assert [mount.stat().st_mode & 0o777 for mount in (place.parent, place.parent.parent)] == [
            0o700,
            0o700,
        ]

        await runtime.stop(NAME, 0)
        assert not runtime.is_there(NAME, asked.uid)
        assert not settings.tokens_root.exists()


async def test_a_token_is_made_anew_in_time_by_who_runs_then(
    settings: PodmanSettings, workload: Workload
) -> None:
    issuer = TokensInTurn(timedelta(seconds=2), timedelta(seconds=3600), timedelta(seconds=0))
    settings = replace(settings, issue_token=issuer.issue)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(reading(workload))
        [before] = await runtime.instances()

        async def token() -> str:
            return await printed(runtime, "cat", "/v/deep/token")

        await eventually(token, lambda text: text == "very-secret-2")
        [after] = await runtime.instances()
        assert [one.id for one in after.containers] == [one.id for one in before.containers]
        assert await printed(runtime, "stat", "-c", "%a %u", "/v/deep/token") == "600 1000"
    record = settings.data_dir / "instances" / NAME / "record.json"
    noted = json.loads(record.read_text())
    for one in noted["tokens"]:
        one["renew_at"] = "2020-01-01T00:00:00+00:00"  # the server was away
    record.write_text(json.dumps(noted))

    async with PodmanRuntime.open(settings) as successor:

        async def renewed() -> str:
            return await printed(successor, "cat", "/v/deep/token")

        await eventually(renewed, lambda text: text not in {"very-secret-1", "very-secret-2"})
        assert {one.uid for one in issuer.asked} == {issuer.asked[0].uid}
        assert successor.is_there(NAME, issuer.asked[0].uid)
        await successor.teardown()
    assert not settings.tokens_root.exists()


async def test_who_may_have_no_token_starts_only_where_it_is_optional(
    settings: PodmanSettings, workload: Workload
) -> None:
    issuer = TokensInTurn()
    issuer.refused = True
    settings = replace(settings, issue_token=issuer.issue)
    async with PodmanRuntime.open(settings) as runtime:
        with pytest.raises(TokenRefusedError, match="reader is not for"):
            await runtime.start(reading(workload))
        assert await runtime.instances() == []

        await runtime.start(reading(workload, replace(TOKEN, optional=True), 0, 1000))
        assert await printed(runtime, "cat", "/v/note", container="c1") == "public"
        assert await printed(runtime, "ls", "/v/deep") == ""
        await runtime.teardown()


async def test_users_of_one_instance_share_its_token_and_an_end_for_good_ends_it(
    settings: PodmanSettings, workload: Workload
) -> None:
    issuer = TokensInTurn()
    settings = replace(settings, issue_token=issuer.issue)
    async with PodmanRuntime.open(settings) as runtime:
        await runtime.start(reading(workload, TOKEN, 0, 1000))
        for container in ("c0", "c1"):
            shown = await printed(runtime, "cat", "/v/deep/token", container=container)
            assert shown == "very-secret-1"
        await runtime.stop(NAME, 0)

        spec = reading(workload)
        ending = replace(spec.containers[0], args=("true",))
        await runtime.start(replace(spec, containers=(ending,), once=True))

        async def states() -> list[State]:
            return [one.state for one in await runtime.instances()]

        await eventually(states, lambda found: found == [State.EXITED])

        async def is_there() -> bool:
            return runtime.is_there(NAME, issuer.asked[-1].uid)

        await eventually(is_there, lambda found: not found)
        await runtime.teardown()
