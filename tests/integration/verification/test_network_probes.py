"""Questions over the network to those who answer badly."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest
from tests.support.delivery.http_receiver import receiving, status
from tests.support.outbound.dialers import loopback_dialer
from tests.support.ports import free_port
from tests.support.verification.loopback import (
    Handler,
    dripping,
    endless,
    garbage,
    prometheus,
    says,
    server,
    silent,
)

from upwell.formats.cloud_events import signature
from upwell.verification.http import ResponseLimits
from upwell.verification.interface import (
    BadQuestionError,
    HttpQuestion,
    MetricQuestion,
    ProbeError,
    SignedEvent,
)
from upwell.verification.network import NetworkProbes

AT = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
async def probes() -> AsyncIterator[NetworkProbes]:
    async with NetworkProbes.open(
        "1.2.3", loopback_dialer(), ResponseLimits(seconds=0.5, answer_bytes=10_000)
    ) as opened:
        yield opened


async def test_an_answer_is_handed_over_as_it_is(probes: NetworkProbes) -> None:
    heads: list[str] = []

    async def handle(head: str, writer: asyncio.StreamWriter) -> None:
        heads.append(head)
        await says("sorry", "503 Service Unavailable")(head, writer)

    async with server(handle) as url:
        answer = await probes.get(HttpQuestion(f"{url}/health?deep=1", host="shop.test"))
    assert (answer.status, answer.body, answer.cut) == (503, b"sorry", False)
    assert heads[0].startswith("GET /health?deep=1 HTTP/1.1\r\nHost: shop.test\r\n")


async def test_a_redirect_is_an_answer(probes: NetworkProbes) -> None:
    async with server(says("", "302 Found", Location="http://127.0.0.1:1/")) as url:
        assert (await probes.get(HttpQuestion(url))).status == 302


async def test_an_endless_answer_is_cut(probes: NetworkProbes) -> None:
    async with server(endless) as url, asyncio.timeout(60):
        answer = await probes.get(HttpQuestion(url))
    assert (len(answer.body), answer.cut) == (10_000, True)


async def test_what_is_packed_does_not_grow(probes: NetworkProbes) -> None:
    bomb = gzip.compress(b"0" * 5_000_000)
    async with server(says(bomb, Content_Encoding="gzip")) as url:
        assert (await probes.get(HttpQuestion(url))).body == bomb


@pytest.mark.parametrize(
    ("handle", "message"),
    [
        (silent, "did not answer within 0.5 s"),
        (dripping, "did not answer within 0.5 s"),
        (garbage, "cannot be reached"),
    ],
)
async def test_no_answer_in_time_is_none(
    probes: NetworkProbes, handle: Handler, message: str
) -> None:
    async with server(handle) as url, asyncio.timeout(60):
        with pytest.raises(ProbeError, match=message):
            await probes.get(HttpQuestion(url))


async def test_nobody_there_is_said_without_what_is_secret(probes: NetworkProbes) -> None:
    url = f"http://ann:s3cret@127.0.0.1:{free_port()}/x?token=s3cret"
    with pytest.raises(ProbeError, match=r"http://127.0.0.1:\d+/x cannot be reached") as raised:
        await probes.get(HttpQuestion(url))
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("url", ["", "ftp://x/", "http://", "http://[::1", "http://x:99999/"])
async def test_what_is_no_url_is_not_asked(probes: NetworkProbes, url: str) -> None:
    with pytest.raises(ProbeError):
        await probes.get(HttpQuestion(url))


@pytest.mark.parametrize(
    "url",
    ["http://169.254.169.254/latest/meta-data/", "http://[::ffff:169.254.169.254]/"],
)
async def test_a_machines_metadata_is_not_asked_for(probes: NetworkProbes, url: str) -> None:
    with pytest.raises(ProbeError, match="is a link-local address"):
        await probes.get(HttpQuestion(url))


async def test_a_connection_is_accepted_or_not(probes: NetworkProbes) -> None:
    async with server(silent) as url:
        await probes.connect("127.0.0.1", urlsplit(url).port or 0)
    port = free_port()
    with pytest.raises(ProbeError, match=f"127.0.0.1:{port} cannot be reached"):
        await probes.connect("127.0.0.1", port)
    with pytest.raises(ProbeError, match="cannot be reached"):
        await probes.connect("no-such-host.invalid", 80)


class TestPrometheus:
    async def measured(self, probes: NetworkProbes, handle: Handler) -> float | None:
        async with server(handle) as url:
            return await probes.measure(MetricQuestion(url, "rate(errors[1m])", AT))

    @pytest.mark.parametrize(
        ("handle", "number"),
        [
            (prometheus([{"metric": {}, "value": [1, "0.25"]}]), 0.25),
            (prometheus([1, "7"], "scalar"), 7.0),
            (prometheus([]), None),
            (prometheus([{"metric": {}, "value": [1, "NaN"]}]), None),
            (prometheus([{"metric": {}, "value": [1, "+Inf"]}]), None),
        ],
    )
    async def test_one_number_is_measured(
        self, probes: NetworkProbes, handle: Handler, number: float | None
    ) -> None:
        assert await self.measured(probes, handle) == number

    async def test_it_is_asked_for_a_time(self, probes: NetworkProbes) -> None:
        heads: list[str] = []

        async def handle(head: str, writer: asyncio.StreamWriter) -> None:
            heads.append(head)
            await prometheus([])(head, writer)

        async with server(handle) as url:
            await probes.measure(MetricQuestion(f"{url}/prom/", "a{b='c'} > 1", AT, "Bearer t"))
        path, _, query = heads[0].split(" ")[1].partition("?")
        assert path == "/prom/api/v1/query"
        assert "\r\nAuthorization: Bearer t\r\n" in heads[0]
        assert parse_qs(query) == {"query": ["a{b='c'} > 1"], "time": ["1772366400.000"]}

    @pytest.mark.parametrize(
        ("handle", "message"),
        [
            (
                says('{"status":"error","errorType":"bad_data","error":"parse error"}', "400 Bad"),
                "parse error",
            ),
            (
                prometheus([{"metric": {"a": n}, "value": [1, "1"]} for n in "xy"]),
                "gives 2 series: it must give one number",
            ),
            (prometheus([], "matrix"), "gives a matrix, not one number"),
            (says("x" * 20_000), "the answer is too long"),
        ],
    )
    async def test_a_wrong_query_is_told_from_trouble(
        self, probes: NetworkProbes, handle: Handler, message: str
    ) -> None:
        with pytest.raises(BadQuestionError, match=message):
            await self.measured(probes, handle)

    @pytest.mark.parametrize(
        ("handle", "message"),
        [
            (says("<html>502</html>", "502 Bad Gateway"), "it answered 502, and no result"),
            (says("[" * 5000), "it answered 200, and no result"),
            (says("9" * 5000), "it answered 200, and no result"),
            (says('{"status":"success"}'), "not that of a Prometheus API"),
            (prometheus(7), "not that of a Prometheus API"),
            (prometheus([{"value": [1]}]), "not that of a Prometheus API"),
            (prometheus([{"value": [1, "many"]}]), "the value is not a number"),
            (says('{"status":"error","errorType":"timeout","error":"slow"}', "503 X"), "slow"),
            (silent, "did not answer within 0.5 s"),
            (dripping, "did not answer within 0.5 s"),
        ],
    )
    async def test_a_server_in_trouble_may_be_asked_again(
        self, probes: NetworkProbes, handle: Handler, message: str
    ) -> None:
        with pytest.raises(ProbeError, match=message) as raised:
            await self.measured(probes, handle)
        assert not isinstance(raised.value, BadQuestionError)


class TestEvents:
    async def test_a_ci_gets_the_bytes_that_were_signed(self, probes: NetworkProbes) -> None:
        body = json.dumps({"specversion": "1.0"}).encode()
        async with receiving() as ci:
            await probes.tell(SignedEvent(ci.url, body, b"s3cret"))
            await probes.tell(SignedEvent(ci.url, body))
        signed, plain = ci.arrived
        assert (signed.line, signed.body) == ("POST /hook?x=1 HTTP/1.1", body)
        assert signed.headers["content-type"].startswith("application/cloudevents+json")
        assert signed.headers["x-upwell-signature"] == signature(b"s3cret", body)
        assert "x-upwell-signature" not in plain.headers

    async def test_a_ci_that_does_not_take_it_has_not_been_told(
        self, probes: NetworkProbes
    ) -> None:
        async with receiving(status(401, "No"), status(302, "Found", Location="/y")) as ci:
            for code in (401, 302):
                with pytest.raises(ProbeError, match=f"answered {code}"):
                    await probes.tell(SignedEvent(ci.url, b"{}"))
