"""Quadlets that are written are what Podman's own generator takes."""

import shlex
import subprocess
from pathlib import Path

import pytest
from tests.unit.formats.compose.test_writing import WEB

from upwell.formats.compose.writing import environment_file, quadlet_network, quadlet_text

GENERATOR = Path("/usr/libexec/podman/quadlet")


@pytest.mark.skipif(not GENERATOR.is_file(), reason="install podman 5 (Debian 13)")
def test_podman_takes_a_quadlet_with_every_key(tmp_path: Path) -> None:
    (tmp_path / "web.container").write_text(quadlet_text(WEB, str(tmp_path)))
    (tmp_path / "web.env").write_text(environment_file(WEB.environment))
    (tmp_path / "upwell.network").write_text(quadlet_network())
    done = subprocess.run(
        [str(GENERATOR), "-dryrun"],
        env={"QUADLET_UNIT_DIRS": str(tmp_path)},
        capture_output=True,
        check=False,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    unit = done.stdout.partition("---web.service---")[2].partition("\n---")[0]
    line = next(one for one in unit.splitlines() if one.startswith("ExecStart="))
    words = shlex.split(line.removeprefix("ExecStart=").replace("$$", "$").replace("%%", "%"))
    assert {
        "--group-add",
        "net.core.somaxconn=512",
        "--stop-timeout",
        "example.com/a=b c",
        "--memory-reservation=65536",
        "127.0.0.1:8080:80",
        "/srv/x:/etc/x:ro",
        str(tmp_path / "web.env"),
    } <= {*words, *(one.removeprefix("--sysctl=") for one in words)}
    assert words[-4:] == [WEB.image, *WEB.command]
