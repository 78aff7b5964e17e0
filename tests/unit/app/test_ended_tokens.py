"""Ends of tokens: told before they come, and removed long after."""

from datetime import UTC, datetime, timedelta

import pytest

from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.core import ConfigMap, Secret
from upwell.api.values.author import with_author, with_content_authors
from upwell.app.identity.ended_tokens import remove_ended_tokens, tell_of_ends
from upwell.machine.components import Components
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.tokens import USED_ANNOTATION, TokenRecord, hash_of
from upwell.store.memory import MemoryStore

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
YEAR = timedelta(days=365)


class TokensAtATime:
    """A store with tokens, and its clock."""

    def __init__(self) -> None:
        self.time = NOW
        self.store = MemoryStore(clock=lambda: self.time)
        self.component = Components(lambda: self.time).add("tokens", required=False)

    async def token(self, name: str, life: timedelta | None, used: datetime | None = None) -> None:
        end = self.time + life if life is not None else None
        record = TokenRecord(name, hash_of(name), (parse_grant("viewer@shop"),), end)
        secret = record.as_secret()
        if used is not None:
            secret = secret.with_metadata(annotations={USED_ANNOTATION: used.isoformat()})
        await self.store.create(secret)

    async def told(self, moment: datetime) -> str:
        await tell_of_ends(self.store, self.component, moment)
        return self.component.state.message


@pytest.fixture
def here() -> TokensAtATime:
    return TokensAtATime()


async def test_the_end_of_a_token_in_use_is_told_before_it_comes(here: TokensAtATime) -> None:
    end = NOW + timedelta(days=90)
    await here.token("ci", timedelta(days=90), used=end - timedelta(days=20))
    await here.token("idle", timedelta(days=90), used=NOW)
    await here.token("never-used", timedelta(days=90))
    await here.token("endless", None, used=end - timedelta(days=20))
    assert await here.told(end - timedelta(days=15)) == ""
    told = await here.told(end - timedelta(days=13))
    assert told.startswith(f"ci ({end:%Y-%m-%d %H:%M} UTC): make others")
    assert here.component.state.reason == "TokensEndSoon"
    assert await here.told(end) == ""


async def test_nobody_is_told_of_tokens_for_an_hour(here: TokensAtATime) -> None:
    await here.token("job", timedelta(hours=1), used=NOW)
    assert await here.told(NOW + timedelta(minutes=59)) == ""


async def test_a_damaged_token_hides_no_other(here: TokensAtATime) -> None:
    await here.token("ci", timedelta(days=8), used=NOW)
    damaged = TokenRecord("eve", "0", (), NOW).as_secret()
    await here.store.create(
        damaged.model_copy(update={"string_data": {"expires": "soon", "grants": "root@x"}})
    )
    assert "ci (" in await here.told(NOW + timedelta(days=7))
    assert await remove_ended_tokens(here.store, NOW + YEAR) == ["ci"]


async def test_ended_tokens_go_when_nothing_has_them_as_its_author(here: TokensAtATime) -> None:
    for name in ("ci", "wrote", "uploaded", "endless"):
        await here.token(name, None if name == "endless" else timedelta(days=1))
    document = {"metadata": {"name": "one", "namespace": "shop"}}
    await here.store.create(with_author(decode_as(ConfigMap, document), "wrote"))
    build = with_content_authors(decode_as(BuildConfig, document), ["uploaded"])
    await here.store.create(build)
    assert await remove_ended_tokens(here.store, NOW + timedelta(days=90)) == ()
    assert await remove_ended_tokens(here.store, NOW + timedelta(days=91)) == ["ci"]
    await here.store.delete(ConfigMap, "shop", "one")
    await here.store.delete(BuildConfig, "shop", "one")
    assert sorted(await remove_ended_tokens(here.store, NOW + YEAR)) == ["uploaded", "wrote"]
    left = (await here.store.list(Secret)).items
    assert [secret.name for secret in left] == ["token-endless"]
