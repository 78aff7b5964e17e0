"""Sessions of people: their rights, their ends, and what the provider is asked."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest
from tests.support.server.api_server import ApiClock
from tests.support.server.identity_provider import GRANTS, POLICY, ProviderByTest, sign_in

from upwell.api.core import Secret
from upwell.policy.access.roles import SYSTEM_NAMESPACE, grant_text
from upwell.server.auth.people import SESSION_PREFIX
from upwell.server.auth.principals import Principal
from upwell.server.http.errors import ApiError
from upwell.server.signin.provider import ProvenIdentity, SignInRefusedError
from upwell.server.signin.sessions import SessionPolicy, Sessions
from upwell.store.interface import EVERYTHING
from upwell.store.memory import MemoryStore

ADA = "oidc:4711"


@dataclass
class SessionTrial:
    """A server's sessions, and the provider that they are of."""

    clock: ApiClock = field(default_factory=ApiClock)
    policy: SessionPolicy = POLICY

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.provider = ProviderByTest(self.clock)
        self.restart()

    def restart(self, policy: SessionPolicy | None = None) -> None:
        self.services = sign_in(self.store, self.provider, policy or self.policy)

    @property
    def sessions(self) -> Sessions:
        return self.services.sessions

    def pass_time(self, **span: float) -> None:
        self.clock.advance(**span)
        self.provider.passed += timedelta(**span).total_seconds()

    async def identity(self) -> ProvenIdentity:
        return await self.services.provider.by_device("device-1")

    async def sign_in(self, *, is_page: bool = False) -> str:
        return (await self.sessions.begin(await self.identity(), is_page=is_page)).token

    async def may(self, token: str) -> list[str]:
        found = await self.sessions.principal(token)
        return [grant_text(one) for one in found.grants] if found is not None else []

    async def authored(self, name: str = ADA) -> list[str]:
        return [grant_text(one) for one in await self.sessions.grants(name)]

    async def secrets(self) -> list[Secret]:
        return list((await self.store.list(Secret, EVERYTHING)).items)


@pytest.fixture
def here() -> SessionTrial:
    return SessionTrial()


DEVELOPER = ["deployer@shop", "builder@shop"]


async def test_a_person_has_the_grants_of_their_groups(here: SessionTrial) -> None:
    token = await here.sign_in()

    found = await here.sessions.principal(token)

    assert found is not None
    assert (found.username, found.groups) == (ADA, ("developers",))
    assert await here.may(token) == DEVELOPER
    assert await here.authored() == DEVELOPER


async def test_nothing_that_is_kept_opens_anything(here: SessionTrial) -> None:
    _, _, random = (await here.sign_in()).removeprefix(SESSION_PREFIX).partition("_")

    for secret in await here.secrets():
        kept = repr([value.decode() for value in secret.decoded().values()])
        assert random not in kept
        assert "refresh-1" not in kept
        assert "access-1" not in kept


@pytest.mark.parametrize(
    "token",
    [
        "",
        "upwell_oidc:",
        "upwell_oidc:_x",
        "upwell_oidc:abc",
        "upwell_oidc:abc_def",
        "upwell_oidc:../x_def",
        "upwell_oidc:" + "a" * 600 + "_x",
        "upwell_oidc:\N{SNOWMAN}_x",
    ],
)
async def test_what_is_no_session_opens_nothing(here: SessionTrial, token: str) -> None:
    await here.sign_in()

    assert await here.sessions.principal(token) is None


async def test_another_random_part_opens_nothing(here: SessionTrial) -> None:
    token = await here.sign_in()

    assert await here.sessions.principal(f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}") is None
    assert await here.sessions.principal(f"{token}A") is None


async def test_a_browsers_session_opens_no_api_and_a_command_lines_no_page(
    here: SessionTrial,
) -> None:
    page, api = await here.sign_in(is_page=True), await here.sign_in()

    assert await here.sessions.principal(page) is None
    assert await here.sessions.page(api) is None
    assert await here.sessions.page(page) is not None


