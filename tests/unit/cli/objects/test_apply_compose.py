"""`upwell apply -f compose.yaml`: services as objects, and faults before anything is changed."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from click.testing import Result

type Upwell = Callable[..., "Result"]

COMPOSE = """\
services:
  web:
    image: nginx:${VERSION}
    ports: ["8080:80"]
    env_file: [web.env]
  tool: {image: busybox, profiles: [tools]}
  app: {build: ./app, expose: [8000]}
"""


def folder(tmp_path: Path, text: str = COMPOSE) -> str:
    (tmp_path / ".env").write_text("VERSION=1.27\n")
    (tmp_path / "web.env").write_text("LEVEL=info\n")
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "Dockerfile").write_text("FROM python:3.11\nEXPOSE 8000\n")
    file = tmp_path / "compose.yaml"
    file.write_text(text)
    return str(file)


def test_a_compose_file_is_applied_as_it_is(upwell: Upwell, tmp_path: Path) -> None:
    file = folder(tmp_path)
    result = upwell("apply", "-f", file)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.splitlines() == [
        "imagestream.image.openshift.io/web created",
        "imagestream.image.openshift.io/app-python created",
        "imagestream.image.openshift.io/app created",
        "buildconfig.build.openshift.io/app created",
        "service/web created",
        "service/app created",
        "deployment.apps/web created",
        "deployment.apps/app created",
    ]
    assert f"upwell start-build app --from-dir={tmp_path}/app --follow" in result.stderr
    stream = upwell("get", "is/web", "-o", "yaml").stdout
    assert "nginx:1.27" in stream
    again = upwell("apply", "-f", file, "--profile", "tools").stdout.splitlines()
    assert [line for line in again if not line.endswith("unchanged")] == [
        "imagestream.image.openshift.io/tool created",
        "service/tool created",
        "deployment.apps/tool created",
    ]


def test_a_fault_changes_nothing_and_has_its_line(upwell: Upwell, tmp_path: Path) -> None:
    file = folder(tmp_path, f"{COMPOSE}  dev: {{image: i, pid: host}}\n")
    result = upwell("apply", "-f", file)
    assert result.exit_code == 2
    assert f"{file}:8: services.dev.pid: not supported" in result.stderr
    assert result.stdout == ""


def test_another_project_of_the_namespace_is_left_alone(upwell: Upwell, tmp_path: Path) -> None:
    files = []
    for name in ("Shop 1", "blog"):
        (tmp_path / name).mkdir()
        files.append(str(tmp_path / name / "compose.yaml"))
        Path(files[-1]).write_text(
            f"services: {{web: {{image: 'registry.test/{name[:4].lower()}:1'}}}}"
        )
    shop, blog = files
    assert upwell("apply", "-f", shop).exit_code == 0
    for command in ("apply", "delete"):
        refused = upwell(command, "-f", blog)
        assert refused.exit_code == 2
        assert (
            "Deployment default/web belongs to the Compose project shop1, not to blog"
            in refused.stderr
        )
        assert "give each project a namespace of its own (-n)" in refused.stderr
    assert "registry.test/shop:1" in upwell("get", "is/web", "-o", "yaml").stdout
    assert upwell("apply", "-f", blog, "-n", "blog").exit_code == 0
    Path(blog).write_text(f"name: shop1\n{Path(blog).read_text()}")
    assert upwell("apply", "-f", blog).exit_code == 0


def test_what_no_project_has_made_is_left_alone(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("name: shop\nservices: {web: {image: 'registry.test/shop:1'}}")
    assert upwell("add", "registry.test/web:1", "--no-wait").exit_code == 0
    for command in ("apply", "delete"):
        refused = upwell(command, "-f", str(file))
        assert refused.exit_code == 2
        assert "Deployment default/web was not made by the Compose project shop" in refused.stderr
    given = "com.docker.compose.project=shop"
    assert f"`upwell label deployments/web -n default {given}` gives it" in refused.stderr


def test_a_project_has_a_valid_name(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "compose.yaml"
    file.write_text("name: My Shop\nservices: {web: {image: i}}")
    assert "name: invalid project name 'My Shop'" in upwell("apply", "-f", str(file)).stderr


def test_a_pipe_without_an_end_is_not_waited_for(upwell: Upwell, tmp_path: Path) -> None:
    file = folder(tmp_path)
    (tmp_path / "web.env").unlink()
    os.mkfifo(tmp_path / "web.env")
    result = upwell("apply", "-f", file)
    assert result.exit_code == 2
    assert "web.env: no regular file" in result.stderr


def test_a_file_of_compose_is_one_by_its_name_too(upwell: Upwell, tmp_path: Path) -> None:
    file = tmp_path / "docker-compose.yml"
    file.write_text("web: {image: nginx}\n")
    told = upwell("apply", "-f", str(file)).stderr
    assert f"{file}:1: web: additional property is not allowed; services stand below" in told

    file.write_text("services: []\n")
    assert f"{file}:1: services: must be a mapping" in upwell("apply", "-f", str(file)).stderr
