"""`new-app` and `process` against the real server, over HTTP, with the real client."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.support.server.api_server import serving

from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.server.http.limits import DEFAULT_LIMITS, ServerLimits

type Upwell = Callable[..., Coroutine[Any, Any, Result]]

SHOP = "vendor.test/python:3.11~https://git.test/shop.git"
STREAM = """\
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata:
  name: python
  labels: {owner: us}
  annotations: {upwell.dev/import-interval: 5m}
spec:
  tags:
  - name: "3.11"
    from: {kind: DockerImage, name: "vendor.test/python:3.11"}
    importPolicy: {scheduled: true}
"""
TEMPLATE = """\
apiVersion: v1
kind: Template
metadata: {name: shop}
parameters:
- {name: REPLICAS, value: "2"}
- {name: PASSWORD, generate: expression, from: "[a-zA-Z0-9]{16}"}
labels: {template: shop}
objects:
- {apiVersion: v1, kind: Secret, metadata: {name: shop}, stringData: {password: "${PASSWORD}"}}
- {apiVersion: v1, kind: ImageStream, metadata: {name: shop}}
- apiVersion: v1
  kind: DeploymentConfig
  metadata: {name: shop}
  spec:
    replicas: ${{REPLICAS}}
    selector: {app: shop}
    triggers:
    - type: ImageChange
      imageChangeParams:
        automatic: true
        containerNames: [shop]
        from: {kind: ImageStreamTag, name: "shop:latest"}
    template:
      metadata: {labels: {app: shop}}
      spec: {containers: [{name: shop, image: " "}]}
