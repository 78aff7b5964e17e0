"""`upwell adopt --on kubernetes --dry-run` against a kubectl that answers as a cluster would."""

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

if TYPE_CHECKING:
    from collections.abc import Callable

    from click.testing import Result

_SCRIPT = """#!/bin/sh
while [ "${1#-}" != "$1" ]; do shift; done
case "$1 $2" in
  "api-resources "*) echo applications.argoproj.io; echo deployments.apps ;;
  "get applications"*) echo '{"items": [{"metadata": 7}]}' ;;
  "get deployments"*) cat "$ANSWERS" ;;
  *) echo "unexpected: $@" >&2; exit 1 ;;
esac
"""


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(_SCRIPT)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setenv("ANSWERS", str(tmp_path / "workloads"))
    metadata = {"name": "web", "namespace": "shop", "annotations": {"keel.sh/policy": "minor"}}
    image = {"name": "app", "image": "registry.test/app:1.2.3"}
    web = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata,
        "spec": {"template": {"spec": {"containers": [image]}}},
    }
    broken = {**web, "spec": {"template": 7}}
    (tmp_path / "workloads").write_text(json.dumps({"items": [web, broken]}))


@pytest.mark.usefixtures("kubectl")
def test_the_proposal_is_a_table_or_manifests(upwell: "Callable[..., Result]") -> None:
    shown = upwell("adopt", "--on", "kubernetes", "--dry-run")
    assert shown.exit_code == 0, shown.output
    assert "semver:>=1.2.3 <2.0.0" in shown.stdout
    assert "! Deployment shop/web: remove keel.sh/policy=minor" in shown.stdout
    assert "passed over: " in shown.stderr

    printed = upwell("adopt", "--on", "kubernetes", "--dry-run", "-o", "yaml")
    items = yaml.safe_load(printed.stdout)["items"]
    assert [one["kind"] for one in items] == ["ImageStream", "Deployment"]


@pytest.mark.parametrize("asked", [[], ["--dry-run", "web"]])
def test_more_than_a_proposal_is_refused(upwell: "Callable[..., Result]", asked: list[str]) -> None:
    done = upwell("adopt", "--on", "kubernetes", *asked)
    assert done.exit_code == 2
    assert "adopt --on kubernetes" in done.stderr
