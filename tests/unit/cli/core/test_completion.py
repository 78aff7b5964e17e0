"""Completion in a shell: kinds, and names that the server tells in time."""

import asyncio
import os
import pty
import select
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner
from tests.unit.cli.conftest import FakeClient

from upwell.api.codec import decode
from upwell.api.core import Namespace
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.requests.projects import Project
from upwell.cli import main
from upwell.cli.core import completion
from upwell.cli.core.connection import Session
from upwell.store.interface import UnavailableError

POD = {"containers": [{"name": "web", "image": "a"}, {"name": "log", "image": "b"}]}
LABELS = {"app": "shop"}
OBJECTS: Sequence[dict[str, Any]] = (
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "selector": {"matchLabels": LABELS},
            "template": {"metadata": {"labels": LABELS}, "spec": POD},
        },
    },
    {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "site"}, "spec": {}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "shop-1"}, "spec": POD},
    {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": "shop", "namespace": "other"},
    },
    {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Freeze",
        "metadata": {"name": "winter"},
        "spec": {"reason": "x"},
    },
    {
        "apiVersion": "upwell.dev/v1alpha1",
        "kind": "Pipeline",
        "metadata": {"name": "shop"},
        "spec": {"stages": [{"name": name} for name in ("dev", "staging", "production")]},
    },
)


@pytest.fixture
async def filled(client: FakeClient) -> FakeClient:
    for one in OBJECTS:
        found = decode(one)
        place = found.namespace or ("default" if found.KIND.namespaced else None)
        await client.create(found.with_metadata(namespace=place))
    for name in ("default", "other"):
        await client.create(Project.of(Namespace(metadata=ObjectMeta(name=name))))
    return client


def completed(client: FakeClient, line: str) -> list[str]:
    """Return what is completed at the end of a line, after `upwell `."""
    *words, last = line.split(" ")
    session = Session(connect=lambda _server, _token, _authority: client)
    found = ShellComplete(main, {"obj": session}, "upwell", "_UPWELL_COMPLETE")
    return [one.value for one in found.get_completions(words, last)]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    done = CliRunner().invoke(main, ["completion", shell])
    assert done.exit_code == 0, done.output
    assert f"_UPWELL_COMPLETE={shell}_complete" in done.stdout


