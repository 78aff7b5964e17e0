"""Storage of images: whether it shows them under other ids, as Buildah tells."""

import os
from pathlib import Path

import pytest

from upwell.workload.podman.users.support import shifts_layers


@pytest.mark.parametrize(
    ("script", "told"),
    [("echo true", True), ("echo false", False), ("echo '<no value>'", None), ("exit 1", None)],
)
async def test_buildah_tells_of_the_storage_that_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, told: object
) -> None:
    program = tmp_path / "buildah"
    program.write_text(f'#!/bin/sh\necho "$@" $CONTAINERS_CONF >{tmp_path}/asked\n{script}\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert await shifts_layers(("--root", "/s"), {"CONTAINERS_CONF": "/c"}) is told
    asked = (tmp_path / "asked").read_text().split()
    assert (asked[:3], asked[-1]) == (["--root", "/s", "info"], "/c")


async def test_without_buildah_nobody_can_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert await shifts_layers((), {}) is None
