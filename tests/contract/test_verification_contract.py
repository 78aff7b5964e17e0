"""Contract of probes: each question gets one answer, or a ProbeError that says why."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest
from tests.support.delivery.http_receiver import HANG, HttpReceiver, receiving
from tests.support.outbound.dialers import loopback_dialer
from tests.support.ports import free_port
from tests.support.verification.probes import ScriptedProbes

from upwell.verification.http import ResponseLimits
from upwell.verification.interface import (
    BadQuestionError,
    HttpAnswer,
    HttpQuestion,
    MetricQuestion,
    ProbeError,
    Probes,
    SignedEvent,
)
from upwell.verification.network import NetworkProbes

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECRET = "s3cret"


@dataclass
class ProbedServer:
    """Probes, and the one whom they ask."""

    probes: Probes
    port: int
    answer: Callable[[int, bytes], None]
    """Let it answer with this status and body from now on."""
    fail: Callable[[], None]
    """Let it answer nothing that makes sense from now on."""
    told: Callable[[], list[bytes]]
    """The bodies of the events that it took."""

    @property
    def url(self) -> str:
        return f"http://ann:{SECRET}@127.0.0.1:{self.port}/x?token={SECRET}"


def http(code: int, body: bytes) -> bytes:
    return f"HTTP/1.1 {code} Said\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


def of_network(probes: Probes, receiver: HttpReceiver) -> ProbedServer:
    def answer(code: int, body: bytes) -> None:
        receiver.otherwise = http(code, body)

    def fail() -> None:
        receiver.otherwise = b"\x00\xff SSH-2.0 \r\n\r\n"

    def told() -> list[bytes]:
        return [one.body for one in receiver.arrived if one.line.startswith("POST")]

    return ProbedServer(probes, receiver.port, answer, fail, told)


def of_script(probes: ScriptedProbes) -> ProbedServer:
    def answer(code: int, body: bytes) -> None:
        probes.http = HttpAnswer(code, body)
        probes.metric = METRICS.get((code, body), ProbeError("no metrics"))
        probes.ci = None if code // 100 == 2 else ProbeError(f"answered {code}")

    def fail() -> None:
        probes.http = probes.metric = probes.ci = ProbeError("it makes no sense")

    return ProbedServer(probes, 80, answer, fail, lambda: [event.body for event in probes.told])


def series(*values: str, kind: str = "vector") -> tuple[int, bytes]:
    """Return the answer of Prometheus' API with a sample for each value."""
    samples: Any = [{"metric": {"n": str(n)}, "value": [1, one]} for n, one in enumerate(values)]
    result = [1, *values] if kind == "scalar" else samples
    document = {"status": "success", "data": {"resultType": kind, "result": result}}
    return 200, json.dumps(document).encode()


def refused(kind: str) -> tuple[int, bytes]:
    return 422, json.dumps({"status": "error", "errorType": kind, "error": "why"}).encode()


METRICS: dict[tuple[int, bytes], float | ProbeError | None] = {
    series("0.25"): 0.25,
    series("7", kind="scalar"): 7.0,
    series(): None,
    series("NaN"): None,
    series("-Inf"): None,
    series("1", "2"): BadQuestionError("2 series"),
    refused("bad_data"): BadQuestionError("why"),
    refused("timeout"): ProbeError("why"),
    (503, b"starting"): ProbeError("503"),
    (200, b"{}"): ProbeError("no Prometheus"),
}
"""Answers of a server of metrics, and what is measured."""


@pytest.fixture(params=["network", "scripted"])
async def asked(request: pytest.FixtureRequest) -> AsyncIterator[ProbedServer]:
    if request.param == "scripted":
        yield of_script(ScriptedProbes())
        return
    async with (
        receiving() as receiver,
        NetworkProbes.open("1.2.3", loopback_dialer(), ResponseLimits(seconds=60)) as probes,
    ):
        yield of_network(probes, receiver)


# get


@pytest.mark.parametrize("code", [200, 204, 302, 404, 503])
async def test_an_answer_is_handed_over_whatever_its_status(asked: ProbedServer, code: int) -> None:
    body = b"" if code == 204 else b"\x00said\xff"
    asked.answer(code, body)

    assert await asked.probes.get(HttpQuestion(asked.url, "shop.test")) == HttpAnswer(code, body)


async def test_each_question_is_answered_anew(asked: ProbedServer) -> None:
    for code in (200, 503, 200):
        asked.answer(code, b"x")
        assert (await asked.probes.get(HttpQuestion(asked.url))).status == code


