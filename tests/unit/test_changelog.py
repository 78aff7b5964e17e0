"""The changelog names this version, and every fragment ends up in the next one."""

import subprocess
import tomllib
from pathlib import Path

from tests.support.paths import ROOT

import upwell

_PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
_SETTINGS = _PROJECT["tool"]["towncrier"]
_TYPES = {one["directory"] for one in _SETTINGS["type"]}


def misnamed(folder: Path) -> list[str]:
    """Name what towncrier would pass over in silence."""
    fragments = (one for one in folder.iterdir() if one.name != "README.md")
    return [
        one.name for one in fragments if one.name.split(".")[1:] not in [[t, "md"] for t in _TYPES]
    ]


def test_every_fragment_is_of_a_known_type() -> None:
    assert misnamed(ROOT / _SETTINGS["directory"]) == []


def test_a_fragment_of_no_known_type_is_found(tmp_path: Path) -> None:
    wrong = {"+a.removd.md", "+a.md", "added.md", "+a.added.txt"}
    for name in {"README.md", "+a.added.md", "+b.removed.md", *wrong}:
        (tmp_path / name).touch()
    assert set(misnamed(tmp_path)) == wrong


def test_packages_and_the_changelog_have_the_version_of_the_program() -> None:
    own = upwell.__version__
    assert "version" in _PROJECT["project"]["dynamic"]
    place = ROOT / _PROJECT["tool"]["hatch"]["version"]["path"]
    assert place.samefile(upwell.__file__)
    said = subprocess.run([ROOT / "scripts/version"], capture_output=True, text=True, check=True)
    assert said.stdout == f"{own}\n"
    changelog = (ROOT / _SETTINGS["filename"]).read_text()
    assert f"\n## {own} (" in changelog
    assert "<!-- towncrier release notes start -->\n" in changelog
