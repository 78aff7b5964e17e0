"""Logs of running builds at a replica that does not lead: they come from the one that does."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from tests.support.server.api_server import Api, ApiClock, serving

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.codec import decode_as
from upwell.api.coordination.replicas import ReplicaPlace
from upwell.cluster.errors import ClusterUnavailableError
from upwell.cluster.leader_client import LeaderClient
from upwell.machine.clock import now
from upwell.server.asgi.mixed_tls import TLS_NAME
from upwell.server.asgi.tls import certificate_digest, generated, server_context
from upwell.server.auth.signatures import Signatures
from upwell.server.builds.leader_logs import PLACE
from upwell.server.http.limits import ServerLimits
from upwell.store.memory import MemoryStore

LOG = "/apis/build.openshift.io/v1/namespaces/default/builds/b-1/log"
KEY = b"k" * 32


@dataclass
class SeenElection:
    """The election as one replica sees it."""

    leads: bool = False
    leader: str = "one"
    place: ReplicaPlace | None = None

    def client(self) -> LeaderClient:
        return LeaderClient(
            lambda: self.leads, lambda: self.leader, lambda: self.place, TLS_NAME, look_seconds=0.05
        )


@dataclass
class ReplicaPair:
    """A replica that leads, and another one, of one store."""

    store: MemoryStore
    one: Api
    two: Api
    seen_by_one: SeenElection
    seen_by_two: SeenElection
    build: Build = field(init=False)

    async def build_runs(self, phase: BuildPhase = BuildPhase.RUNNING) -> Callable[[bytes], None]:
        """Create a build; return the sink of its log at the leader."""
        document = {"metadata": {"namespace": "default", "name": "b-1"}, "spec": {}}
        self.build = await self.store.create(decode_as(Build, document))
        await self.has_phase(phase)
        return self.one.logs.sink(self.build.uid)

    async def has_phase(self, phase: BuildPhase) -> None:
        status = self.build.status.model_copy(update={"phase": phase})
        self.build = await self.store.update_status(
            self.build.model_copy(update={"status": status})
        )

    def log_ends(self) -> None:
        self.one.logs.close(self.build.uid)


@pytest.fixture
async def replicas() -> AsyncIterator[ReplicaPair]:
    store = MemoryStore(ApiClock())
    of_one, of_two = SeenElection(leads=True), SeenElection()
    shared = Signatures(KEY)
    async with (
        serving(ServerLimits(), store=store, leader=of_one.client(), signatures=shared) as one,
        serving(ServerLimits(), store=store, leader=of_two.client(), signatures=shared) as two,
    ):
        of_two.place = ReplicaPlace(one.url)
        yield ReplicaPair(store, one, two, of_one, of_two)


async def test_a_running_build_is_followed_at_any_replica_to_its_end(replicas: ReplicaPair) -> None:
    write = await replicas.build_runs()
    write(b"one\n")
    async with asyncio.timeout(30), replicas.two.stream(f"{LOG}?follow=true") as stream:
        assert await stream.readline() == b"one\n"
        write(b"two\n")
        assert await stream.readline() == b"two\n"
        replicas.log_ends()
        assert await stream.read() == b""


async def test_a_build_that_has_not_started_is_waited_for_where_it_will(
    replicas: ReplicaPair,
) -> None:
    write = await replicas.build_runs(BuildPhase.NEW)
    async with asyncio.timeout(30), replicas.two.stream(f"{LOG}?follow=true") as stream:
        write(b"begun\n")
        await replicas.has_phase(BuildPhase.RUNNING)
        assert await stream.readline() == b"begun\n"
        replicas.log_ends()
        assert await stream.read() == b""


async def test_the_last_lines_are_the_leaders_and_what_has_ended_is_not_asked_for(
    replicas: ReplicaPair,
) -> None:
    write = await replicas.build_runs()
    write(b"one\ntwo\nthree\n")
    assert (await replicas.two.get(f"{LOG}?tailLines=2")).text == "two\nthree\n"
    assert (await replicas.two.get(LOG)).text == "one\ntwo\nthree\n"
    replicas.two.logs.sink(replicas.build.uid)(b"kept here\n")
    await replicas.has_phase(BuildPhase.COMPLETE)
    assert (await replicas.two.get(LOG)).text == "kept here\n"


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"leader": ""}, "no replica leads at this moment"),
        ({"place": None}, "does not say where it answers: start it with --replica-address"),
        ({"place": ReplicaPlace("http://127.0.0.1:1")}, "http://127.0.0.1:1 does not answer"),
    ],
)
async def test_a_leader_that_is_not_reached_is_an_answer_to_try_again(
    replicas: ReplicaPair, change: dict[str, object], why: str
) -> None:
    await replicas.build_runs()
    for name, value in change.items():
        setattr(replicas.seen_by_two, name, value)
    answer = await replicas.two.get(LOG)
    assert answer.status == 503
    assert answer.headers["Retry-After"] == "1"
    assert "the log of running Build default/b-1 is the leader's" in answer.json["message"]
    assert why in answer.json["message"]


async def test_replicas_that_take_each_other_for_the_leader_send_nothing_around(
    replicas: ReplicaPair,
) -> None:
    await replicas.build_runs()
    replicas.seen_by_one.leads = False
    replicas.seen_by_one.place = ReplicaPlace(replicas.two.url)
    answer = await replicas.two.get(LOG)
    assert answer.status == 503
    assert "this replica does not lead any more" in answer.json["message"]


async def test_a_log_whose_leader_goes_away_is_cut_off(replicas: ReplicaPair) -> None:
    """So that no client takes it for the whole; `upwell logs` then goes on at the next byte."""
    write = await replicas.build_runs()
    write(b"one\n")
    async with asyncio.timeout(30), replicas.two.stream(f"{LOG}?follow=true") as stream:
        assert await stream.readline() == b"one\n"
        replicas.one.shutdown.set()
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()


async def test_another_leader_ends_what_follows_the_one_before(replicas: ReplicaPair) -> None:
    """As it is when its node is gone: nothing comes from it, not even an end."""
    write = await replicas.build_runs()
    write(b"one\n")
    async with asyncio.timeout(30), replicas.two.stream(f"{LOG}?follow=true") as stream:
        assert await stream.readline() == b"one\n"
        replicas.seen_by_two.leader = "three"
        with pytest.raises(aiohttp.ClientPayloadError):
            await stream.read()


async def test_a_ticket_opens_one_log_for_a_minute(replicas: ReplicaPair) -> None:
    write = await replicas.build_runs()
    write(b"one\n")
    ends = int(now().timestamp())

    def ticket(key: bytes = KEY, uid: str = replicas.build.uid, left: int = 60) -> str:
        claims = ("default", "b-1", uid, 0, -1, ends + left)
        return PLACE + Signatures(key).sign("replica log", claims)

    assert (await replicas.one.get(ticket())).text == "one\n"
    for wrong in (ticket(b"o" * 32), ticket(uid="of another"), ticket(left=0), f"{PLACE}none"):
        assert (await replicas.one.get(wrong)).status == 404, wrong
    async with serving(ServerLimits()) as alone:
        assert (await alone.get(ticket())).status == 404  # where there are no replicas


@asynccontextmanager
async def answering(context: ssl.SSLContext) -> AsyncIterator[str]:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nlog")
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_leader_is_known_by_the_certificate_that_its_lease_names(tmp_path: Path) -> None:
    own = generated(tmp_path / "own", ["upwell.example.com"], now())
    other = generated(tmp_path / "other", ["upwell.example.com"], now())
    async with answering(server_context(own)) as url:
        place = ReplicaPlace(url, certificate_digest(own.chain))
        pieces = await SeenElection(place=place).client().get("/")
        assert b"".join([piece async for piece in pieces]) == b"log"

        wrong = ReplicaPlace(url, certificate_digest(other.chain))
        with pytest.raises(ClusterUnavailableError, match="another certificate than the Lease"):
            await SeenElection(place=wrong).client().get("/")


@pytest.mark.parametrize(
    ("url", "certificate"),
    [
        ("https://10.1.2.3:7080", ""),
        ("https://10.1.2.3:7080", "12"),
        ("http://10.1.2.3:7080", "a" * 64),
        ("https://10.1.2.3:7080/elsewhere?", "a" * 64),
        ("https://user@10.1.2.3:7080", "a" * 64),
        ("file:///etc/passwd", ""),
        ("", ""),
    ],
)
def test_a_lease_that_names_no_place_is_not_followed(url: str, certificate: str) -> None:
    assert ReplicaPlace.of(ReplicaPlace(url, certificate).annotations()) is None


@pytest.mark.parametrize(
    "place",
    [ReplicaPlace("http://10.1.2.3:7080"), ReplicaPlace("https://[fd00::1]:7080", "a" * 64)],
)
def test_a_place_is_found_in_the_lease_again(place: ReplicaPlace) -> None:
    assert ReplicaPlace.of(place.annotations()) == place