# connect


async def test_a_connection_is_accepted(asked: ProbedServer) -> None:
    await asked.probes.connect("127.0.0.1", asked.port)


@asynccontextmanager
async def nobody_there(kind: str) -> AsyncIterator[tuple[Probes, int]]:
    """Give probes, and a port where nobody listens."""
    port = free_port()
    if kind == "scripted":
        probes = ScriptedProbes()
        probes.http = probes.metric = probes.ci = probes.tcp = ProbeError(f"{port}: refused")
        yield probes, port
    else:
        async with NetworkProbes.open(
            "1.2.3", loopback_dialer(), ResponseLimits(seconds=60)
        ) as network:
            yield network, port


# measure


@pytest.mark.parametrize(
    "answer", [answer for answer, number in METRICS.items() if not isinstance(number, ProbeError)]
)
async def test_one_finite_number_is_measured(
    asked: ProbedServer, answer: tuple[int, bytes]
) -> None:
    asked.answer(*answer)

    assert await asked.probes.measure(MetricQuestion(asked.url, "up", AT)) == METRICS[answer]


@pytest.mark.parametrize(
    "answer", [answer for answer, number in METRICS.items() if isinstance(number, ProbeError)]
)
async def test_a_fault_of_the_query_is_told_from_one_of_the_server(
    asked: ProbedServer, answer: tuple[int, bytes]
) -> None:
    asked.answer(*answer)

    with pytest.raises(ProbeError) as caught:
        await asked.probes.measure(MetricQuestion(asked.url, "up", AT))
    assert type(caught.value) is type(METRICS[answer])
    assert SECRET not in str(caught.value)


# tell


async def test_an_event_is_told_and_can_be_told_again(asked: ProbedServer) -> None:
    asked.answer(202, b"")
    event = SignedEvent(asked.url, b'{"id": "1"}', b"key")

    for _ in range(2):
        await asked.probes.tell(event)

    assert asked.told() == [event.body, event.body]


@pytest.mark.parametrize("code", [302, 404, 500])
async def test_an_event_that_is_not_taken_is_an_error(asked: ProbedServer, code: int) -> None:
    asked.answer(code, b"")

    with pytest.raises(ProbeError, match=str(code)) as caught:
        await asked.probes.tell(SignedEvent(asked.url, b"{}"))
    assert SECRET not in str(caught.value)


# every method


type Call = Callable[[Probes, str], Awaitable[object]]

CALLS: dict[str, Call] = {
    "get": lambda probes, url: probes.get(HttpQuestion(url)),
    "measure": lambda probes, url: probes.measure(MetricQuestion(url, "up", AT)),
    "tell": lambda probes, url: probes.tell(SignedEvent(url, b"{}")),
}


@pytest.mark.parametrize("call", CALLS)
async def test_what_makes_no_sense_is_an_error(asked: ProbedServer, call: str) -> None:
    asked.fail()

    with pytest.raises(ProbeError) as caught:
        await CALLS[call](asked.probes, asked.url)
    assert str(caught.value)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://[::1"])
async def test_what_is_no_url_is_an_error(asked: ProbedServer, call: str, url: str) -> None:
    with pytest.raises(ProbeError):
        await CALLS[call](asked.probes, url)


@pytest.mark.parametrize("kind", ["network", "scripted"])
async def test_nobody_there_is_an_error(kind: str) -> None:
    async with nobody_there(kind) as (probes, port):
        with pytest.raises(ProbeError, match=str(port)):
            await probes.connect("127.0.0.1", port)
        for call in CALLS.values():
            with pytest.raises(ProbeError, match=str(port)):
                await call(probes, f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("call", CALLS)
async def test_a_question_ends_in_its_own_time(call: str) -> None:
    async with (
        receiving(otherwise=HANG) as receiver,
        NetworkProbes.open("1.2.3", loopback_dialer(), ResponseLimits(seconds=0.2)) as probes,
        asyncio.timeout(60),
    ):
        with pytest.raises(ProbeError, match=r"did not answer within 0\.2 s"):
            await CALLS[call](probes, receiver.url)


@pytest.mark.parametrize("call", CALLS)
async def test_a_question_can_be_cancelled(call: str) -> None:
    async with (
        receiving(otherwise=HANG) as receiver,
        NetworkProbes.open("1.2.3", loopback_dialer()) as probes,
    ):
        asking = asyncio.ensure_future(CALLS[call](probes, receiver.url))
        await receiver.until(lambda one: bool(one.arrived))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking
