"""The runtime of a build with secrets: what it changes, and what it becomes."""

import json
import stat
import subprocess
from pathlib import Path

from upwell.builder.secret_variables import runtime_with

VALUE = 'two\nlines "q" $HOME \\ ü'


def bundle(folder: Path, *env: str) -> Path:
    config = folder / "config.json"
    config.write_text(json.dumps({"process": {"args": ["sh"], "env": list(env)}, "root": {}}))
    config.chmod(0o600)
    return config


def run(program: Path, *arguments: str) -> str:
    done = subprocess.run(  # our own
        [program, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout


def test_a_container_gets_the_variables_over_those_of_its_image(tmp_path: Path) -> None:
    config = bundle(tmp_path, "PATH=/bin", "TOKEN=public", "TOKENS=2")
    program = runtime_with({"TOKEN": VALUE, "EMPTY": ""}, "/bin/echo", tmp_path)

    shown = run(program, "--root=/x y", "create", "--bundle", str(tmp_path), "name")

    assert shown == f"--root=/x y create --bundle {tmp_path} name\n"
    document = json.loads(config.read_text())
    assert document["process"]["env"] == ["PATH=/bin", "TOKENS=2", f"TOKEN={VALUE}", "EMPTY="]
    assert (document["process"]["args"], document["root"]) == (["sh"], {})
    assert stat.S_IMODE(config.stat().st_mode) == 0o600


def test_other_commands_go_to_the_runtime_as_they_are(tmp_path: Path) -> None:
    program = runtime_with({"TOKEN": VALUE}, "/bin/echo", tmp_path)
    assert run(program, "delete", "--force", "name") == "delete --force name\n"


def test_values_are_in_a_file_that_only_we_may_read(tmp_path: Path) -> None:
    program = runtime_with({"TOKEN": "pelican-zebra"}, "/bin/echo", tmp_path)
    assert "pelican-zebra" not in program.read_text()
    assert all(stat.S_IMODE(path.stat().st_mode) & 0o077 == 0 for path in tmp_path.iterdir())
