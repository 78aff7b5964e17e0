"""`upwell get` by the server's own tables: the same, line by line, as by the objects."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from click.testing import CliRunner
from tests.support.cli.served_commands import ServedCommands, served_commands

from upwell.api.decoding.kinds import KINDS, KindNames
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import Exit
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_tables import TableRequest, TablesRefusedError, read_tables, table_in


def _config_map(name: str, **labels: str) -> dict[str, Any]:
    metadata = {"name": name, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1"}}


OBJECTS: list[Mapping[str, Any]] = [
    _config_map("alpha", app="shop", tier="web"),
    _config_map("beta"),
    {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "key"}, "stringData": {"k": "v"}},
    {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "shop"},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": {"app": "shop"}},
            "template": {
                "metadata": {"labels": {"app": "shop"}},
                "spec": {"containers": [{"name": "web", "image": "vendor.test/shop:1"}]},
            },
        },
    },
    {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "shop"},
        "spec": {"selector": {"app": "shop"}, "ports": [{"port": 80}]},
    },
]


@pytest.fixture
async def shop() -> AsyncIterator[ServedCommands]:
    async with served_commands() as commands:
        documents = "\n---\n".join(map(json.dumps, OBJECTS))
        await commands.done("apply", "-f", "-", stdin=documents)
        yield commands


@pytest.mark.parametrize(
    "arguments",
    [
        "cm",
        "cm,secret",
        "all",
        "all -A",
        "ns",
        "ns -A --show-labels",
        "deploy -o wide",
        "cm -l app=shop",
        "cm -l nothing=here",
        "cm -l !!",
        "cm --field-selector metadata.name=beta",
        "cm --field-selector spec.no=thing",
        "cm -L app,tier -L app",
        "cm -A --show-labels --show-kind",
        "cm --no-headers",
        "cm --sort-by=.metadata.name",
        "cm beta alpha",
        "cm/beta svc/shop cm/alpha",
        "cm/gone",
        "cm alpha gone",
        "cm gone --ignore-not-found",
        "cm alpha gone --ignore-not-found",
        "cm/alpha -A",
        "cm -n nowhere",
        "pods",
        "unicorns",
        "cm/",
        "",
    ],
)
async def test_tables_are_those_of_the_objects(
    shop: ServedCommands, arguments: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.machine.clock.now", shop.api.clock)  # one clock for all ages

    by_server = await shop("get", *arguments.split())
    by_objects = await replace(shop, reads_tables=False)("get", *arguments.split())

    assert by_server.output == by_objects.output
    assert by_server.exit_code == by_objects.exit_code


async def test_a_table_is_what_the_server_is_asked_for(shop: ServedCommands) -> None:
    asked = [TableRequest("v1", "configmaps", "default", "alpha")]

    found = await read_tables(ServerAccess(shop.api.url), asked)

    assert found is not None
    assert found[0][0]["rows"][0]["cells"][0] == "alpha"


@pytest.mark.parametrize(
    "asked", [TableRequest("v1", "unicorns", "default"), TableRequest("v9", "configmaps")]
)
async def test_what_the_server_does_not_have_it_refuses(
    shop: ServedCommands, asked: TableRequest
) -> None:
    with pytest.raises(TablesRefusedError, match="the server answered 404"):
        await read_tables(ServerAccess(shop.api.url), [asked])


@pytest.mark.parametrize(
    ("status", "words", "what", "told"),
    [
        (403, "who are you", "cm", "ConfigMap in namespace default: who are you"),
        (401, "log in", "cm/alpha", ": log in"),
        (404, "alpha is on its way", "cm alpha", "alpha is on its way"),
    ],
)
async def test_who_is_refused_has_asked_once(status: int, words: str, what: str, told: str) -> None:
    verdict = {"kind": "Status", "code": status, "message": words, "details": {"name": "alpha"}}
    body = json.dumps(verdict).encode()
    asked: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 %d No\r\ncontent-length: %d\r\n\r\n" % (status, len(body)) + body)
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        access = ServerAccess(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        url = access.base_url
        session = Session(url, connect=asked_again, find_access=lambda *_: access)
        arguments = ["get", *what.split()]
        found = await asyncio.to_thread(CliRunner().invoke, main, arguments, obj=session)

    assert told in found.stderr, found.output
    assert found.exit_code != 0
    assert len(asked) == 1


COLUMN = {"name": "Name", "format": "name"}


def row_of(about: str) -> bytes:
    """Return a Table with a row about that."""
    head = '{"kind": "Table", "columnDefinitions": [{"name": "A"}]'
    return f'{head}, "rows": [{{"cells": [1], "object": {about}}}]}}'.encode()


@pytest.mark.parametrize(
    "answer",
    [
        b"[",
        b"[]",
        b'{"kind": "Table"}',
        b'{"kind": "Table", "columnDefinitions": [1], "rows": []}',
        b'{"kind": "Table", "columnDefinitions": [{"name": "A"}], "rows": 1}',
        b'{"kind": "Table", "columnDefinitions": [{"name": "A"}], "rows": [{"cells": []}]}',
        b'{"kind": "Table", "columnDefinitions": [{"name": "A"}], "rows": [1]}',
        b'{"kind": "Table", "columnDefinitions": [{"name": "A", "priority": 1}], "rows": []}',
        b'{"kind": "Table", "columnDefinitions": [{"name": "A"}], "metadata": 1}',
        row_of("1"),
        row_of('{"metadata": 1}'),
        row_of('{"metadata": {"namespace": 1}}'),
        row_of('{"metadata": {"labels": ["a"]}}'),
        row_of('{"metadata": {"labels": {"a": 1}}}'),
    ],
)
def test_what_has_not_the_form_of_a_table_is_none(answer: bytes) -> None:
    assert table_in(answer) is None


def test_a_table_without_rows_is_one() -> None:
    text = json.dumps({"kind": "Table", "columnDefinitions": [COLUMN], "rows": None})

    found = table_in(text.encode())

    assert found is not None
    assert found["rows"] == []


async def test_a_server_that_is_not_there_has_no_tables() -> None:
    asked = TableRequest("v1", "configmaps", "default")

    assert await read_tables(ServerAccess("http://127.0.0.1:1"), [asked]) is None


def asked_again(*_: str) -> NoReturn:
    raise AssertionError("the server was asked again")


async def test_a_server_that_is_silent_is_waited_for_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        access = ServerAccess(url, timeout=0.05)
        session = Session(url, connect=asked_again, find_access=lambda *_: access)
        found = await asyncio.to_thread(CliRunner().invoke, main, ["get", "cm"], obj=session)

    assert f"{url} did not answer in time: is `upwell serve` running" in found.stderr
    assert found.exit_code == Exit.UNREACHABLE


async def test_a_long_list_is_read_page_by_page(
    shop: ServedCommands, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upwell.store.kubernetes_tables._PAGE", 1)
    monkeypatch.setattr("upwell.machine.clock.now", shop.api.clock)

    pages = await read_tables(ServerAccess(shop.api.url), [TableRequest("v1", "configmaps")])

    assert pages is not None
    assert [row["cells"][0] for page in pages[0] for row in page["rows"]] == ["alpha", "beta"]
    assert len(pages[0]) > 1
    by_objects = await replace(shop, reads_tables=False)("get", "cm,secret", "-A")
    assert (await shop("get", "cm,secret", "-A")).output == by_objects.output


@pytest.mark.parametrize("names", KINDS, ids=lambda names: names.kind)
def test_titles_survive_the_way_through_a_table(names: KindNames) -> None:
    titles = [column.title for column in names.resource().KIND.printed_columns]

    assert [title.title().upper() for title in titles] == titles
