"""The life of tokens: their last uses, and who is told that one ends."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from tests.support.server.api_server import START
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.core import Secret
from upwell.app.identity.token_life import write_token_uses
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.tokens import TokenRecord, hash_of, new_token, secret_name

SYSTEM = "upwell-system"
BUILDS = path_of("builds", "shop")


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        yield api


async def lend(granted: GrantedApi, name: str, life: timedelta) -> None:
    """Make a token for a time."""
    made = granted.tokens[name] = new_token(name)
    grants = (parse_grant("viewer@shop"),)
    record = TokenRecord(name, hash_of(made), grants, granted.api.clock() + life)
    await granted.api.store.create(record.as_secret())


async def record_of(granted: GrantedApi, name: str) -> TokenRecord:
    return TokenRecord.of(await granted.api.store.get(Secret, SYSTEM, secret_name(name)))


async def test_the_hour_of_the_last_use_is_kept(granted: GrantedApi) -> None:
    await granted.grant("ci", "viewer@shop")
    await granted.grant("idle", "viewer@shop")
    uses, store, clock = granted.access.tokens.uses, granted.api.store, granted.api.clock
    clock.advance(minutes=17)
    await granted.send("ci", "GET", BUILDS)
    await write_token_uses(store, uses)
    assert (await record_of(granted, "ci")).used == START
    assert (await record_of(granted, "idle")).used is None
    version = (await store.get(Secret, SYSTEM, secret_name("ci"))).resource_version
    for _ in range(5):
        await granted.send("ci", "GET", BUILDS)
        await write_token_uses(store, uses)
    again = await store.get(Secret, SYSTEM, secret_name("ci"))
    assert again.resource_version == version, "one write an hour"
    clock.advance(hours=1)
    await granted.send("ci", "GET", BUILDS)
    await write_token_uses(store, uses)
    assert (await record_of(granted, "ci")).used == START + timedelta(hours=1)


async def test_a_use_brings_no_deleted_token_back(granted: GrantedApi) -> None:
    await granted.grant("ci", "viewer@shop")
    await granted.send("ci", "GET", BUILDS)
    await granted.revoke("ci")
    await write_token_uses(granted.api.store, granted.access.tokens.uses)
    assert (await granted.send("ci", "GET", BUILDS)).status == 401


async def test_what_is_no_token_is_no_use(granted: GrantedApi) -> None:
    granted.tokens["guess"] = new_token("ci")
    await granted.grant("ci", "viewer@shop")
    guess = new_token("ci")
    await granted.api.send("GET", BUILDS, Authorization=f"Bearer {guess}")
    assert list(granted.access.tokens.uses.take()) == []


async def test_an_annotation_that_is_no_time_closes_nothing(granted: GrantedApi) -> None:
    await granted.grant("ci", "viewer@shop")
    secret = await granted.api.store.get(Secret, SYSTEM, secret_name("ci"))
    broken = secret.with_metadata(annotations={"upwell.dev/last-used": "yesterday"})
    await granted.api.store.update(broken)
    assert (await granted.send("ci", "GET", BUILDS)).status == 200


@pytest.mark.parametrize(
    ("life", "quiet", "told"),
    [
        (timedelta(days=90), timedelta(days=75), timedelta(days=77)),
        (timedelta(days=6), timedelta(days=4), timedelta(days=5, hours=1)),
        (timedelta(hours=12), timedelta(hours=9), timedelta(hours=11)),
    ],
)
async def test_the_owner_of_a_token_is_told_before_it_ends(
    granted: GrantedApi, life: timedelta, quiet: timedelta, told: timedelta
) -> None:
    await lend(granted, "ci", life)
    granted.api.clock.now = START + quiet
    assert (await granted.send("ci", "GET", BUILDS)).warnings == ()
    granted.api.clock.now = START + told
    end = START + life
    expected = f'299 - "token ci ends at {end:%Y-%m-%d %H:%M} UTC: make another"'
    assert (await granted.send("ci", "GET", BUILDS)).warnings == (expected,)
    granted.api.clock.now = START + life
    ended = await granted.send("ci", "GET", BUILDS)
    assert (ended.status, ended.warnings) == (401, ())


async def test_metrics_have_the_end_of_each_token(granted: GrantedApi) -> None:
    await lend(granted, "ci", timedelta(days=1))
    await granted.grant("endless", "viewer@shop")
    page = (await granted.send("admin", "GET", "/metrics")).text
    (line,) = [one for one in page.splitlines() if one.startswith("upwell_token_expiry")]
    name, _, value = line.partition(" ")
    assert name == 'upwell_token_expiry_timestamp_seconds{token="ci"}'
    assert float(value) == (START + timedelta(days=1)).timestamp()
