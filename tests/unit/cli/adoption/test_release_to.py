"""`upwell release-to`: files that run without Upwell."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from upwell.api.apps import Deployment, RevisionRecord, WorkloadStatus
from upwell.machine import clock

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

COMPOSE = """\
services:
  web:
    image: nginx:1.27
    ports: ["8080:80"]
    environment: {LEVEL: info}
    volumes: ["data:/data"]
    group_add: [44]
    sysctls: {net.core.somaxconn: "512"}
    depends_on: [db]
    deploy: {resources: {reservations: {memory: 64M}}}
    secrets: [pw]
    networks: {default: {aliases: [www]}}
  db: {image: "db:16"}
volumes: {data: }
secrets: {pw: {file: pw.txt}}
"""


@pytest.fixture
def serving(upwell: Upwell, client: "FakeClient", tmp_path: Path) -> None:
    """Have a Compose file applied, whose service serves."""
    (tmp_path / "pw.txt").write_text("geheim")
    (tmp_path / "compose.yaml").write_text(COMPOSE)
    assert upwell("apply", "-f", str(tmp_path / "compose.yaml")).exit_code == 0

    async def serve() -> None:
        web = await client.get(Deployment, "default", "web")
        record = RevisionRecord(
            revision=1,
            hash="h",
            template=web.spec.template,
            created=clock.now(),
            phase="Complete",
            images={"web": f"docker.io/library/nginx@sha256:{'a' * 64}"},
        )
        await client.update_status(web.with_status(WorkloadStatus(revisions=(record,))))

    asyncio.run(serve())


@pytest.mark.usefixtures("serving")
def test_a_compose_file_has_the_names_files_and_folders(upwell: Upwell, tmp_path: Path) -> None:
    to, data = tmp_path / "out", tmp_path / "data"
    arguments = ("release-to", "compose", "web", "-d", str(to), "--data-dir", str(data))
    result = upwell(*arguments)
    assert result.exit_code == 0, result.stderr
    web = yaml.safe_load((to / "compose.yaml").read_text())["services"]["web"]
    assert web["image"] == "nginx:1.27"
    assert web["ports"] == ["8080:80"]
    assert web["volumes"] == [
        f"{data}/workloads/claims/default/data:/data",
        f"{to}/files/web/secret-0/content:/run/secrets/pw:ro",
    ]
    assert web["networks"] == {"default": {"aliases": ["www"]}}
    assert (web["group_add"], web["sysctls"]) == (["44"], {"net.core.somaxconn": "512"})
    assert web["deploy"] == {"resources": {"reservations": {"memory": "67108864"}}}
    assert "depends_on" not in web
    assert "web: it waits no longer for db, which is not among these files" in result.stderr
    secret = to / "files/web/secret-0/content"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("geheim", 0o444)
    modes = [(to / one).stat().st_mode & 0o777 for one in (".", "files", "files/web/secret-0")]
    assert modes == [0o700, 0o700, 0o755], "others are kept out, and the container's user is not"
    assert "`upwell delete deployment/web`" in result.stderr
    assert "web: its readiness probe is left out" in result.stderr

    again = upwell(*arguments)
    assert again.exit_code == 2
    assert "has compose.yaml, files/web/secret-0/content already" in again.stderr


@pytest.mark.usefixtures("serving")
def test_a_quadlet_has_its_variables_beside_it(upwell: Upwell, tmp_path: Path) -> None:
    result = upwell("release-to", "quadlet", "web", "-d", str(tmp_path / "q"))
    assert result.exit_code == 0, result.stderr
    names = sorted(one.name for one in (tmp_path / "q").iterdir())
    assert names == ["files", "upwell.network", "web.container", "web.env"]
    assert (tmp_path / "q" / "web.env").read_text() == "LEVEL=info\n"


@pytest.mark.usefixtures("serving")
def test_what_fails_between_two_files_leaves_none(
    upwell: Upwell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link, done = os.link, list[str]()

    def full(source: Path, target: Path) -> None:
        if done:
            raise OSError(28, "No space left on device")
        done.append(target.name)
        link(source, target)

    with monkeypatch.context() as disk:
        disk.setattr("upwell.cli.adoption.released_files.os.link", full)
        result = upwell("release-to", "quadlet", "web", "-d", str(tmp_path / "q"))
    assert result.exit_code == 1
    assert f"nothing was written: {tmp_path / 'q'}: No space left on device" in result.stderr
    assert done
    assert result.stdout == ""
    assert not [*(tmp_path / "q").iterdir()]
    assert upwell("release-to", "quadlet", "web", "-d", str(tmp_path / "q")).exit_code == 0


def test_what_is_not_there_is_named(upwell: Upwell) -> None:
    result = upwell("release-to", "compose", "web")
    assert result.exit_code == 3
    assert "no deployment web in namespace default" in result.stderr
