"""Providers that lie, or answer what they like: nobody is let in for it."""

import json
from dataclasses import replace
from typing import Any

import pytest
from tests.support.server.api_server import ApiClock
from tests.support.server.identity_provider import CLIENT, ProviderByTest

from upwell.server.auth.foreign_tokens import InvalidTokenError, IssuerError
from upwell.server.auth.issuers import IssuerUnavailableError
from upwell.server.signin.provider import (
    ClientSettings,
    PendingError,
    ProvenIdentity,
    Provider,
    SignInRefusedError,
    challenge,
)

MAIL = replace(CLIENT, username_claim="email")


@pytest.fixture
def asked() -> ProviderByTest:
    return ProviderByTest(ApiClock())


async def identity(
    asked: ProviderByTest, settings: ClientSettings = CLIENT, nonce: str = ""
) -> ProvenIdentity:
    provider = Provider(asked.issuer(), asked, settings)
    return await provider.by_code("code", "https://upwell/oidc/callback", nonce, "verifier")


async def test_the_code_goes_with_its_verifier_and_the_clients_secret(
    asked: ProviderByTest,
) -> None:
    await identity(asked)

    name, form, authorization = asked.asked[0]
    assert name == "token"
    assert form == {
        "grant_type": "authorization_code",
        "code": "code",
        "redirect_uri": "https://upwell/oidc/callback",
        "code_verifier": "verifier",
        "client_id": "upwell",
    }
    assert authorization == "Basic dXB3ZWxsOnMzY3JldA=="


def test_the_challenge_is_that_of_the_specification() -> None:
    # RFC 7636, appendix B.
    verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
    assert challenge(verifier) == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_a_token_of_another_sign_in_is_refused(asked: ProviderByTest) -> None:
    for nonce in ("", "other"):
        asked.nonce = nonce
        with pytest.raises(InvalidTokenError, match="another sign-in"):
            await identity(asked, nonce="mine")
    asked.nonce = "mine"
    assert (await identity(asked, nonce="mine")).subject == "4711"


@pytest.mark.parametrize(
    "claims",
    [
        {"aud": "other"},
        {"aud": ["upwell", "other"]},
        {"aud": ["upwell", "other"], "azp": "other"},
        {"azp": "other"},
        {"iss": "https://evil.example.com"},
        {"exp": 1},
        {"sub": ""},
    ],
)
async def test_a_token_for_somebody_else_is_refused(
    asked: ProviderByTest, claims: dict[str, Any]
) -> None:
    asked.claims = claims

    with pytest.raises(InvalidTokenError):
        await identity(asked)


async def test_several_audiences_name_the_client_as_the_party(asked: ProviderByTest) -> None:
    asked.claims = {"aud": ["upwell", "other"], "azp": "upwell"}

    assert (await identity(asked)).subject == "4711"


async def test_without_an_id_token_nobody_signs_in(asked: ProviderByTest) -> None:
    asked.has_id_token = False

    with pytest.raises(SignInRefusedError, match="no ID token"):
        await identity(asked)


async def test_groups_that_the_token_lacks_are_asked_for(asked: ProviderByTest) -> None:
    del asked.person["groups"]
    asked.answers["userinfo"] = (200, b'{"sub": "4711", "groups": ["developers"]}')

    assert (await identity(asked)).groups == ("developers",)


async def test_what_is_told_of_another_person_is_refused(asked: ProviderByTest) -> None:
    del asked.person["groups"]
    asked.answers["userinfo"] = (200, b'{"sub": "4712", "groups": ["admins"]}')

    with pytest.raises(SignInRefusedError, match="another person"):
        await identity(asked)


async def test_the_token_comes_before_what_is_told_beside_it(asked: ProviderByTest) -> None:
    del asked.person["groups"]
    told = {"sub": "4711", "groups": ["developers"], "email": "eve@x.com", "email_verified": True}
    asked.answers["userinfo"] = (200, json.dumps(told).encode())
    asked.person |= {"email": "ada@x.com", "email_verified": True}

    assert (await identity(asked, MAIL)).name == "oidc:ada@x.com"


@pytest.mark.parametrize(
    ("groups", "found"),
    [
        (["b", "a", "b"], ("a", "b")),
        ("one", ("one",)),
        ({"a": 1}, ()),
        (None, ()),
        ([1, None, ["x"], "", "a"], ("a",)),
        (["x" * 1000, "a"], ("a",)),
    ],
)
async def test_groups_are_texts(asked: ProviderByTest, groups: Any, found: tuple[str, ...]) -> None:
    asked.person["groups"] = groups

    assert (await identity(asked)).groups == found


async def test_groups_without_end_are_cut_off(asked: ProviderByTest) -> None:
    asked.person["groups"] = [f"group-{number}" for number in range(2500)]

    assert len((await identity(asked)).groups) == 2000