async def test_nobody_without_a_grant_gets_in(here: SessionTrial) -> None:
    here.provider.person["groups"] = ["guests", "developers-of-something-else"]

    with pytest.raises(SignInRefusedError, match="guests has a grant"):
        await here.sign_in()

    assert await here.secrets() == []


async def test_a_session_ends_however_much_it_is_used(here: SessionTrial) -> None:
    token = await here.sign_in()

    for _ in range(23):
        here.pass_time(hours=1)
        assert await here.may(token)
    here.pass_time(hours=1)

    assert not await here.may(token)


async def test_a_session_ends_when_it_is_not_used(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.pass_time(hours=11)
    assert await here.may(token)

    here.pass_time(hours=12)

    assert not await here.may(token)


async def test_a_lost_group_ends_all_sessions_at_the_next_question(here: SessionTrial) -> None:
    first, second = await here.sign_in(), await here.sign_in()
    page = await here.sign_in(is_page=True)
    here.provider.person["groups"] = []
    here.pass_time(minutes=4)
    assert await here.may(first) == DEVELOPER

    here.pass_time(minutes=1)

    assert not await here.may(first)
    assert not await here.may(second)
    assert await here.sessions.page(page) is None
    assert not await here.authored()
    assert not await here.sessions.list()


async def test_the_groups_of_the_newest_answer_count_for_all_sessions(here: SessionTrial) -> None:
    first = await here.sign_in()
    here.provider.person["groups"] = ["approvers"]

    await here.sign_in()

    assert await here.may(first) == ["approver@shop"]
    assert await here.authored() == ["approver@shop"]


async def test_a_refused_sign_in_takes_what_the_person_had(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.provider.person["groups"] = []

    with pytest.raises(SignInRefusedError):
        await here.sign_in()

    assert not await here.may(token)
    assert not await here.authored()


async def test_a_grant_that_the_settings_lose_is_lost_at_the_next_start(here: SessionTrial) -> None:
    token = await here.sign_in()

    here.restart(SessionPolicy(GRANTS[:1]))

    assert await here.may(token) == DEVELOPER[:1]


async def test_while_the_provider_is_down_its_last_word_counts_for_an_hour(
    here: SessionTrial,
) -> None:
    token = await here.sign_in()
    here.provider.down = "Connection refused"
    for _ in range(11):
        here.pass_time(minutes=5)
        assert await here.may(token) == DEVELOPER

    here.pass_time(minutes=5)
    with pytest.raises(ApiError) as caught:
        await here.may(token)
    assert caught.value.code == 503

    here.provider.down = ""
    here.pass_time(seconds=31)
    assert await here.may(token) == DEVELOPER


async def test_a_provider_that_is_down_is_not_asked_for_each_request(here: SessionTrial) -> None:
    tokens = [await here.sign_in() for _ in range(5)]
    here.provider.down = "Connection refused"
    here.pass_time(minutes=6)
    before = here.provider.count("token")

    for token in tokens:
        assert await here.may(token) == DEVELOPER

    assert here.provider.count("token") == before + 1


@pytest.mark.parametrize("code", ["invalid_grant", "access_denied", "login_required"])
async def test_a_person_whom_the_provider_denies_is_out(here: SessionTrial, code: str) -> None:
    token = await here.sign_in()
    here.provider.refusal = code
    here.pass_time(minutes=6)

    assert not await here.may(token)
    here.provider.refusal = ""
    assert not await here.may(token)


@pytest.mark.parametrize("code", ["invalid_client", "server_error", "temporarily_unavailable", ""])
async def test_a_fault_of_the_client_or_provider_ends_nobodys_session(
    here: SessionTrial, code: str
) -> None:
    token = await here.sign_in()
    here.provider.answers["token"] = (400, f'{{"error": "{code}"}}'.encode())
    here.pass_time(minutes=6)

    assert await here.may(token) == DEVELOPER


@pytest.mark.parametrize(
    "claims", [{"sub": "4712"}, {"aud": "other"}, {"iss": "https://evil.example.com"}, {"azp": "x"}]
)
async def test_a_refresh_that_is_of_somebody_else_ends_the_session(
    here: SessionTrial, claims: dict[str, str]
) -> None:
    token = await here.sign_in()
    here.provider.claims = claims
    here.pass_time(minutes=6)

    assert not await here.may(token)


async def test_a_refresh_without_id_token_asks_the_userinfo_endpoint(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.provider.has_id_token = False
    here.provider.person["groups"] = ["approvers"]
    here.pass_time(minutes=6)

    assert await here.may(token) == ["approver@shop"]


async def test_each_refresh_token_is_used_once(here: SessionTrial) -> None:
    token = await here.sign_in()

    for _ in range(5):
        here.pass_time(minutes=6)
        here.restart()
        assert await here.may(token) == DEVELOPER


async def test_a_hundred_requests_at_once_ask_the_provider_once(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.pass_time(minutes=6)
    before = here.provider.count("token")

    found = await asyncio.gather(*(here.may(token) for _ in range(100)))

    assert found == [DEVELOPER] * 100
    assert here.provider.count("token") == before + 1


async def test_a_client_that_leaves_does_not_end_the_question_for_others(
    here: SessionTrial,
) -> None:
    token = await here.sign_in()
    here.pass_time(minutes=6)
    here.provider.stop()
    first = asyncio.create_task(here.may(token))
    second = asyncio.create_task(here.may(token))
    await here.provider.reached.wait()

    first.cancel()
    await asyncio.sleep(0)
    here.provider.goes_on.set()

    assert await second == DEVELOPER


async def test_a_session_that_is_ended_while_it_is_confirmed_stays_so(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.pass_time(minutes=6)
    here.provider.stop()
    asked = asyncio.create_task(here.may(token))
    await here.provider.reached.wait()
    (record,) = await here.sessions.list(ADA)
    ending = asyncio.create_task(here.sessions.end(record.id))
    await asyncio.sleep(0)
    here.provider.goes_on.set()
    await ending

    assert not await asked
    assert not await here.may(token)
    assert not await here.sessions.list()


async def test_without_a_refresh_token_a_session_lasts_as_long_as_it_is_believed(
    here: SessionTrial,
) -> None:
    here.provider.has_refresh = False
    token = await here.sign_in()
    here.pass_time(minutes=59)
    assert await here.may(token) == DEVELOPER

    here.pass_time(minutes=1)

    assert not await here.may(token)
    assert not await here.sessions.list()


async def test_an_ended_session_is_over_here_and_at_the_provider(here: SessionTrial) -> None:
    token = await here.sign_in()
    (record,) = await here.sessions.list(ADA)

    await here.sessions.end(record.id)
    await here.sessions.end(record.id)

    assert not await here.may(token)
    revoked = [form for name, form, _ in here.provider.asked if name == "revocation"]
    assert [form and form["token"] for form in revoked] == ["refresh-1"]


async def test_all_sessions_are_over_before_the_provider_has_answered(here: SessionTrial) -> None:
    tokens = [await here.sign_in() for _ in range(3)]
    here.provider.stop()
    ending = asyncio.create_task(
        here.sessions.end(*(one.id for one in await here.sessions.list(ADA)))
    )
    await here.provider.reached.wait()

    assert [await here.may(token) for token in tokens] == [[], [], []]

    here.provider.goes_on.set()
    assert len(await ending) == 3
    assert here.provider.count("revocation") == 3


async def test_with_another_prefix_people_have_other_names(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.restart(replace(POLICY, prefix="corp:"))
    changed = replace(here.services.provider._settings, username_prefix="corp:")
    object.__setattr__(here.services.provider, "_settings", changed)

    assert not await here.may(token)
    found = await here.sessions.principal(await here.sign_in())

    assert found is not None
    assert found.username == "corp:4711"
    assert await here.authored("corp:4711") == DEVELOPER
    assert await here.authored() == []


async def test_the_session_used_longest_ago_makes_room() -> None:
    here = SessionTrial(policy=replace(POLICY, per_person=3))
    tokens = []
    for _ in range(4):
        tokens.append(await here.sign_in())
        here.pass_time(minutes=1)

    assert [bool(await here.may(token)) for token in tokens] == [False, True, True, True]


async def test_a_person_keeps_the_name_of_their_first_sign_in() -> None:
    here = SessionTrial()
    here.provider.person |= {"email": "Ada@Example.com", "email_verified": True}
    by_mail = sign_in(here.store, here.provider)
    object.__setattr__(
        by_mail.provider, "_settings", replace(by_mail.provider._settings, username_claim="email")
    )
    here.services = by_mail

    first = await here.sessions.principal(await here.sign_in())
    here.provider.person["email"] = "lovelace@example.com"
    second = await here.sessions.principal(await here.sign_in())

    assert isinstance(first, Principal)
    assert isinstance(second, Principal)
    assert (first.username, second.username) == ("oidc:ada@example.com",) * 2


async def test_nobody_inherits_the_name_of_another_subject(here: SessionTrial) -> None:
    mine = await here.identity()
    await here.sessions.begin(mine, is_page=False)

    with pytest.raises(SignInRefusedError, match="name of somebody else"):
        await here.sessions.begin(replace(mine, subject="4712"), is_page=False)

    assert await here.authored() == DEVELOPER


async def test_a_person_of_another_issuer_counts_for_nothing(here: SessionTrial) -> None:
    token = await here.sign_in()
    other = ProviderByTest(here.clock)
    services = sign_in(here.store, other)
    object.__setattr__(services.provider._issuer, "url", "https://other.example.com")

    assert await services.sessions.principal(token) is None
    assert await services.sessions.grants(ADA) == ()


async def test_what_a_person_has_written_acts_for_some_time_after_their_sessions(
    here: SessionTrial,
) -> None:
    await here.sign_in()
    here.pass_time(days=89)
    await here.sessions.prune()
    assert await here.authored() == DEVELOPER
    assert not await here.sessions.list()

    here.pass_time(days=1)
    assert await here.authored() == []

    await here.sessions.prune()
    assert await here.secrets() == []


async def test_names_of_tokens_are_nobodys_here(here: SessionTrial) -> None:
    assert not here.sessions.owns("ci")
    assert not here.sessions.owns("system:admin")
    assert await here.authored("oidc:nobody") == []


async def test_a_damaged_record_is_none_and_costs_no_other(here: SessionTrial) -> None:
    broken, whole = await here.sign_in(), await here.sign_in()
    name = f"session-{broken.split(':')[1].split('_')[0]}"
    secret = await here.store.get(Secret, SYSTEM_NAMESPACE, name)
    changed = {**secret.data, "ends": "AAAA"}
    await here.store.update(secret.model_copy(update={"data": changed}))

    assert not await here.may(broken)
    assert await here.may(whole)
    assert len(await here.sessions.list()) == 1


async def test_a_secret_that_somebody_wrote_is_no_session(here: SessionTrial) -> None:
    token = await here.sign_in()
    name = f"session-{token.split(':')[1].split('_')[0]}"
    secret = await here.store.get(Secret, SYSTEM_NAMESPACE, name)
    await here.store.update(secret.model_copy(update={"type": "Opaque"}))

    assert not await here.may(token)


async def test_another_key_of_the_server_does_not_open_refresh_tokens(here: SessionTrial) -> None:
    token = await here.sign_in()
    here.services = sign_in(here.store, here.provider, secret=b"another")
    here.pass_time(minutes=6)
    before = here.provider.count("token")

    assert await here.may(token) == DEVELOPER
    here.pass_time(hours=1)
    assert not await here.may(token)
    assert here.provider.count("token") == before
