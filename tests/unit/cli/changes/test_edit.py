"""`upwell edit` against the API: what is written, and what becomes of what was typed."""

import sys
from pathlib import Path

import pytest
from tests.support.cli.served_commands import ServedCommands


class Steps:
    """Steps of the editor, one for each time that it opens, and what it has seen."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def are(self, text: str) -> None:
        self.path.write_text(text)

    def seen(self) -> list[str]:
        return self.path.with_suffix(".seen").read_text().split("=====")

    def left(self) -> list[Path]:
        return list(self.path.parent.glob("upwell-edit-*"))


@pytest.fixture
def editor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Steps":
    """Give a script that edits, as a program of the steps of a test: one for each time it opens."""
    script = tmp_path / "editor.py"
    script.write_text(
        "import pathlib, sys\n"
        "file, steps = pathlib.Path(sys.argv[-1]), pathlib.Path(sys.argv[1])\n"
        "seen = steps.with_suffix('.seen')\n"
        "at = seen.read_text().count('=====') if seen.exists() else 0\n"
        "text = file.read_text()\n"
        "seen.open('a').write(text + '=====')\n"
        "line = (steps.read_text().splitlines() + [''] * 9)[at]\n"
        "if line == 'fail': sys.exit(3)\n"
        "if line == 'empty': text = ''\n"
        "old, _, new = line.partition('=>')\n"
        "file.write_text(text.replace(old, new) if old else text)\n"
    )
    steps = Steps(tmp_path / "steps")
    for name in ("UPWELL_EDITOR", "OC_EDITOR", "VISUAL", "EDITOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KUBE_EDITOR", f"{sys.executable} {script} {steps.path}")
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return steps


async def test_a_change_is_written(commands: ServedCommands, editor: Steps) -> None:
    editor.are("mode: fast=>mode: slow\n")
    said = await commands.done("edit", "cm/settings")

    assert said == "configmap/settings edited\n"
    assert (await commands.object("cm/settings"))["data"] == {"mode": "slow"}
    assert not editor.left()


@pytest.mark.parametrize("step", ["", "empty"])
async def test_no_change_is_none(commands: ServedCommands, editor: Steps, step: str) -> None:
    editor.are(step)
    result = await commands("edit", "cm", "settings")

    assert (result.exit_code, result.stdout) == (0, "")
    assert "edit cancelled, no changes made" in result.stderr
    assert not editor.left()


async def test_what_is_refused_opens_again_with_the_reason(
    commands: ServedCommands, editor: Steps
) -> None:
    editor.are("replicas: 2=>replicas: -2\nreplicas: -2=>replicas: 4\n")
    await commands.done("edit", "deployment/shop")
    first, second, _ = editor.seen()

    assert "# " + "Deployment" not in first
    assert "spec.replicas" in "\n".join(one for one in second.splitlines() if one[:1] == "#")
    assert "replicas: -2" in second
    assert (await commands.object("deployment/shop"))["spec"]["replicas"] == 4


@pytest.mark.parametrize(
    "step", ["replicas: 2=>replicas: -2", "name: shop=>name: other", "spec:=>spec: ["]
)
async def test_what_is_given_up_is_kept(commands: ServedCommands, editor: Steps, step: str) -> None:
    editor.are(f"{step}\n")
    said = await commands.refused(1, "edit", "deployment/shop")
    (kept,) = editor.left()

    assert f"what was typed is in {kept}" in said
    assert step.partition("=>")[2] in kept.read_text()


async def test_an_editor_that_fails_or_is_not_there(
    commands: ServedCommands, editor: Steps, monkeypatch: pytest.MonkeyPatch
) -> None:
    editor.are("fail\n")
    failed = await commands.refused(1, "edit", "cm/settings")
    monkeypatch.setenv("KUBE_EDITOR", "/nope/editor")
    missing = await commands.refused(2, "edit", "cm/settings")

    assert "failed with 3" in failed
    assert "cannot run the editor '/nope/editor': No such file or directory" in missing
