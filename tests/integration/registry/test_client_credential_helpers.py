"""Credential helpers as real child processes: shell scripts on a PATH of their own."""

import asyncio
import os
from contextlib import suppress
from pathlib import Path

import pytest

from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.errors import InvalidCredentialsError
from upwell.registry.interface import Credential


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    return tmp_path


def install(programs: Path, name: str, script: str) -> None:
    path = programs / f"docker-credential-{name}"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


async def test_the_registry_goes_in_and_the_login_comes_out(programs: Path) -> None:
    install(
        programs,
        "echo",
        """read server || true
        printf '{"ServerURL":"%s","Username":"%s","Secret":"s3cret"}' "$server" "$1 $server" """,
    )
    helpers = CredentialHelpers()
    assert await helpers.get("echo", "quay.io") == Credential("get quay.io", "s3cret")
    found = await helpers.get("echo", "docker.io")
    assert found == Credential("get https://index.docker.io/v1/", "s3cret")


async def test_the_user_named_token_holds_an_identity_token(programs: Path) -> None:
    install(programs, "id", """printf '{"Username":"<token>","Secret":"refresh"}'""")
    found = await CredentialHelpers().get("id", "quay.io")
    assert found == Credential(identity_token="refresh")


async def test_a_helper_that_holds_nothing(programs: Path) -> None:
    install(programs, "none", "echo credentials not found in native keychain; exit 1")
    assert await CredentialHelpers().get("none", "quay.io") is None


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("echo hunter2; echo hunter2 >&2; exit 3", "exit code 3"),
        ("echo hunter2", "Username and Secret"),
        ("""echo '{"Username": "hunter2"}'""", "Username and Secret"),
        ("""echo '{"Username": "u", "Secret": ["hunter2"]}'""", "not text"),
        ("""echo '["hunter2"]'""", "Username and Secret"),
        ("yes hunter2", "printed over"),
        ("yes hunter2 >&2 & sleep 60", "no answer"),
        ("sleep 60 &", "no answer"),
    ],
)
async def test_helpers_that_fail_are_named_and_not_quoted(
    programs: Path, script: str, why: str
) -> None:
    install(programs, "bad", script)
    with pytest.raises(InvalidCredentialsError, match=why) as caught:
        await CredentialHelpers(timeout=0.5).get("bad", "quay.io")
    assert "docker-credential-bad" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "../../bin/sh", "a b", "-x", "missing-from-path"])
async def test_names_that_are_no_helper(programs: Path, name: str) -> None:
    install(programs, "sound", "echo")
    with pytest.raises(InvalidCredentialsError):
        await CredentialHelpers().get(name, "quay.io")


async def test_an_answer_is_kept_for_a_while_and_asked_for_once(programs: Path) -> None:
    count = programs / "count"
    install(
        programs,
        "slow",
        f"""echo x >> {count}; sleep 0.1; echo '{{"Username":"u","Secret":"s"}}'""",
    )
    now = 0.0
    helpers = CredentialHelpers(keep=60.0, clock=lambda: now)
    await asyncio.gather(*(helpers.get("slow", "quay.io") for _ in range(5)))
    assert len(count.read_text().split()) == 1
    now = 60.0
    await helpers.get("slow", "quay.io")
    assert len(count.read_text().split()) == 2


async def test_a_cancelled_caller_leaves_no_process(programs: Path) -> None:
    pid_file = programs / "pid"
    install(
        programs, "hang", f"sleep 1h & echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; wait"
    )
    asking = asyncio.create_task(CredentialHelpers().get("hang", "quay.io"))
    async with asyncio.timeout(60):
        while not pid_file.exists():  # noqa: ASYNC110 - another process writes it
            await asyncio.sleep(0.01)
    asking.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await asking
        while living(int(pid_file.read_text())):  # noqa: ASYNC110 - the kernel ends them
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("steps", range(6))
async def test_a_caller_cancelled_while_the_helper_starts_ends_at_once(
    programs: Path, steps: int
) -> None:
    install(programs, "hang", "sleep 1h & wait")
    asking = asyncio.create_task(CredentialHelpers().get("hang", "quay.io"))
    for _ in range(steps):
        await asyncio.sleep(0)
    asking.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await asking


def living(group: int) -> list[str]:
    """List the processes of a group that still run; one that is dead may await its reaping."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, _, process_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(process_group) == group and state != "Z":
                found.append(stat.parent.name)
    return found
