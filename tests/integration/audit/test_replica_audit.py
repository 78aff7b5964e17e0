"""Audit logs of replicas in a registry that they share, as an administrator fetches them."""

import json
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.registry.shared_contents import shared_audit
from tests.support.server.granted_api import open_granted_api

from upwell.app.registries.replica_audit import RegistryAudit
from upwell.audit.collected import collected_chains, requests_of
from upwell.audit.events import AuditEvent
from upwell.audit.files import AuditRetention
from upwell.audit.heads import HeadSigner
from upwell.audit.keeping import AuditKeeping
from upwell.audit.log import AuditFiles, AuditLog
from upwell.cli.core.errors import CommandError
from upwell.cli.program import main
from upwell.cli.serve.audit_fetching import FetchedLogs, fetch_logs
from upwell.machine.components import Components
from upwell.server.auth.audit_logs import PATH
from upwell.store.interface import RejectedError

EVENT = AuditEvent("ada", "127.0.0.1", "approve", "promotions", "", "shop", "shop-1", 200)
BEGINNING = datetime(2024, 5, 1, tzinfo=UTC)


class TurnedClock:
    """A clock that is turned by hand."""

    def __init__(self) -> None:
        self.time = BEGINNING

    def __call__(self) -> datetime:
        return self.time


class LoggingReplica:
    """A replica's audit log, and what keeps it."""

    def __init__(self, folder: Path, name: str, kept: RegistryAudit, clock: TurnedClock) -> None:
        components = Components()
        self.folder = folder / name
        self.folder.mkdir(exist_ok=True)
        self.clock = clock
        self.signer = HeadSigner.generate()
        self.log = AuditLog(
            AuditFiles(self.folder, replica=name),
            self.signer,
            clock,
            components.add("audit-log", required=False),
        )
        self.component = components.add("audit-shared", required=False)
        self.keeping = AuditKeeping(self.log, kept, self.component)

    async def record(self, *names: str) -> None:
        for name in names:
            self.clock.time += timedelta(seconds=1)
            await self.log.record(replace(EVENT, name=name))


async def answer(kept: RegistryAudit, path: str) -> bytes:
    """Answer as the server does, without one between."""
    if path == PATH:
        items = [
            {"name": one.name, "chain": one.chain, "log": one.log_name, "first": one.first}
            for one in await kept.pieces()
        ]
        return json.dumps({"items": items}).encode()
    async with kept.open(path.removeprefix(f"{PATH}/")) as content:
        assert content is not None, path
        return b"".join([one async for one in content])


def names_in(folder: Path) -> Sequence[str]:
    return [str(one["name"]) for one in requests_of(collected_chains(folder))]


def verified(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["audit", "verify", "--data-dir", str(folder), *options])


@pytest.fixture
def clock() -> TurnedClock:
    return TurnedClock()


@pytest.fixture(params=["registry", "bucket"])
async def kept(
    request: pytest.FixtureRequest, tmp_path: Path, clock: TurnedClock
) -> AsyncIterator[RegistryAudit]:
    async with shared_audit(tmp_path, request.param, clock) as opened:
        yield opened


async def fetched(kept: RegistryAudit, folder: Path) -> FetchedLogs:
    return await fetch_logs(partial(answer, kept), folder)


async def test_lines_of_all_replicas_are_there_by_time_and_verified(
    kept: RegistryAudit, tmp_path: Path, clock: TurnedClock
) -> None:
    one, two = (LoggingReplica(tmp_path, name, kept, clock) for name in ("upwell-a", "upwell-b"))
    await one.record("1")
    await two.record("2", "3")
    await one.record("4")
    await one.log.record(replace(EVENT, name="denied", code=403))
    await one.keeping.keep_last()
    await two.keeping.keep()

    copy = tmp_path / "copy"
    assert (await fetched(kept, copy)).chains == 2
    assert names_in(copy) == ["1", "2", "3", "4", "denied"]
    listed = CliRunner().invoke(main, ["audit", "list", "--data-dir", str(copy)])
    assert "upwell-b  ada  approve  promotions  shop/3  200" in listed.output
    result = verified(copy)
    assert result.exit_code == 0, result.output
    assert "replica upwell-b has not ended it" in result.output
    assert "replica upwell-a has not" not in result.output, "it has ended in good order"
    head = f"{two.log.heads[0]}"
    assert verified(copy, "--head", head).exit_code == 0
    assert verified(copy, "--head", f"9{head}").exit_code == 1, "a log of that head is missing"


async def test_a_replica_that_comes_back_goes_on_where_it_was(
    kept: RegistryAudit, tmp_path: Path, clock: TurnedClock
) -> None:
    one = LoggingReplica(tmp_path, "upwell-a", kept, clock)
    await one.record("1", "2")
    await one.keeping.keep()
    await one.record("3")
    again = AuditKeeping(one.log, kept, one.component)
    await again.keep()
    await one.record("4")
    await again.keep()
    pieces = [piece for piece in await kept.pieces() if piece.log_name]
    assert [piece.first for piece in pieces] == [1], "the newest piece grows"
    await fetched(kept, tmp_path / "copy")
    assert names_in(tmp_path / "copy") == ["1", "2", "3", "4"]


