"""Tokens of foreign issuers: what is believed, and what an issuer is asked."""

import asyncio
import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.support.server.issuers import (
    AUDIENCE,
    ISSUER,
    NOW,
    OTHER_RSA_KEY,
    RSA_KEY,
    PrivateKey,
    PublishedByTest,
    claims,
    forged,
    public_key,
    signed,
)

from upwell.server.auth.foreign_tokens import MAX_TOKEN_LETTERS, InvalidTokenError, issuer_of
from upwell.server.auth.issuers import IssuerUnavailableError, is_issuer_url

EC_KEYS = {
    "ES256": ec.generate_private_key(ec.SECP256R1()),
    "ES384": ec.generate_private_key(ec.SECP384R1()),
    "ES512": ec.generate_private_key(ec.SECP521R1()),
}
T = int(NOW.timestamp())


@pytest.fixture
def published() -> PublishedByTest:
    return PublishedByTest()


@pytest.mark.parametrize(
    ("algorithm", "key"),
    [
        *((f"{family}{bits}", RSA_KEY) for family in ("RS", "PS") for bits in (256, 384, 512)),
        *EC_KEYS.items(),
        ("EdDSA", ed25519.Ed25519PrivateKey.generate()),
    ],
)
async def test_a_signature_by_a_published_key_is_believed(
    published: PublishedByTest, algorithm: str, key: PrivateKey
) -> None:
    published.keys = [public_key(key, kid="one")]

    found = await published.issuer().verify(signed(claims(), key, algorithm), AUDIENCE)

    assert found["sub"] == "4711"


async def test_one_audience_of_several_and_little_difference_of_clocks_are_fine(
    published: PublishedByTest,
) -> None:
    token = signed(claims(aud=["other", AUDIENCE], exp=T - 30, iat=T + 30, nbf=T + 30.5))

    assert await published.issuer().verify(token, AUDIENCE)


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"iss": "https://evil.example.com"}, "another issuer"),
        ({"iss": f"{ISSUER}/"}, "another issuer"),
        ({"iss": None}, "another issuer"),
        ({"aud": "other"}, "another audience"),
        ({"aud": ["other"]}, "another audience"),
        ({"aud": None}, "another audience"),
        ({"aud": {AUDIENCE: 1}}, "another audience"),
        ({"sub": None}, "no subject"),
        ({"sub": ""}, "no subject"),
        ({"exp": T - 61}, "expired"),
        ({"exp": None}, "no exp"),
        ({"iat": None}, "no iat"),
        ({"iat": T + 3600}, "of the future"),
        ({"nbf": T + 3600}, "not valid yet"),
    ],
)
async def test_claims_are_checked(
    published: PublishedByTest, changed: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidTokenError, match=why):
        await published.issuer().verify(signed(claims(**changed)), AUDIENCE)


@pytest.mark.parametrize("end", ["soon", True, [T + 300], 10**400, float("inf"), float("nan")])
async def test_an_end_that_is_no_time_is_refused(published: PublishedByTest, end: object) -> None:
    issuer = published.issuer()
    header = {"alg": "RS256", "kid": "one"}
    raw = forged(header, {**claims(), "exp": end}).rpartition(".")[0]
    from jwt.algorithms import RSAAlgorithm  # noqa: PLC0415 - signs what PyJWT would not encode

    signature = RSAAlgorithm(RSAAlgorithm.SHA256).sign(raw.encode(), RSA_KEY)
    token = f"{raw}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"

    with pytest.raises(InvalidTokenError, match=r"exp"):
        await issuer.verify(token, AUDIENCE)


def hmac_by_public_key() -> str:
    """The key confusion of old libraries: a MAC whose key everybody knows."""
    import hmac  # noqa: PLC0415 - for this one attack

    from cryptography.hazmat.primitives.serialization import (  # noqa: PLC0415
        Encoding,
        PublicFormat,
    )

    pem = RSA_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    said = forged({"alg": "HS256", "kid": "one"}, claims()).rpartition(".")[0]
    mac = hmac.digest(pem, said.encode(), "sha256")
    return f"{said}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"