def test_bash_completes_what_is_told(tmp_path: Path) -> None:
    program = tmp_path / "upwell"
    told = ("plain,deployment/shop", "plain,deployment/site")
    program.write_text("#!/bin/sh\n" + "".join(f"echo {line}\n" for line in told))
    program.chmod(0o755)
    script = CliRunner().invoke(main, ["completion", "bash"]).stdout
    asked = "COMP_WORDS=(upwell get deployment/s) COMP_CWORD=2; _upwell_completion upwell"
    run = subprocess.run(
        ["bash", "-c", f'{script}\n{asked}\nprintf "%s\\n" "${{COMPREPLY[@]}}"'],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert run.stdout.split() == ["deployment/shop", "deployment/site"]


def test_zsh_completes_what_is_told(tmp_path: Path) -> None:
    """Type at a terminal, as zsh completes nowhere else."""
    completing_shell("zsh", tmp_path, "plain", "deployment/shop", "_")
    (tmp_path / ".zshrc").write_text(
        "PS1='ready> '; unsetopt zle_bracketed_paste; autoload -Uz compinit; compinit -u -D\n"
        "source ./script\nprint rc is read\n"
    )
    leader, follower = pty.openpty()
    environment = {"PATH": f"{tmp_path}:{os.environ['PATH']}", "ZDOTDIR": str(tmp_path)}
    shell = subprocess.Popen(
        ["zsh", "--interactive", "--no-global-rcs"],
        stdin=follower,
        stdout=follower,
        stderr=follower,
        cwd=tmp_path,
        env={**environment, "TERM": "dumb"},
        start_new_session=True,
    )
    try:
        shown = read_until(leader, "ready> ")
        assert "rc is read" in shown
        os.write(leader, b"upwell get deployment/s\t")
        read_until(leader, "deployment/shop")
    finally:
        shell.kill()
        shell.wait()
        os.close(leader)
        os.close(follower)


def read_until(terminal: int, expected: str) -> str:
    """Return what a terminal shows once that is there; fails after a minute."""
    shown, end = "", time.monotonic() + 60
    while expected not in shown:
        ready, _, _ = select.select([terminal], [], [], max(0.0, end - time.monotonic()))
        assert ready, f"only {shown!r}"
        shown += os.read(terminal, 4096).decode(errors="replace")
    return shown


def test_fish_completes_what_is_told(tmp_path: Path) -> None:
    completing_shell("fish", tmp_path, "plain,deployment/shop\tserves", "plain,deployment/site")
    done = subprocess.run(
        ["fish", "--no-config", "-c", "source script; complete -C 'upwell get deployment/s'"],
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}", "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout.splitlines() == ["deployment/shop\tserves", "deployment/site"]


def completing_shell(shell: str, folder: Path, *answer: str) -> None:
    """Put a program that answers into a folder, and a shell's script, in the file `script`."""
    if shutil.which(shell) is None:
        pytest.skip(f"needs {shell}: apt install {shell}")
    program = folder / "upwell"
    lines = "".join(f"{line}\n" for line in answer)
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{lines}END\n")
    program.chmod(0o755)
    (folder / "script").write_text(CliRunner().invoke(main, ["completion", shell]).stdout)


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("get dep", ["deployments", "deploymentconfigs"]),
        ("get deployment ", ["shop", "site"]),
        ("get deployment sh", ["shop"]),
        ("get deploy shop ", ["site"]),
        ("describe deployment/s", ["deployment/shop", "deployment/site"]),
        ("-n other get bc/", ["bc/shop"]),
        ("start-build -n other ", ["shop"]),
        ("start-build ", []),
        ("rollout undo d", ["deployments", "deploymentconfigs", "daemonsets"]),
        ("set env deployment/si", ["deployment/site"]),
        ("get nothing/", []),
        ("logs sh", ["shop-1"]),
        ("freeze lift ", ["winter"]),
        ("promote --stage ", ["dev", "staging", "production"]),
        ("approve shop-1 --stage p", ["production"]),
        ("exec shop-1 -c ", ["web", "log"]),
        ("logs deployment/shop -c l", ["log"]),
        ("logs deployment/none -c ", []),
        ("exec -c ", []),
        ("get -n ", ["default", "other"]),
        ("-n ot", ["other"]),
        ("get builds -n ot", ["other"]),
        ("project ", ["default", "other"]),
        ("create configmap ", []),
        ("cp sh", ["shop-1:"]),
        ("cp default/", ["default/shop-1:"]),
        ("-n other cp ", [""]),
        ("cp a.txt default/sh", ["default/shop-1:"]),
        ("rsync deployment/s", ["deployment/shop:", "deployment/site:"]),
        ("rsync ./sh", ["./sh"]),
        ("cp /sh", ["/sh"]),
        ("cp shop-1:/et", ["shop-1:/et"]),
        ("cp nothing", ["nothing"]),
    ],
)
async def test_names_are_completed(filled: FakeClient, line: str, found: list[str]) -> None:
    assert await asyncio.to_thread(completed, filled, line) == found


async def test_one_small_request_is_sent(filled: FakeClient) -> None:
    await asyncio.to_thread(completed, filled, "-n other get bc shop ")
    assert filled.asked_names == [("buildconfigs", "other")]
    filled.asked_names.clear()
    for line in ("get ", "roll", "get --", "create configmap "):
        await asyncio.to_thread(completed, filled, line)
    assert filled.asked_names == []


async def test_without_an_answer_in_time_there_are_no_names(
    filled: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def hang(*_: object) -> Sequence[str]:
        await asyncio.Event().wait()
        return []

    async def refuse(kind: type[Resource], *_: object) -> Sequence[str]:
        raise UnavailableError(f"no {kind.KIND.plural}")

    monkeypatch.setattr(completion, "_SECONDS", 0.05)
    for names in (hang, refuse):
        monkeypatch.setattr(filled, "names", names)
        assert await asyncio.to_thread(completed, filled, "get deployment ") == []
        assert "deployments" in await asyncio.to_thread(completed, filled, "get ")
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    "forged",
    [
        "a\nplain,b",
        "a\rb",
        "\x1b]0;title\x07",
        "a,b",
        "$(id)",
        "-rf",
        "../a",
        "a b",
        "a\n",
        "",
        "é",
    ],
)
async def test_a_server_gives_a_shell_names_alone(
    filled: FakeClient, monkeypatch: pytest.MonkeyPatch, forged: str
) -> None:
    told = [forged, "shop", "app.v1", "sha256:0123"]

    async def names(*_: object) -> Sequence[str]:
        return told

    async def get(*_: object) -> Resource:
        containers = [{"name": one} for one in told]
        return decode({**OBJECTS[2], "spec": {"containers": containers}})

    monkeypatch.setattr(filled, "names", names)
    monkeypatch.setattr(filled, "get", get)
    found = await asyncio.to_thread(completed, filled, "get image ")
    assert found == ["shop", "app.v1", "sha256:0123"]
    found = await asyncio.to_thread(completed, filled, "exec shop-1 -c ")
    assert forged not in found