async def test_a_line_that_was_changed_in_the_registry_is_found(
    kept: RegistryAudit, tmp_path: Path, clock: TurnedClock
) -> None:
    one = LoggingReplica(tmp_path, "upwell-a", kept, clock)
    await one.record("1", "2", "3")
    await one.keeping.keep_last()
    copy = tmp_path / "copy"
    await fetched(kept, copy)
    (chain,) = collected_chains(copy)
    other = LoggingReplica(tmp_path, "upwell-b", kept, clock)
    (chain.folder / "audit.pub").write_bytes(other.signer.public_pem())
    assert "is the key" in verified(copy).output
    await fetched(kept, copy)
    assert verified(copy).exit_code == 0
    await other.record("forged")
    await other.keeping.keep_last()
    await fetched(kept, copy)
    forged, true = (copy / one.signer.key.id / "audit.log.000000000001.gz" for one in (other, one))
    true.write_bytes(forged.read_bytes())
    assert "BROKEN" in verified(copy).output


async def test_what_is_full_is_sent_and_fetched_once(
    kept: RegistryAudit, tmp_path: Path, clock: TurnedClock
) -> None:
    one = LoggingReplica(tmp_path, "upwell-a", kept, clock)
    one.keeping = AuditKeeping(one.log, kept, one.component, piece_bytes=1)
    await one.record(*map(str, range(5)))
    await one.keeping.keep()
    copy = tmp_path / "copy"
    first = await fetched(kept, copy)
    await one.record("5")
    await one.keeping.keep()
    second = await fetched(kept, copy)
    assert (first.files, names_in(copy)) == (6, [str(number) for number in range(6)])
    assert second.files < first.files
    assert verified(copy).exit_code == 0


async def test_a_piece_that_cannot_be_read_keeps_no_other_back_and_is_named(
    tmp_path: Path, clock: TurnedClock
) -> None:
    async with shared_audit(tmp_path, "bucket", clock) as kept:
        one, two = (LoggingReplica(tmp_path, name, kept, clock) for name in ("one", "two"))
        await one.record("1")
        await two.record("2")
        for replica in (one, two):
            await replica.keeping.keep()
        gone, left = sorted((one, two), key=lambda replica: replica.signer.key.id)

        async def damaged(path: str) -> bytes:
            if f"{gone.signer.key.id}.audit." in path:
                raise RejectedError(f"{path}: no blob")
            return await answer(kept, path)

        copy = tmp_path / "copy"
        with pytest.raises(CommandError, match="no blob") as caught:
            await fetch_logs(damaged, copy)
        assert f"{gone.signer.key.id}/audit.log.000000000001.gz" in str(caught.value)
        assert names_in(copy) == ["1" if left is one else "2"]
        assert (copy / gone.signer.key.id / "audit.pub").exists()
        assert f"{gone.signer.key.id}/audit.log: no lines are here" in verified(copy).output


async def test_the_leader_removes_what_is_old_and_the_key_with_the_last(
    kept: RegistryAudit, tmp_path: Path, clock: TurnedClock
) -> None:
    gone, here = (LoggingReplica(tmp_path, name, kept, clock) for name in ("gone", "here"))
    await gone.record("1")
    await gone.keeping.keep_last()
    clock.time += timedelta(days=300)
    await here.record("2")
    await here.keeping.keep()
    clock.time += timedelta(days=100)
    retention = dict.fromkeys(("audit.log", "audit-denied.log"), AuditRetention())
    await kept.remove_old(retention)
    assert {one.chain for one in await kept.pieces()} == {here.signer.key.id}


async def test_administrators_alone_read_them(tmp_path: Path, clock: TurnedClock) -> None:
    async with (
        shared_audit(tmp_path, "bucket", clock) as kept,
        open_granted_api(tmp_path, audit=kept) as api,
    ):
        one = LoggingReplica(tmp_path, "upwell-a", kept, clock)
        await one.record("1")
        await one.keeping.keep()
        await api.grant("viewer", "viewer@*")
        await api.grant("overrider", "overrider@*")
        await api.grant("shop", "admin@shop", "secret-user@*")
        found = await api.send("admin", "GET", PATH)
        assert found.status == 200
        paths = [PATH, *(f"{PATH}/{item['name']}" for item in found.json["items"])]
        assert len(paths) == 3
        for path in paths:
            if not path.endswith("1"):  # what is compressed is no text
                assert (await api.send("admin", "GET", path)).status == 200
            for who in ("viewer", "overrider", "shop"):
                assert (await api.send(who, "GET", path)).status == 403, who
        assert (await api.send("admin", "GET", f"{PATH}/{'0' * 32}.pub")).status == 404
        assert (await api.send("admin", "GET", f"{PATH}/else")).status == 404