@pytest.mark.parametrize(
    "person",
    [
        {"email": "ada@x.com"},
        {"email": "ada@x.com", "email_verified": False},
        {"email": "ada@x.com", "email_verified": "true"},
        {"email_verified": True},
        {"email": 5, "email_verified": True},
        {"email": "ada@x.com\nsystem:admin", "email_verified": True},
        {"email": "ada @x.com", "email_verified": True},
        {"email": "a" * 300, "email_verified": True},
    ],
)
async def test_an_address_counts_when_it_is_one_and_verified(
    asked: ProviderByTest, person: dict[str, Any]
) -> None:
    asked.person |= person

    with pytest.raises(SignInRefusedError):
        await identity(asked, MAIL)


async def test_an_address_is_one_however_it_is_written(asked: ProviderByTest) -> None:
    asked.person |= {"email": "ADA@X.com", "email_verified": True}

    assert (await identity(asked, MAIL)).name == "oidc:ada@x.com"


@pytest.mark.parametrize("body", [b"", b"<html>secret</html>", b"[]", b"[" * 100_000, b"\xff"])
@pytest.mark.parametrize("status", [200, 400, 500])
async def test_answers_that_are_none_are_no_sign_in(
    asked: ProviderByTest, status: int, body: bytes
) -> None:
    asked.answers["token"] = (status, body)

    with pytest.raises(IssuerError) as caught:
        await identity(asked)
    assert "secret" not in str(caught.value)


async def test_an_error_is_told_by_its_code_alone(asked: ProviderByTest) -> None:
    said = {"error": "invalid_grant", "error_description": "user ada, password hunter2"}
    asked.answers["token"] = (400, json.dumps(said).encode())
    with pytest.raises(SignInRefusedError, match="invalid_grant") as caught:
        await identity(asked)
    assert "hunter2" not in str(caught.value)

    asked.answers["token"] = (400, b'{"error": "<script>alert(1)</script>"}')
    with pytest.raises(IssuerUnavailableError) as other:
        await identity(asked)
    assert "script" not in str(other.value)


async def test_a_device_waits_for_its_person(asked: ProviderByTest) -> None:
    provider = Provider(asked.issuer(), asked, CLIENT)
    code = await provider.begin_device()
    assert (code.user_code, code.interval, code.seconds) == ("WDJB-MJHT", 5, 600)

    for refusal, slower in (("authorization_pending", False), ("slow_down", True)):
        asked.refusal = refusal
        with pytest.raises(PendingError) as caught:
            await provider.by_device(code.device_code)
        assert caught.value.slower is slower
    asked.refusal = "expired_token"
    with pytest.raises(SignInRefusedError):
        await provider.by_device(code.device_code)


@pytest.mark.parametrize(
    "changed",
    [
        {"verification_uri": "javascript:alert(1)"},
        {"verification_uri": "http://evil.example.com"},
        {"verification_uri": ""},
        {"user_code": "a\x1b[2Jb"},
        {"user_code": 5},
        {"device_code": None},
    ],
)
async def test_a_device_code_that_is_none_is_not_shown(
    asked: ProviderByTest, changed: dict[str, Any]
) -> None:
    said = {"device_code": "d", "user_code": "u", "verification_uri": "https://id.example.com"}
    asked.answers["device_authorization"] = (200, json.dumps({**said, **changed}).encode())

    with pytest.raises(IssuerUnavailableError):
        await Provider(asked.issuer(), asked, CLIENT).begin_device()


async def test_an_address_with_the_code_in_it_is_left_out_when_it_is_none(
    asked: ProviderByTest,
) -> None:
    said: dict[str, Any] = {"device_code": "d", "user_code": "u"}
    said |= {"verification_uri": "https://id.example.com", "interval": -5, "expires_in": 10**9}
    said["verification_uri_complete"] = "javascript:x"
    asked.answers["device_authorization"] = (200, json.dumps(said).encode())

    code = await Provider(asked.issuer(), asked, CLIENT).begin_device()

    assert (code.verification_uri_complete, code.interval, code.seconds) == ("", 5, 1800)


async def test_a_browser_begins_with_state_nonce_and_challenge(asked: ProviderByTest) -> None:
    asked.metadata["authorization_endpoint"] = "https://id.example.com/auth?tenant=1"

    url = await Provider(asked.issuer(), asked, CLIENT).authorization_url(
        "https://upwell/oidc/callback", "s", "n", "verifier"
    )

    assert url.startswith("https://id.example.com/auth?tenant=1&response_type=code&")
    for part in ("state=s", "nonce=n", "code_challenge_method=S256", "scope=openid+groups"):
        assert part in url


async def test_a_provider_without_an_endpoint_is_named(asked: ProviderByTest) -> None:
    del asked.metadata["device_authorization_endpoint"]
    provider = Provider(asked.issuer(), asked, CLIENT)

    assert not await provider.has_device_flow()
    with pytest.raises(SignInRefusedError, match="no device_authorization_endpoint"):
        await provider.begin_device()
