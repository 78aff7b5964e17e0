"""The handshake, with the test playing the network."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.registry.client.auth import (
    AuthAttempt,
    Challenge,
    Reply,
    Scheme,
    TokenQuery,
    TokenRequest,
    basic,
    handshake,
    parse_token,
)
from upwell.registry.interface import Credential

SCOPE = "repository:team/app:pull"
ALICE = Credential("alice", "s3cret")
BEARER = Challenge(Scheme.BEARER, "https://auth.test/token", "registry.test", (SCOPE,))
BASIC = Challenge(Scheme.BASIC)
OK = Reply(200)


def token_request(login: Credential | None, refused: str = "", *more: str) -> TokenRequest:
    query = TokenQuery("https://auth.test/token", "registry.test", (SCOPE, *more), login)
    return TokenRequest(query, refused)


def test_an_open_registry_is_asked_once_and_bare() -> None:
    steps = handshake((SCOPE,), (ALICE, None), known=None)
    assert next(steps) == AuthAttempt(None, ALICE)
    with pytest.raises(StopIteration):
        steps.send(OK)


def test_a_bearer_challenge_is_met_with_a_token() -> None:
    steps = handshake((SCOPE,), (ALICE, None), known=None)
    next(steps)
    assert steps.send(Reply(401, BEARER)) == token_request(ALICE)
    assert steps.send(Reply(200, token="t1")) == AuthAttempt("Bearer t1", ALICE)
    with pytest.raises(StopIteration):
        steps.send(OK)


def test_a_known_challenge_saves_the_refusal() -> None:
    steps = handshake((SCOPE,), (None,), BEARER)
    assert next(steps) == token_request(None)
    assert steps.send(Reply(200, token="t1")) == AuthAttempt("Bearer t1", None)


def test_a_stale_token_is_renewed_once() -> None:
    steps = handshake((SCOPE,), (None,), BEARER)
    next(steps)
    steps.send(Reply(200, token="stale"))
    assert steps.send(Reply(401, BEARER)) == token_request(None, "stale")
    assert steps.send(Reply(200, token="new")) == AuthAttempt("Bearer new", None)
    with pytest.raises(StopIteration):
        steps.send(Reply(401, BEARER))


def test_a_scope_that_is_missing_is_added() -> None:
    wider = Challenge(Scheme.BEARER, BEARER.realm, BEARER.service, ("repository:base/os:pull",))
    steps = handshake((SCOPE,), (None,), BEARER)
    next(steps)
    steps.send(Reply(200, token="t1"))
    assert steps.send(Reply(401, wider)) == token_request(None, "t1", "repository:base/os:pull")


def test_refused_basic_credentials_give_way_to_anonymous_once() -> None:
    steps = handshake((SCOPE,), (ALICE, None), BASIC)
    assert next(steps) == AuthAttempt(basic(ALICE), ALICE)
    assert steps.send(Reply(401, BASIC)) == AuthAttempt(None, None)
    with pytest.raises(StopIteration):
        steps.send(Reply(401, BASIC))


def test_a_token_server_that_refuses_credentials_is_asked_anonymously() -> None:
    steps = handshake((SCOPE,), (ALICE, None), BEARER)
    assert next(steps) == token_request(ALICE)
    assert steps.send(Reply(401)) == token_request(None)
    assert steps.send(Reply(200, token="public")) == AuthAttempt("Bearer public", None)


def test_a_registry_may_change_from_bearer_to_basic() -> None:
    steps = handshake((SCOPE,), (ALICE,), BEARER)
    next(steps)
    steps.send(Reply(200, token="t1"))
    assert steps.send(Reply(401, BASIC)) == AuthAttempt(basic(ALICE), ALICE)


def test_without_credentials_basic_is_not_asked_twice() -> None:
    steps = handshake((SCOPE,), (None,), known=None)
    next(steps)
    with pytest.raises(StopIteration):
        steps.send(Reply(401, BASIC))


def test_an_identity_token_travels_in_a_form_and_not_in_a_query() -> None:
    query = TokenQuery("https://auth.test", "r", (SCOPE, "x:y:z"), Credential(identity_token="id"))
    assert (query.method, query.authorization) == ("POST", None)
    form = dict(query.parameters)
    assert form["grant_type"] == "refresh_token"
    assert form["refresh_token"] == "id"
    assert form["scope"] == f"{SCOPE} x:y:z"


def test_several_scopes_are_several_parameters_of_a_get() -> None:
    query = TokenQuery("https://auth.test", "r", (SCOPE, "x:y:z"), ALICE)
    assert query.method == "GET"
    assert query.parameters == [
        ("service", "r"),
        ("scope", SCOPE),
        ("scope", "x:y:z"),
        ("account", "alice"),
    ]


def test_no_secret_shows_in_a_repr() -> None:
    shown = repr(
        [
            AuthAttempt(basic(ALICE), ALICE),
            token_request(ALICE, "stale-token"),
            Reply(200, token="fresh-token"),
            parse_token(b'{"token": "fresh-token"}'),
        ]
    )
    assert "alice" in shown
    for secret in ("s3cret", basic(ALICE), "stale-token", "fresh-token"):
        assert str(secret) not in shown


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (['Basic realm="x"'], BASIC),
        (['bearer realm="https://a/t",service="s"'], Challenge(Scheme.BEARER, "https://a/t", "s")),
        (['Basic realm="x", Bearer realm="r"'], Challenge(Scheme.BEARER, "r")),
        (['Basic realm="x"', 'Bearer realm="r"'], Challenge(Scheme.BEARER, "r")),
        (
            ['Bearer realm="a\\"b, c" , scope="p q"'],
            Challenge(Scheme.BEARER, 'a"b, c', "", ("p", "q")),
        ),
        (["Bearer realm=r,service=s"], Challenge(Scheme.BEARER, "r", "s")),
        (["Negotiate YII=, Basic"], BASIC),
        (["Bearer"], None),
        (['Bearer realm="unterminated'], None),
        (["Negotiate"], None),
        ([""], None),
        ([], None),
    ],
)
def test_challenges(headers: list[str], expected: Challenge | None) -> None:
    assert Challenge.parse(headers) == expected


@given(st.lists(st.text(max_size=200), max_size=3))
def test_any_challenge_header_parses_or_is_none(headers: list[str]) -> None:
    challenge = Challenge.parse(headers)
    assert challenge is None or challenge.scheme in Scheme


@pytest.mark.parametrize(
    ("raw", "value", "life"),
    [
        (b'{"token": "a", "expires_in": 300}', "a", 300.0),
        (b'{"access_token": "b"}', "b", 60.0),
        (b'{"token": "a", "access_token": "b", "expires_in": -1}', "a", 60.0),
        (b'{"token": "a", "expires_in": "soon"}', "a", 60.0),
    ],
)
def test_token_answers(raw: bytes, value: str, life: float) -> None:
    token = parse_token(raw)
    assert (token.value, token.life) == (value, life)


@pytest.mark.parametrize(
    "raw", [b"", b"<html>", b"[]", b"{}", b'{"token": 7}', b'{"token": "a\\r\\nX: y"}', b"[" * 9999]
)
def test_a_token_answer_without_a_token_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="token server"):
        parse_token(raw)
