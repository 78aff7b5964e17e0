"""Tokens of a CI for those of ServiceAccounts: by rules, once each, with a line in the log."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from tests.support.server.api_server import ApiAnswer, ApiClock
from tests.support.server.audit_logs import audit_lines
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of
from tests.support.server.issuers import (
    AUDIENCE,
    ISSUER,
    NOW,
    OTHER_RSA_KEY,
    PublishedByTest,
    claims,
    forged,
    signed,
)

from upwell.api.core import Secret
from upwell.app.identity.token_life import remove_ended_exchanges
from upwell.policy.access.token_exchange import ClaimPattern, ExchangeRule
from upwell.server.auth.access_control import AccessControl
from upwell.server.exchange.exchange import TokenExchange
from upwell.store.interface import Selector

GRANT = "urn:ietf:params:oauth:grant-type:token-exchange"
JWT = "urn:ietf:params:oauth:token-type:jwt"
FORM = "application/x-www-form-urlencoded"
MAIN = {"repository": "acme/shop", "ref": "refs/heads/main", "ref_protected": True}


def rule(name: str, account: str, *patterns: str) -> ExchangeRule:
    lifetime = timedelta(minutes=15)
    found = tuple(map(ClaimPattern, patterns))
    return ExchangeRule(name, ISSUER, AUDIENCE, "shop", account, found, lifetime)


RULES = [
    rule("main", "ci", "repository=acme/shop", "ref=refs/heads/main", "ref_protected=true"),
    rule("branches", "preview", "repository=acme/*", "ref=refs/heads/*"),
    rule("nobody", "missing", "repository=acme/lost"),
]


@pytest.fixture
def published() -> PublishedByTest:
    return PublishedByTest()


@pytest.fixture
async def granted(tmp_path: Path, published: PublishedByTest) -> AsyncIterator[GrantedApi]:
    def exchange(access: AccessControl, clock: ApiClock) -> TokenExchange:
        clock.now = NOW
        return TokenExchange(RULES, {ISSUER: published.issuer()}, access.tokens.accounts, clock)

    async with open_granted_api(tmp_path, exchange=exchange) as api:
        for name, grant in (("ci", "builder@shop"), ("preview", "viewer@shop")):
            metadata = {"name": name, "annotations": {"upwell.dev/grants": grant}}
            await api.create("admin", "serviceaccounts", "shop", {"metadata": metadata})
        yield api


async def post(granted: GrantedApi, **form: str) -> ApiAnswer:
    body = urlencode(form).encode()
    return await granted.api.send("POST", "/oauth/token", body, content_type=FORM)


async def exchange(granted: GrantedApi, token: str, **more: str) -> ApiAnswer:
    form = {"grant_type": GRANT, "subject_token": token, "subject_token_type": JWT}
    return await post(granted, **{**form, **more})


async def looks(granted: GrantedApi, answer: ApiAnswer, plural: str = "builds") -> int:
    granted.tokens["run"] = answer.json["access_token"]
    return (await granted.send("run", "GET", path_of(plural, "shop"))).status


async def records(granted: GrantedApi) -> list[Secret]:
    found = await granted.api.store.list(Secret, Selector(namespace="shop"))
    return [one for one in found.items if one.type == "upwell.dev/token-exchange"]


async def test_a_token_of_a_ci_becomes_one_of_the_account_of_its_rule(
    granted: GrantedApi, tmp_path: Path
) -> None:
    foreign = signed(claims(jti="run-7", **MAIN))
    answer = await exchange(granted, foreign)
    assert answer.status == 200, answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    said = answer.json
    assert (said["token_type"], said["expires_in"]) == ("Bearer", 900)
    assert said["issued_token_type"] == "urn:ietf:params:oauth:token-type:access_token"
    assert said["scope"] == "system:serviceaccount:shop:ci"
    assert await looks(granted, answer) == 200
    line = next(one for one in audit_lines(tmp_path) if one["resource"] == "oauth/token")
    assert (line["user"], line["code"], line["name"]) == (said["scope"], 200, "ci")
    for fact in ("main:", "repository=acme/shop", "ref=refs/heads/main", "sub=4711"):
        assert fact in line["reason"]
    assert foreign not in str(audit_lines(tmp_path))
    granted.api.clock.advance(minutes=15)
    assert await looks(granted, answer) == 401


async def test_what_is_left_of_a_token_is_counted_when_it_is_given(
    granted: GrantedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, clock = granted.api.store, granted.api.clock
    create = store.create

    async def slowly(resource: Any) -> Any:
        clock.advance(seconds=2)
        return await create(resource)

    monkeypatch.setattr(store, "create", slowly)
    answer = await exchange(granted, signed(claims(**MAIN)))
    assert answer.json["expires_in"] == 900


async def test_a_token_is_exchanged_once(granted: GrantedApi) -> None:
    foreign = signed(claims(jti="run-7", **MAIN))
    assert (await exchange(granted, foreign)).status == 200
    again = await exchange(granted, foreign)
    assert (again.status, again.json["error"]) == (400, "invalid_grant")
    assert "was exchanged before" in again.json["error_description"]
    same = signed(claims(jti="run-7", exp=int(NOW.timestamp()) + 200, **MAIN))
    assert (await exchange(granted, same)).status == 400
    assert (await exchange(granted, signed(claims(jti="run-8", **MAIN)))).status == 200


async def test_a_token_without_an_id_is_exchanged_once_too(granted: GrantedApi) -> None:
    foreign = signed(claims(**MAIN))
    assert (await exchange(granted, foreign)).status == 200
    assert (await exchange(granted, foreign)).status == 400


async def test_deleting_the_record_of_an_exchange_ends_what_was_given(granted: GrantedApi) -> None:
    answer = await exchange(granted, signed(claims(jti="run-7", **MAIN)))
    (record,) = await records(granted)
    assert record.decoded()["repository"] == b"acme/shop"
    await granted.send("admin", "DELETE", path_of("secrets", "shop", record.name))
    assert await looks(granted, answer) == 401


async def test_a_record_is_kept_until_both_tokens_have_ended(granted: GrantedApi) -> None:
    await exchange(granted, signed(claims(jti="short", **MAIN)))
    later = int(NOW.timestamp()) + 7200
    await exchange(granted, signed(claims(jti="long", exp=later, **MAIN)))
    store = granted.api.store
    assert await remove_ended_exchanges(store, NOW + timedelta(minutes=15)) == 0
    assert await remove_ended_exchanges(store, NOW + timedelta(minutes=30)) == 1
    assert len(await records(granted)) == 1
    assert await remove_ended_exchanges(store, NOW + timedelta(hours=3)) == 1


@pytest.mark.parametrize(
    ("changed", "account"),
    [
        ({}, "ci"),
        ({"ref": "refs/heads/feature"}, "preview"),
        ({"ref_protected": False}, "preview"),
        ({"ref_protected": "true"}, "ci"),
        ({"repository": "acme/other"}, "preview"),
        ({"ref": "refs/heads/release/1"}, None),
        ({"repository": "acme/shop/fork"}, None),
        ({"repository": "evil/acme/shop"}, None),
        ({"repository": "acme/shop\nx"}, "preview"),
        ({"repository": ["acme/shop"]}, None),
        ({"repository": {"acme/shop": 1}}, None),
        ({"repository": "ACME/SHOP"}, None),
        ({"ref": None}, None),
    ],
)
async def test_claims_decide_which_account_it_is(
    granted: GrantedApi, changed: dict[str, Any], account: str | None
) -> None:
    answer = await exchange(granted, signed(claims(jti="run", **{**MAIN, **changed})))
    if account is None:
        assert answer.status == 400
        assert "claims that differ: main (re" in answer.json["error_description"]
        assert await records(granted) == []
    else:
        assert answer.json["scope"] == f"system:serviceaccount:shop:{account}"


async def test_a_scope_names_the_account_that_is_wanted(granted: GrantedApi) -> None:
    wanted = "system:serviceaccount:shop:preview"
    answer = await exchange(granted, signed(claims(**MAIN)), scope=wanted)
    assert answer.json["scope"] == wanted
    other = "system:serviceaccount:bank:ci"
    for scope in (other, "read"):
        refused = await exchange(granted, signed(claims(**MAIN)), scope=scope)
        assert (refused.status, refused.json["error"]) == (400, "invalid_grant")
        said = refused.json["error_description"]
        assert f"no rule is for scope '{scope}': ask for system:serviceaccount:" in said


async def test_a_rule_without_its_account_says_so(granted: GrantedApi) -> None:
    answer = await exchange(granted, signed(claims(repository="acme/lost")))
    assert answer.status == 400
    assert "rule nobody names ServiceAccount shop/missing" in answer.text


@pytest.mark.parametrize(
    "foreign",
    [
        "",
        "x",
        "a.b.c",
        signed(claims(**MAIN), OTHER_RSA_KEY),
        forged({"alg": "none"}, claims(**MAIN)),
        signed(claims(aud="others", **MAIN)),
        signed(claims(iss="https://evil.example", **MAIN)),
        signed(claims(exp=int(NOW.timestamp()) - 61, **MAIN)),
        signed(claims(exp=int(NOW.timestamp()) + 32 * 86400, **MAIN)),
        signed(claims(sub="", **MAIN)),
    ],
)
async def test_what_no_rule_or_issuer_stands_for_is_refused(
    granted: GrantedApi, foreign: str, tmp_path: Path
) -> None:
    answer = await exchange(granted, foreign)
    assert answer.status == 400, answer.text
    assert answer.json["error"] in {"invalid_grant", "invalid_request"}
    assert await records(granted) == []
    assert "oauth/token" not in (tmp_path / "audit.log").read_text()
    denied = (tmp_path / "audit-denied.log").read_text()
    assert "oauth/token" in denied, "a refusal has its line, where it pushes out nothing else"


async def test_an_issuer_that_is_silent_is_told_apart(
    granted: GrantedApi, published: PublishedByTest
) -> None:
    published.fault = "down"
    answer = await exchange(granted, signed(claims(**MAIN)))
    assert (answer.status, answer.json["error"]) == (503, "temporarily_unavailable")


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"grant_type": "password"}, "unsupported_grant_type"),
        ({"subject_token_type": "urn:ietf:params:oauth:token-type:saml2"}, "invalid_request"),
        ({"actor_token": "x"}, "invalid_request"),
        ({"resource": "https://x.test"}, "invalid_request"),
        ({"requested_token_type": "urn:x"}, "invalid_request"),
    ],
)
async def test_other_requests_of_oauth_are_refused(
    granted: GrantedApi, changed: dict[str, str], error: str
) -> None:
    answer = await exchange(granted, signed(claims(**MAIN)), **changed)
    assert (answer.status, answer.json["error"]) == (400, error)


@pytest.mark.parametrize("body", [b"\xff", b"&".join(b"a=1" for _ in range(99)), b"{}", b""])
async def test_a_body_that_is_no_form_is_refused(granted: GrantedApi, body: bytes) -> None:
    answer = await granted.api.send("POST", "/oauth/token", body, content_type=FORM)
    assert answer.status == 400
    large = await granted.api.send("POST", "/oauth/token", b"a=" + b"b" * 2**19, content_type=FORM)
    assert large.status == 413


@pytest.fixture
def no_time_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upwell.server.asgi.app.elapsed", lambda: 0.0)


@pytest.mark.usefixtures("no_time_passes")  # of a server that starts after it
async def test_an_address_that_tries_tokens_is_slowed_down(granted: GrantedApi) -> None:
    found = [(await exchange(granted, "x")).status for _ in range(61)]
    assert found == [*[400] * 60, 429]


async def test_a_server_without_rules_says_that_it_exchanges_nothing(tmp_path: Path) -> None:
    async with open_granted_api(tmp_path) as api:
        answer = await exchange(api, "x")

    assert (answer.status, answer.json["error"]) == (400, "unsupported_grant_type")
    assert "[[token-exchange]]" in answer.json["error_description"]
