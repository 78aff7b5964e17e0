"""The hooks of git run what `make check` runs, all of it and nothing else."""

import re

import yaml
from tests.support.paths import ROOT


def test_the_hooks_are_the_parts_of_make_check() -> None:
    makefile = (ROOT / "Makefile").read_text()
    parts = re.search(r"^check: ([a-z -]+?) *##", makefile, re.MULTILINE)
    assert parts is not None
    repos = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"] for repo in repos for hook in repo["hooks"]]
    assert hooks == [f"make {part}" for part in parts[1].split()]
