"""The sessions on docs/kubectl.md, docs/oc-to-upwell.md and docs/oc.md, run as they stand there."""

import asyncio
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.cli.command_program import upwell_program
from tests.support.installation.installation import Installation, installation
from tests.support.installation.vendor_images import publish
from tests.support.paths import ROOT
from tests.support.ports import free_port

pytestmark = pytest.mark.skipif(
    shutil.which("kubectl") is None, reason="needs kubectl (Debian package kubernetes-client)"
)

PAGES = [ROOT / "docs" / name for name in ("kubectl.md", "oc-to-upwell.md")]
SECONDS = 420
OURS = "127.0.0.1:7080"
"""Address of the server on the page."""
_FILE = re.compile(
    r"^`(?P<name>[\w.-]+)`[^\n]*:\n\n```\w+\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_SESSION = re.compile(r"^```console\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL)
_EXITS = re.compile(r" # exits (?P<code>\d+)$")


@dataclass
class PageStep:
    """A command, and the lines that its output must have, in this order."""

    command: str
    lines: list[str]

    @property
    def code(self) -> int:
        match = _EXITS.search(self.command)
        return int(match["code"]) if match else 0

    def missing(self, output: str) -> str:
        """Return the first line that the output does not have where it should."""
        rest = output.splitlines()
        for line in self.lines:
            while rest and not _is_like(line, rest[0]):
                rest.pop(0)
            if not rest:
                return line
            rest.pop(0)
        return ""


def _is_like(pattern: str, line: str) -> bool:
    """Tell whether a line is as the page says; spaces do not count, and … stands for anything."""
    parts = [re.escape("".join(part.split())) for part in pattern.split("…")]
    return re.fullmatch(".*".join(parts), "".join(line.split())) is not None


def steps_of(page: str) -> list[PageStep]:
    steps: list[PageStep] = []
    for session in _SESSION.finditer(page):
        for line in session["text"].splitlines():
            if line.startswith("$ "):
                steps.append(PageStep(line.removeprefix("$ "), []))
            else:
                steps[-1].lines.append(line)
    return steps


def script_of(steps: list[PageStep]) -> str:
    """Return a script that tells after each command which it was and how it has ended."""
    lines = ["set -m", "exec 2>&1"]
    for number, step in enumerate(steps):
        lines += [step.command, f'printf "\\n==%d:%d\\n" {number} $?']
    return "\n".join([*lines, "kill $(jobs -p) 2>/dev/null", "true", ""])


async def run(made: Installation, steps: list[PageStep]) -> list[tuple[str, int]]:
    """Return what each command has said, and its exit code."""
    script = made.folder / "session.sh"
    script.write_text(addressed(made, script_of(steps)))
    with upwell_program(made.folder / "bin", "--server", made.url) as programs:
        process = await asyncio.create_subprocess_exec(
            *("bash", str(script)),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            cwd=made.folder,
            env={
                **os.environ,
                "HOME": str(made.folder),
                "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            },
            start_new_session=True,
        )
        try:
            async with asyncio.timeout(SECONDS):
                out, _ = await process.communicate()
        finally:
            if process.returncode is None:
                process.kill()
    text = out.decode().replace(f"127.0.0.1:{made.port}", OURS)
    pieces = re.split(r"\n==\d+:(\d+)\n", text)
    return list(zip(pieces[::2], map(int, pieces[1::2]), strict=False))


def addressed(made: Installation, text: str) -> str:
    """Put this server's address and folder, and a port that is free, in the place of the page's."""
    ours = text.replace(OURS, f"127.0.0.1:{made.port}").replace("18080", str(free_port()))
    return ours.replace("/var/lib/upwell", str(made.data_dir))


async def wrong_steps(made: Installation, page: str) -> list[str]:
    """Run a page's session; return the commands that do not answer as the page says."""
    steps = steps_of(page)
    for file in _FILE.finditer(page):
        (made.folder / file["name"]).write_text(addressed(made, file["text"]))
    outcomes = await run(made, steps)
    wrong = [
        f"$ {step.command}\n{output}\nexit code {code}; missing: {missing or 'nothing'}"
        for step, (output, code) in zip(steps, outcomes, strict=False)
        if (missing := step.missing(output)) or code != step.code
    ]
    return wrong if len(outcomes) == len(steps) else [*wrong, f"only {len(outcomes)} have run"]


async def test_every_command_on_the_pages_answers_as_they_say() -> None:
    pages = [page.read_text() for page in PAGES]
    async with installation() as made:
        registry = made.url.removeprefix("http://")
        await publish(registry, "default/hello:1", "1.0", token=made.token)
        wrong = [step for page in pages for step in await wrong_steps(made, page)]
        assert not wrong, "\n\n".join(wrong)


@pytest.mark.skipif(
    shutil.which("oc") is None, reason="needs oc (mirror.openshift.com, openshift-client)"
)
async def test_every_command_of_oc_answers_as_its_page_says() -> None:
    async with installation() as made:
        registry = made.url.removeprefix("http://")
        await publish(registry, "default/hello:1", "1.0", token=made.token)
        wrong = await wrong_steps(made, (ROOT / "docs" / "oc.md").read_text())
        assert not wrong, "\n\n".join(wrong)
