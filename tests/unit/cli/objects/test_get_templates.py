"""`upwell get` with templates, an order, labels in columns, and selectors as kubectl has them."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., Result]


def config_map(name: str, size: int, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "namespace": "default", "labels": labels}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata,
        "data": {"size": str(size)},
    }


@pytest.fixture
async def maps(client: FakeClient) -> FakeClient:
    for document in (
        config_map("small", 9, tier="web", app="shop"),
        config_map("large", 10, tier="db"),
        config_map("bare", 1),
    ):
        await client.put(document)
    return client


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("cm", "-o", "jsonpath={.items[*].metadata.name}"), "bare large small"),
        (("cm", "-o=jsonpath={.items[0].data.size}"), "1"),
        (("cm", "small", "-o", "jsonpath={.data.size}{'\\n'}"), "9\n"),
        (("cm/small", "-o", "go-template={{.metadata.labels.tier}}"), "web"),
        (("cm/small", "-o", "template={{.data}}"), "map[size:9]"),
        (
            ("cm", "--sort-by=.data.size", "-o", "custom-columns=NAME:.metadata.name,N:.data.size"),
            "NAME    N\nbare    1\nsmall   9\nlarge   10\n",
        ),
        (("cm/bare", "-o", "jsonpath-as-json={.data.size}"), '[\n    "1"\n]\n'),
        (
            ("cm", "--sort-by", "{.data.size}", "-o", "name"),
            "configmap/bare\nconfigmap/small\nconfigmap/large\n",
        ),
    ],
)
@pytest.mark.usefixtures("maps")
async def test_templates_print_what_kubectl_prints(
    upwell: Upwell, arguments: tuple[str, ...], text: str
) -> None:
    found = await asyncio.to_thread(upwell, "get", *arguments)

    assert (found.exit_code, found.stdout) == (0, text)


@pytest.mark.usefixtures("maps")
async def test_a_template_may_be_in_a_file(upwell: Upwell, tmp_path: Path) -> None:
    (tmp_path / "columns").write_text("NAME           SIZE\nmetadata.name  data.size\n")
    (tmp_path / "path").write_text("{.items[1].data.size}")

    columns = await asyncio.to_thread(
        upwell, "get", "cm", "-o", f"custom-columns-file={tmp_path / 'columns'}"
    )
    path = await asyncio.to_thread(upwell, "get", "cm", "-o", f"jsonpath-file={tmp_path / 'path'}")

    assert columns.stdout.splitlines()[:2] == ["NAME    SIZE", "bare    1"]
    assert path.stdout == "10"


@pytest.mark.usefixtures("maps")
async def test_labels_have_columns(upwell: Upwell) -> None:
    shown = await asyncio.to_thread(
        upwell, "get", "cm", "--show-labels", "-L", "tier", "--no-headers"
    )

    rows = [line.split() for line in shown.stdout.splitlines()]
    assert [(row[0], *row[-2:]) for row in rows] == [
        ("bare", "<none>", "<none>"),
        ("large", "db", "tier=db"),
        ("small", "web", "app=shop,tier=web"),
    ]


@pytest.mark.usefixtures("maps")
async def test_of_several_names_those_that_exist_are_shown(upwell: Upwell) -> None:
    some = await asyncio.to_thread(upwell, "get", "cm", "small", "nope", "-o", "name")
    ignored = await asyncio.to_thread(upwell, "get", "cm", "nope", "--ignore-not-found")

    assert (some.exit_code, some.stdout) == (3, "configmap/small\n")
    assert 'configmaps "nope" not found' in some.stderr
    assert (ignored.exit_code, ignored.stdout) == (0, "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("cm", "-o", "jsonpath={.items[0"), "the [ is not closed, at character 8"),
        (("cm", "-o", "jsonpath="), "the template is missing"),
        (("cm", "-o", "go-template={{.x"), "the {{ is not closed"),
        (("cm", "-o", "custom-columns=NAME"), "expected TITLE:PATH"),
        (("cm", "-o", "jsonpath-file=/nope"), "No such file"),
        (("cm", "-o", "xml"), "'xml' is not one of table, wide, name, json, yaml, jsonpath=…"),
        (("cm", "small", "-l", "a=b"), "name objects, or select them"),
    ],
)
def test_what_cannot_be_understood_is_a_usage_error(
    upwell: Upwell, arguments: tuple[str, ...], message: str
) -> None:
    refused = upwell("get", *arguments)

    assert refused.exit_code == 2
    assert message in " ".join(refused.stderr.split())


@pytest.mark.usefixtures("maps")
async def test_a_template_that_does_not_fit_fails(upwell: Upwell) -> None:
    failed = await asyncio.to_thread(upwell, "get", "cm", "-o", "jsonpath={.items[7].data}")

    assert failed.exit_code == 1
    assert "index 7, length 3" in failed.stderr


@pytest.mark.usefixtures("fixed")
async def test_every_command_with_json_takes_templates(upwell: Upwell) -> None:
    status = await asyncio.to_thread(upwell, "status", "-o", "json")
    keys = await asyncio.to_thread(
        upwell, "status", "-o", "go-template={{range $k, $v := .}}{{$k}} {{end}}"
    )

    assert keys.stdout.split() == sorted(json.loads(status.stdout))
