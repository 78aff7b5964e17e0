"""The public key of signed images is everybody's; another one is made for administrators alone."""

from pathlib import Path

import pytest
from tests.support.server.api_server import Api, ApiClock, serving
from tests.support.server.audit_logs import audit_log

from upwell.app.signing.keys import OpenedSigningKeys, served_keys
from upwell.policy.access.roles import parse_grant
from upwell.server.auth.access_control import AccessControl
from upwell.server.auth.tokens import (
    TokenRecord,
    Tokens,
    hash_of,
    new_token,
    own_token,
)
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.signing.keys import ImageSigner, SigningKeys
from upwell.store.memory import MemoryStore

ADMIN = new_token("admin")
PATH = "/apis/upwell.dev/v1alpha1/imagesigningkeys"
PUBLIC = "/image-signing.pub"
ROTATE = {
    "apiVersion": "upwell.dev/v1alpha1",
    "kind": "ImageSigningKey",
    "spec": {"rotate": True},
}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def public(api: Api) -> bytes:
    async with api.session.get(api.url + PUBLIC) as answer:
        assert answer.status == 200
        return await answer.read()


async def test_everybody_reads_the_public_keys_and_admins_alone_rotate(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    old = keys.signer.key

    def guard(store: MemoryStore, clock: ApiClock) -> AccessControl:
        tokens = Tokens(store, clock, [own_token(ADMIN)])
        return AccessControl(tokens, audit_log(tmp_path, clock), None)

    async with serving(
        DEFAULT_LIMITS, guard=guard, signing_keys=served_keys(OpenedSigningKeys(keys))
    ) as api:
        assert await public(api) == old.pem()

        for grant in ("viewer@*", "deployer@*", "admin@shop"):
            name = f"a-{grant.partition('@')[0]}"
            token = new_token(name)
            record = TokenRecord(name, hash_of(token), (parse_grant(grant),))
            await api.store.create(record.as_secret())
            answer = await api.send("POST", PATH, ROTATE, **bearer(token))
            assert answer.status == 403, grant
        assert (await api.send("POST", PATH, ROTATE)).status == 401
        assert keys.signer.key.id == old.id

        answer = await api.send("POST", PATH, ROTATE, **bearer(ADMIN))
        assert answer.status == 201
        assert keys.signer.key.id != old.id
        assert answer.json["status"]["publicKeys"][1] == old.pem().decode()
        assert await public(api) == keys.signer.key.pem() + old.pem()


async def test_a_key_of_the_settings_is_rotated_there(tmp_path: Path) -> None:
    given = tmp_path / "key.pem"
    given.write_bytes(ImageSigner.generate().private_pem())
    given.chmod(0o600)
    keys = SigningKeys(tmp_path, given)

    async with serving(DEFAULT_LIMITS, signing_keys=served_keys(OpenedSigningKeys(keys))) as api:
        answer = await api.send("POST", PATH, ROTATE)

    assert answer.status == 422
    assert str(given) in answer.json["message"]


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_where_nothing_is_signed_there_is_no_key(method: str) -> None:
    async with serving(DEFAULT_LIMITS) as api:
        path = PUBLIC if method == "GET" else PATH
        assert (await api.send(method, path, ROTATE if method == "POST" else None)).status == 404