"""


@asynccontextmanager
async def command_line(limits: ServerLimits) -> AsyncIterator[Upwell]:
    """Give the command line of a new server; each command has an event loop in a thread."""
    async with serving(limits) as api:

        async def run(*arguments: str, text: str | None = None) -> Result:
            return await asyncio.to_thread(
                CliRunner().invoke,
                main,
                arguments,
                obj=Session(server=api.url),
                input=text,
                catch_exceptions=False,
            )

        yield run


@pytest.fixture
async def upwell() -> AsyncIterator[Upwell]:
    async with command_line(DEFAULT_LIMITS) as run:
        yield run


@pytest.mark.parametrize("workload", ["deployment.apps", "deploymentconfig.apps.openshift.io"])
async def test_an_application_is_made_shown_and_applied_again_without_a_change(
    upwell: Upwell, tmp_path: Path, workload: str
) -> None:
    file = tmp_path / "shop.yaml"
    options = [
        "--expose",
        "--save",
        str(file),
        *["--as-deployment-config"] * ("config" in workload),
    ]

    made = await upwell("new-app", SHOP, *options)
    again = await upwell("apply", "-f", str(file))
    tree = json.loads((await upwell("status", "-o", "json")).stdout)

    names = [
        "secret/shop-webhooks",
        "imagestream.image.openshift.io/python",
        "imagestream.image.openshift.io/shop",
        "buildconfig.build.openshift.io/shop",
        "service/shop",
        f"{workload}/shop",
        "route.route.openshift.io/shop",
    ]
    assert made.stdout.splitlines() == [f"{name} created" for name in names], made.stderr
    assert "warning" not in made.stderr
    assert again.stdout.splitlines() == [f"{name} unchanged" for name in names]
    kind = "DeploymentConfig" if "config" in workload else "Deployment"
    assert [node["name"] for node in tree["nodes"]] == [
        "vendor.test/python:3.11",
        "ImageStreamTag default/python:3.11",
        "BuildConfig default/shop",
        "ImageStreamTag default/shop:latest",
        f"{kind} default/shop",
    ]
    assert all(edge["automatic"] for node in tree["nodes"] for edge in node["inputs"])


@pytest.mark.parametrize("output", [(), ("-o", "yaml")], ids=["made", "printed"])
async def test_stages_have_their_namespaces_whatever_namespace_is_given(
    upwell: Upwell, output: tuple[str, ...]
) -> None:
    made = await upwell("-n", "team", "new-app", SHOP, "--stages=dev,live", *output)

    assert made.exit_code == 0, made.stderr
    if output:
        found = {
            (one["kind"], one["metadata"]["namespace"])
            for one in yaml.safe_load(made.stdout)["items"]
        }
    else:
        listed = json.loads(
            (await upwell("get", "deployments,pipelines", "-A", "-o", "json")).stdout
        )
        found = {(one["kind"], one["metadata"]["namespace"]) for one in listed["items"]}
    wanted = {("Pipeline", "team"), ("Deployment", "shop-dev"), ("Deployment", "shop-live")}
    assert wanted <= found


async def test_an_application_adds_a_tag_to_a_stream_and_takes_nothing_away(
    upwell: Upwell,
) -> None:
    await upwell("apply", "-f", "-", text=STREAM)

    made = await upwell("new-app", "vendor.test/python:3.12~https://git.test/b.git", "--name=b")
    clash = await upwell("new-app", "other.test/python:3.12~https://git.test/c.git")

    assert "imagestream.image.openshift.io/python configured" in made.stdout, made.stderr
    stream = json.loads((await upwell("get", "is/python", "-o", "json")).stdout)
    assert [tag["name"] for tag in stream["spec"]["tags"]] == ["3.11", "3.12"]
    assert stream["metadata"]["annotations"] == {"upwell.dev/import-interval": "5m"}
    assert stream["metadata"]["labels"] == {"owner": "us"}
    assert clash.exit_code == 2
    assert "imagestream/python has a tag 3.12 already" in clash.stderr


async def test_a_name_that_is_taken_changes_nothing(upwell: Upwell) -> None:
    service = "{apiVersion: v1, kind: Service, metadata: {name: shop}, spec: {ports: [{port: 80}]}}"
    await upwell("apply", "-f", "-", text=service)

    result = await upwell("new-app", SHOP)

    assert result.exit_code == 2
    assert "these objects exist: service/shop;" in result.stderr
    assert (await upwell("get", "all", "-o", "name")).stdout == "service/shop\n"


async def test_nothing_is_made_when_the_server_refuses_one_of_the_objects(tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    async with command_line(replace(DEFAULT_LIMITS, body_bytes=4096)) as upwell:
        large = f"NOTE={'x' * 4096}"
        result = await upwell("new-app", SHOP, "-e", large, "--save", str(file))
        made = (await upwell("get", "all", "-o", "name")).stdout

    assert result.exit_code == 1
    assert made == ""
    assert not file.exists()


async def test_a_template_is_kept_processed_and_its_objects_applied(upwell: Upwell) -> None:
    kept = await upwell("apply", "-f", "-", text=TEMPLATE)
    processed = await upwell("process", "shop", "-p", "REPLICAS=3", "-l", "team=web")
    applied = await upwell("apply", "-f", "-", text=processed.stdout)

    assert kept.stdout == "template.template.openshift.io/shop created\n", kept.stderr
    assert applied.stdout.splitlines() == [
        "secret/shop created",
        "imagestream.image.openshift.io/shop created",
        "deploymentconfig.apps.openshift.io/shop created",
    ]
    config = json.loads((await upwell("get", "dc/shop", "-o", "json")).stdout)
    assert config["spec"]["replicas"] == 3
    assert config["metadata"]["labels"] == {"template": "shop", "team": "web"}


async def test_new_app_makes_an_application_of_a_template_once(upwell: Upwell) -> None:
    await upwell("apply", "-f", "-", text=TEMPLATE)

    made, again = await upwell("new-app", "shop"), await upwell("new-app", "shop")

    assert made.stdout.count(" created\n") == 3, made.stderr
    assert again.exit_code == 2
    assert "secret/shop" in again.stderr
