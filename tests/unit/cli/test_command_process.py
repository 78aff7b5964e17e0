"""Commands that are forked are as those that are started by themselves."""

import asyncio
import os
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from tests.support.cli.command_process import run_upwell
from tests.support.installation.installation import holders_of, until

SECONDS = 120
_TEMPLATE = """\
apiVersion: template.openshift.io/v1
kind: Template
metadata: {name: app}
parameters: [{name: TEXT, required: true}]
objects: [{apiVersion: v1, kind: ConfigMap, metadata: {name: app}, data: {text: "${TEXT}"}}]
"""


@pytest.mark.parametrize(
    ("arguments", "text", "server", "code"),
    [
        (("nothing",), "", "", 2),
        (("get", "pods"), "", "http://127.0.0.1:9", 4),
        (("process", "--local", "-p", "TEXT=ü", "-f", "-"), _TEMPLATE, "", 0),
        (("process", "--local", "-f", "template.yaml"), "", "", 0),
    ],
)
def test_code_output_and_input_are_those_of_a_process(
    tmp_path: Path, arguments: tuple[str, ...], text: str, server: str, code: int
) -> None:
    big = _TEMPLATE.replace("required: true", f"value: {'x' * 500_000}")
    (tmp_path / "template.yaml").write_text(big)
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "LC_ALL": "C.UTF-8"}
    environment |= {"UPWELL_SERVER": server} if server else {}
    started = subprocess.run(
        [sys.executable, "-m", "upwell", *arguments],
        check=False,
        capture_output=True,
        text=True,
        input=text,
        timeout=SECONDS,
        cwd=tmp_path,
        env=environment,
    )
    forked = run_upwell(
        *arguments, text=text, seconds=SECONDS, folder=tmp_path, environment=environment
    )
    assert (forked.returncode, forked.stdout, forked.stderr) == (
        code,
        started.stdout,
        started.stderr,
    )


async def test_commands_run_at_the_same_time_and_one_that_is_late_is_ended(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        run = partial(run_upwell, folder=tmp_path)
        late = asyncio.to_thread(run, "--server", url, "get", "pods", seconds=1)
        prompt = (asyncio.to_thread(run, "--version", seconds=SECONDS) for _ in range(4))
        ended, *others = await asyncio.gather(late, *prompt, return_exceptions=True)
        assert isinstance(ended, subprocess.TimeoutExpired)
        assert [getattr(one, "returncode", one) for one in others] == [0] * 4
        await until(partial(asyncio.to_thread, holders_of, tmp_path), [].__eq__)
