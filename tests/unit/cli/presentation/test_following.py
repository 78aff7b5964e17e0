"""Reports that are printed again: on what they say, through restarts, until the last one."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import override

import pytest
from tests.unit.cli.conftest import SHOP_OLD, FakeClient, deployment

from upwell.api.apps import Deployment
from upwell.cli.core import waiting
from upwell.cli.core.output import Format
from upwell.cli.core.terminal import echo
from upwell.cli.presentation.following import PrintedReport, print_on_changes
from upwell.store.interface import UnavailableError

SECONDS = 30


@dataclass
class Numbered(PrintedReport):
    number: int
    last: int

    @property
    @override
    def is_last(self) -> bool:
        return self.number == self.last

    @override
    def said(self) -> int:
        return self.number

    @override
    def write(self) -> None:
        echo(f"report {self.number}")


class Readings:
    """Gives these numbers, each after a change of an object; None is a server that is away."""

    def __init__(self, client: FakeClient, numbers: Sequence[int | None]) -> None:
        self._client = client
        self._left: Iterator[int | None] = iter(numbers)
        self._last = numbers[-1] or 0

    async def __call__(self) -> PrintedReport:
        await self._client.put(deployment((1, "Complete", SHOP_OLD)))
        await self._client.delete(Deployment, "default", "shop")
        number = next(self._left)
        if number is None:
            raise UnavailableError("127.0.0.1:1: connection refused")
        return Numbered(number, self._last)


@pytest.mark.parametrize(
    ("numbers", "output", "printed"),
    [
        ((3,), Format.TABLE, "report 3\n"),
        ((1, 1, 2, 2, 1, 3), Format.TABLE, "report 1\n\nreport 2\n\nreport 1\n\nreport 3\n"),
        ((1, 2), Format.YAML, "report 1\n---\nreport 2\n"),
        ((1, None, 2), Format.TABLE, "report 1\n\nreport 2\n"),
    ],
)
async def test_it_is_printed_when_it_says_something_else(
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    numbers: Sequence[int | None],
    output: str,
    printed: str,
) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0)
    monkeypatch.setattr("upwell.cli.presentation.following._MOMENT", 0)
    client.paths["/version"] = [{}]
    read = Readings(client, numbers)
    async with asyncio.timeout(SECONDS):
        await print_on_changes(client, (Deployment,), "default", read, output)

    told = capsys.readouterr()
    assert told.out == printed
    assert ("connected to the server again" in told.err) is (None in numbers)


async def test_one_of_several_watches_tells_of_a_lost_server(
    client: FakeClient, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0)
    client.paths["/version"] = [{}]
    for _ in range(2):
        lost = UnavailableError("127.0.0.1:1: connection refused")
        await asyncio.gather(*(waiting.reconnected(client, lost) for _ in range(3)))
        assert capsys.readouterr().err.splitlines() == [
            "lost the connection to the server (127.0.0.1:1: connection refused); retrying",
            "connected to the server again",
        ]
