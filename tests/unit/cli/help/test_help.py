"""`upwell help`, `upwell options`, manual pages."""

import shutil
import subprocess
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from upwell.cli import main
from upwell.cli.help.manual import manual_pages
from upwell.cli.help.topics import sections
from upwell.cli.program import COMMANDS, GROUPS


def upwell(*arguments: str) -> Result:
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def test_every_command_is_in_one_group() -> None:
    grouped = [name for names in GROUPS.values() for name in names]
    assert sorted(grouped) == sorted(COMMANDS)


def test_global_options_are_in_no_help_but_their_own() -> None:
    assert "UPWELL_TOKEN" not in upwell("get", "--help").stdout
    assert "upwell options" in upwell("rollout", "undo", "--help").stdout
    told = upwell("options").stdout
    for name in ("--server", "--token", "--namespace", "--color", "--quiet", "--verbose"):
        assert name in told


def test_help_of_a_command() -> None:
    assert upwell("help", "rollout", "undo").stdout == upwell("rollout", "undo", "--help").stdout


def test_help_about_a_topic_and_a_section() -> None:
    assert upwell("help", "waves").stdout.startswith("# ")
    assert upwell("help", "docs/rebase").stdout.startswith("# ")
    assert upwell("help", "troubleshooting", "full-disk").stdout.startswith("## ")
    assert "buildconfig" in upwell("help", "topics").stdout


def test_a_topic_misspelt() -> None:
    done = upwell("help", "wavez")
    assert done.exit_code == 2
    assert "did you mean wave, waves" in done.stderr


def test_a_heading_in_an_example_begins_no_section() -> None:
    page = "# T\n## A b!\nx\n```\n## none\n```\n### C\ny\n## D\n"
    assert list(sections(page)) == ["a-b", "c", "d"]
    assert sections(page)["a-b"].endswith("### C\ny\n")


def test_quiet_leaves_notes_out() -> None:
    assert "topics" in upwell("help").stderr
    assert upwell("help", "--quiet").stderr == ""


@pytest.mark.parametrize("name", ["upwell", "upwell-get", "upwell-rollout-undo", "upwell-options"])
def test_manual_pages(name: str) -> None:
    pages = dict(manual_pages(click.Context(main, info_name="upwell")))
    page = pages[name]
    assert page.startswith(f'.TH "{name.upper()}" 1')
    assert ".B \\-h, \\-\\-help" in page
    assert {".SH NAME", ".SH SYNOPSIS", ".SH DESCRIPTION"} <= set(page.splitlines())


@pytest.mark.skipif(shutil.which("groff") is None, reason="install groff")
def test_manual_pages_are_sound_roff(tmp_path: Path) -> None:
    done = upwell("help", "--man", str(tmp_path))
    assert done.exit_code == 0, done.output
    pages = sorted(tmp_path.glob("*.1"))
    told = subprocess.run(
        ["groff", "-Kutf8", "-man", "-ww", "-z", "-Tutf8", *map(str, pages)],
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stderr == ""
