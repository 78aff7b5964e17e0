"""Every changelog fragment is of a type that ends up in the changelog."""

import tomllib

from tests.support.paths import ROOT


def test_every_fragment_is_of_a_known_type() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["towncrier"]
    known = {one["directory"] for one in settings["type"]}
    fragments = list((ROOT / settings["directory"]).glob("*.md"))
    assert fragments
    assert [one.name for one in fragments if one.name.split(".")[-2] not in known] == []
