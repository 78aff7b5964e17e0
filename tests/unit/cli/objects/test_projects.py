"""`upwell projects`, `project` and `new-project` against the API."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.cli.served_commands import ServedCommands, served_commands

from upwell.cli.core.logins import logins_path, read_logins


@pytest.fixture
async def commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ServedCommands]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    async with served_commands() as made:
        yield made


async def test_a_new_project_is_used_from_then_on(commands: ServedCommands) -> None:
    said = await commands.done("new-project", "staging", "--display-name=The stage")
    listed = await commands.done("projects")
    again = await commands.refused(1, "new-project", "staging")
    namespace = await commands.object("namespace/staging")

    assert said.startswith('Now using project "staging" on server ')
    assert "  staging - The stage" in listed.splitlines()
    assert "`upwell project staging` uses it" in again
    assert namespace["metadata"]["annotations"]["openshift.io/display-name"] == "The stage"
    assert [one.namespace for one in read_logins(logins_path()).known] == ["staging"]


async def test_another_project_is_used(commands: ServedCommands) -> None:
    await commands.done("new-project", "staging", "--skip-config-write")
    unknown = await commands.refused(3, "project", "nope")
    nothing = read_logins(logins_path()).known
    await commands.done("project", "staging")
    shown = await commands.done("project", "-q")

    assert 'namespaces "nope" not found' in unknown
    assert nothing == ()
    assert [one.namespace for one in read_logins(logins_path()).known] == ["staging"]
    assert shown == "default\n"  # of the session that the test gives
