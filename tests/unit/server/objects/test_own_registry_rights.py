"""Rights that builds and stages take by what they move in the embedded registry."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import REGISTRY, GrantedApi, open_granted_api, path_of

MERGE = "application/merge-patch+json"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


def build(dockerfile: str = "FROM scratch\n", output: str = "", **docker: Any) -> dict[str, Any]:
    to = {"output": {"to": {"kind": "DockerImage", "name": output}}} if output else {}
    return {
        "metadata": {"name": "app"},
        "spec": {
            "source": {"dockerfile": dockerfile},
            "strategy": {"type": "Docker", "dockerStrategy": docker},
            **to,
        },
    }


def pipeline(mirror: str) -> dict[str, Any]:
    stage = {
        "name": "dev",
        "workloads": [{"kind": "Deployment", "name": "web"}],
        "mirror": mirror,
    }
    source = {"kind": "ImageStreamTag", "name": "web:1"}
    return {
        "metadata": {"name": "app"},
        "spec": {"components": [{"name": "web", "from": source}], "stages": [stage]},
    }


B = f"{REGISTRY}/b/app"
COPY = "pull repositories in namespace upstream"
PULL, PUSH = "pull repositories in namespace b", "push repositories in namespace b"
ARGUMENT = [{"name": "BASE", "value": B}]
REFUSED = [
    (build(output=f"{B}:latest"), PUSH),
    (build(output=B), PUSH),
    (build(output=f"{REGISTRY}/upstream/base:1"), "use upstreamcopies in namespace upstream"),
    (build(f"FROM {B}:latest\n"), PULL),
    (build(f"FROM {REGISTRY}/upstream/h.example/base:1\n"), COPY),
    (build(f"FROM {REGISTRY}/upstream/private/b/h.example/base:1\n"), COPY),
    (build(f"FROM {B}:latest AS one\nFROM scratch\nCOPY --from=one /a /a\n"), PULL),
    (build(f"FROM scratch\nCOPY --from={B} /a /a\n"), PULL),
    (build(f"FROM base:1\nRUN --mount=type=bind,from={B},target=/m cat /m/a\n"), PULL),
    (build(f"ARG BASE={B}\nFROM ${{BASE}}:1\n"), PULL),
    (build("ARG BASE=base\nFROM $BASE\n", buildArgs=ARGUMENT), PULL),
]


@pytest.mark.parametrize("plural", ["builds", "buildconfigs"])
@pytest.mark.parametrize(("document", "right"), REFUSED)
async def test_a_build_takes_the_right_to_what_it_moves_in_the_embedded_registry(
    granted: GrantedApi, plural: str, document: dict[str, Any], right: str
) -> None:
    await granted.grant("eve", "builder@a")
    answer = await granted.create("eve", plural, "a", document)
    assert answer.status == 403, answer.text
    assert right in answer.json["message"]
    await granted.grant("eve", "builder@a,b")
    answer = await granted.create("eve", plural, "a", document)
    assert answer.status == (403 if "upstream" in right else 201), answer.text
    if "upstream" in right:
        assert (await granted.create("admin", plural, "a", document)).status == 201


@pytest.mark.parametrize(
    "document",
    [
        build(f"FROM {REGISTRY}/a/base:1\n", f"{REGISTRY}/a/app:1"),
        build(
            f"FROM {REGISTRY}/upstream/public/docker.io/base:1\n", "registry.example.com/b/app:1"
        ),
        build("FROM registry.example.com/b/app:1\n"),
    ],
)
async def test_a_build_within_its_namespace_takes_no_other_right(
    granted: GrantedApi, document: dict[str, Any]
) -> None:
    await granted.grant("eve", "builder@a")
    answer = await granted.create("eve", "buildconfigs", "a", document)
    assert answer.status == 201, answer.text


async def test_who_may_not_push_there_changes_no_build_that_does(granted: GrantedApi) -> None:
    document = build(output=f"{B}:1")
    assert (await granted.create("admin", "buildconfigs", "a", document)).status == 201
    await granted.grant("eve", "builder@a")
    path = path_of("buildconfigs", "a", "app")
    change = {"spec": {"source": {"dockerfile": "FROM scratch\nCOPY evil /\n"}}}
    answer = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
    assert answer.status == 403, answer.text


@pytest.mark.parametrize(
    ("mirror", "right", "enough"),
    [
        (f"{REGISTRY}/b", PUSH, "builder@b"),
        (f"{REGISTRY}/b/mirrored/", PUSH, "builder@b"),
        (f"{REGISTRY}/a", "push repositories in namespace a", "builder@a"),
        (REGISTRY, "push repositories in all namespaces", "admin@*"),
        (f"{REGISTRY}/", "push repositories in all namespaces", "admin@*"),
        (f"{REGISTRY}/upstream", "use upstreamcopies in namespace upstream", "admin@*"),
    ],
)
async def test_a_mirror_here_takes_the_right_to_push_there(
    granted: GrantedApi, mirror: str, right: str, enough: str
) -> None:
    await granted.grant("eve", "promoter@a")
    answer = await granted.create("eve", "pipelines", "a", pipeline(mirror))
    assert answer.status == 403, answer.text
    assert right in answer.json["message"]
    assert (
        await granted.create("admin", "pipelines", "a", pipeline("mirror.test/b"))
    ).status == 201
    path = path_of("pipelines", "a", "app")
    change = pipeline(mirror)["spec"]
    answer = await granted.send("eve", "PATCH", path, {"spec": change}, content_type=MERGE)
    assert answer.status == 403, answer.text
    await granted.grant("eve", "promoter@a", enough)
    answer = await granted.send("eve", "PATCH", path, {"spec": change}, content_type=MERGE)
    assert answer.status == 200, answer.text