@pytest.mark.parametrize(
    "token",
    [
        "",
        "a",
        "a.b",
        "a.b.c",
        "....",
        "\N{SNOWMAN}.a.b",
        "upwell_ci_abc",
        forged({"alg": "none"}, claims()),
        forged({"alg": "None"}, claims()),
        forged({"alg": ["RS256"], "kid": "one"}, claims()),
        forged({"alg": "RS256", "kid": {"a": 1}}, claims()),
        forged({"alg": "RS256", "kid": "one"}, claims()),
        forged({"alg": "RS256", "kid": "one", "crit": ["exp"], "exp": 1}, claims(), b"x" * 256),
        forged({"alg": "RS256", "kid": "one", "b64": False}, claims(), b"x" * 256),
        forged([], claims()),
        hmac_by_public_key(),
        signed(claims(), OTHER_RSA_KEY),
        signed(claims(), EC_KEYS["ES256"], "ES256"),
        signed(claims())[:-8] + "AAAAAAAA",
        "eyJhbGciOiJSUzI1NiJ9." + "A" * MAX_TOKEN_LETTERS + ".x",
        base64.urlsafe_b64encode(b"[" * 40_000).decode() + ".e30.x",
    ],
)
async def test_what_is_not_signed_by_the_issuer_is_refused(
    published: PublishedByTest, token: str
) -> None:
    with pytest.raises(InvalidTokenError) as caught:
        await published.issuer().verify(token, AUDIENCE)

    assert token[:20] not in str(caught.value) or len(token) < 6


@pytest.mark.parametrize(
    "key",
    [
        public_key(RSA_KEY, kid="one", use="enc"),
        public_key(RSA_KEY, kid="one", key_ops=["encrypt"]),
        public_key(RSA_KEY, kid="one", alg="RS512"),
        public_key(RSA_KEY, kid="two"),
        public_key(RSA_KEY, kid="one", d="AQAB"),
        public_key(RSA_KEY, kid="one", n="A" * 20_000),
        public_key(RSA_KEY, kid="one", e="A" * 2000),
        public_key(RSA_KEY, kid="one", n=5),
        {"kty": "oct", "kid": "one", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "one"},
        {"kid": "one"},
        "one",
    ],
)
async def test_a_key_that_is_not_for_this_is_not_used(published: PublishedByTest, key: Any) -> None:
    published.keys = [key]

    with pytest.raises(InvalidTokenError, match="does not publish"):
        await published.issuer().verify(signed(claims()), AUDIENCE)


async def test_a_weak_key_is_not_used(published: PublishedByTest) -> None:
    weak = rsa.generate_private_key(65537, 1024)  # noqa: S505 - that is the point
    published.keys = [public_key(weak, kid="one")]
    header = {"alg": "RS256", "kid": "one"}

    with pytest.raises(InvalidTokenError, match="does not publish"):
        await published.issuer().verify(forged(header, claims(), b"x" * 128), AUDIENCE)


async def test_a_token_without_a_key_id_needs_an_issuer_with_one_key(
    published: PublishedByTest,
) -> None:
    token = signed(claims(), kid="")
    assert await published.issuer().verify(token, AUDIENCE)

    published.keys.append(public_key(OTHER_RSA_KEY, kid="two"))
    with pytest.raises(InvalidTokenError, match="does not publish"):
        await published.issuer().verify(token, AUDIENCE)


async def test_a_rotated_key_is_found_and_the_one_before_is_not_believed_any_more(
    published: PublishedByTest,
) -> None:
    issuer = published.issuer()
    await issuer.verify(signed(claims()), AUDIENCE)

    published.keys = [public_key(OTHER_RSA_KEY, kid="two")]
    published.passed += 31
    assert await issuer.verify(signed(claims(), OTHER_RSA_KEY, kid="two"), AUDIENCE)

    with pytest.raises(InvalidTokenError, match="does not publish"):
        await issuer.verify(signed(claims()), AUDIENCE)


async def test_a_thousand_unknown_keys_have_the_issuer_asked_once(
    published: PublishedByTest,
) -> None:
    issuer = published.issuer()
    await issuer.metadata()
    published.passed += 31
    before = published.reads
    tokens = [signed(claims(), kid=f"unknown-{number}") for number in range(20)]

    for _ in range(50):
        answers = await asyncio.gather(
            *(issuer.verify(token, AUDIENCE) for token in tokens), return_exceptions=True
        )
        assert all(isinstance(answer, InvalidTokenError) for answer in answers)

    assert published.reads - before == 2


