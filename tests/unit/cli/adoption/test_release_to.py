"""`upwell release-to`: files that run without Upwell."""

import asyncio
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
    secrets: [pw]
    networks: {default: {aliases: [www]}}
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
    arguments = ("release-to", "compose", "-d", str(to), "--data-dir", str(data))
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
    secret = to / "files/web/secret-0/content"
    assert (secret.read_text(), secret.stat().st_mode & 0o777) == ("geheim", 0o600)
    assert "`upwell delete deployment/web`" in result.stderr

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


def test_what_is_not_there_is_named(upwell: Upwell) -> None:
    result = upwell("release-to", "compose", "web")
    assert result.exit_code == 3
    assert "no deployment web in namespace default" in result.stderr