async def test_many_who_wait_ask_once(published: PublishedByTest) -> None:
    issuer = published.issuer()

    await asyncio.gather(*(issuer.verify(signed(claims()), AUDIENCE) for _ in range(100)))

    assert published.reads == 2


async def test_who_leaves_does_not_end_the_look_of_the_others(published: PublishedByTest) -> None:
    issuer = published.issuer()
    first = asyncio.create_task(issuer.metadata())
    second = asyncio.create_task(issuer.metadata())
    await asyncio.sleep(0)
    first.cancel()

    assert (await second).issuer == ISSUER


async def test_keys_are_used_for_some_hours_while_the_issuer_is_down(
    published: PublishedByTest,
) -> None:
    issuer = published.issuer()
    await issuer.metadata()
    published.fault = "Connection refused"

    published.passed += 5 * 3600
    assert await issuer.verify(signed(claims()), AUDIENCE)

    published.passed += 2 * 3600
    with pytest.raises(IssuerUnavailableError, match="Connection refused"):
        await issuer.verify(signed(claims()), AUDIENCE)

    published.fault = ""
    published.passed += 6
    assert await issuer.verify(signed(claims()), AUDIENCE)


async def test_an_issuer_that_is_down_is_not_asked_by_everybody(published: PublishedByTest) -> None:
    issuer = published.issuer()
    published.fault = "Connection refused"

    for _ in range(50):
        with pytest.raises(IssuerUnavailableError, match="Connection refused"):
            await issuer.verify(signed(claims()), AUDIENCE)

    assert published.reads == 1


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"issuer": f"{ISSUER}/"}, "another issuer"),
        ({"issuer": None}, "another issuer"),
        ({"jwks_uri": ""}, "no jwks_uri"),
        ({"jwks_uri": "http://id.example.com/keys"}, "no URL of https"),
        ({"jwks_uri": "file:///etc/passwd"}, "no URL of https"),
        ({"jwks_uri": 5}, "no URL of https"),
        ({"token_endpoint": "https://user:pass@id.example.com"}, "no URL of https"),
        ({"token_endpoint": "https://id.example.com/" + "a" * 3000}, "no URL of https"),
        ({"device_authorization_endpoint": "https://[::1"}, "no URL of https"),
    ],
)
async def test_metadata_that_lie_are_refused(
    published: PublishedByTest, changed: dict[str, Any], why: str
) -> None:
    published.metadata |= changed

    with pytest.raises(IssuerUnavailableError, match=why):
        await published.issuer().metadata()


@pytest.mark.parametrize("raw", [b"", b"[]", b"<html>", b"\xff", b"[" * 100_000, b"1" * 5000])
async def test_documents_that_are_none_are_refused(published: PublishedByTest, raw: bytes) -> None:
    published.raw = raw

    with pytest.raises(IssuerUnavailableError, match="no JSON"):
        await published.issuer().metadata()


async def test_a_set_of_many_keys_is_read_as_far_as_its_limit(published: PublishedByTest) -> None:
    published.keys = [public_key(OTHER_RSA_KEY, kid=f"{number}") for number in range(2000)]
    published.keys.append(public_key(RSA_KEY, kid="one"))

    with pytest.raises(InvalidTokenError, match="does not publish"):
        await published.issuer().verify(signed(claims()), AUDIENCE)


def test_the_issuer_that_a_token_names_is_read() -> None:
    assert issuer_of(signed(claims(iss="https://other.example.com"))) == "https://other.example.com"
    for token in ("", "a.b.c", forged({"alg": "RS256"}, []), forged({"alg": "RS256"}, {"iss": 5})):
        with pytest.raises(InvalidTokenError):
            issuer_of(token)


@pytest.mark.parametrize(
    ("url", "is_one"),
    [
        ("https://id.example.com/realm", True),
        ("http://127.0.0.1:8080", True),
        ("http://localhost:8080/realm", True),
        ("http://id.example.com", False),
        ("https://", False),
        ("https://id.example.com:port", False),
        ("https://a@id.example.com", False),
        ("https://id.example.com/#x", False),
        ("https://id.example.com/\n", False),
        ("ftp://id.example.com", False),
        ("id.example.com", False),
    ],
)
def test_issuers_are_asked_by_https_or_on_loopback(url: str, is_one: bool) -> None:  # noqa: FBT001
    assert is_issuer_url(url) is is_one
