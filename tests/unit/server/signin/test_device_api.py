"""Sign-in of command lines over HTTP, what a session opens, and how sessions are ended."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import config_map, next_event
from tests.support.server.signed_in import SignedInApi, open_signed_in_api

from upwell.api.core import ConfigMap
from upwell.api.values.author import author_of

CONFIG_MAPS = "/api/v1/namespaces/shop/configmaps"
ADA = "oidc:4711"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[SignedInApi]:
    async with open_signed_in_api(tmp_path) as api:
        yield api


async def whoami(here: SignedInApi, token: str) -> dict[str, Any]:
    kind = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await here.send(
        token, "POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", kind
    )
    assert answer.status == 201, answer.text
    found: dict[str, Any] = answer.json["status"]["userInfo"]
    return found


async def test_a_session_has_the_rights_of_its_groups_and_is_the_author(here: SignedInApi) -> None:
    token = await here.device()

    made = await here.send(token, "POST", CONFIG_MAPS, config_map("settings"))
    denied = await here.send(token, "POST", CONFIG_MAPS.replace("shop", "bank"), config_map("x"))

    assert (made.status, denied.status) == (201, 403)
    found = await here.api.store.get(ConfigMap, "shop", "settings")
    assert author_of(found) == ADA
    known = await whoami(here, token)
    assert known["username"] == ADA
    assert known["groups"] == ["system:authenticated", "developers"]
    assert known["extra"]["upwell.dev/grants"] == ["deployer@shop", "builder@shop"]
    assert known["extra"]["upwell.dev/ends"] == ["2024-05-02T12:00:00Z"]


async def test_the_registry_takes_a_session_as_a_password(here: SignedInApi) -> None:
    token = await here.device()
    basic = base64.b64encode(f"ada:{token}".encode()).decode()

    answer = await here.api.get("/v2/", Authorization=f"Basic {basic}")

    assert answer.status == 404  # the registry is not there, and nobody is refused


async def test_sign_ins_and_ends_are_in_the_audit_log_and_waiting_is_not(here: SignedInApi) -> None:
    begun = await here.send("", "POST", "/oidc/device")
    assert begun.json["userCode"] == "WDJB-MJHT"
    here.provider.refusal = "authorization_pending"
    for _ in range(5):
        pending = await here.send("", "POST", "/oidc/token", {"device": begun.json["device"]})
        assert (pending.status, pending.json["pending"]) == (202, True)
    assert here.audit() == []

    here.provider.refusal = ""
    done = await here.send("", "POST", "/oidc/token", {"device": begun.json["device"]})
    ended = await here.send(done.json["token"], "DELETE", "/oidc/sessions/current")
    assert (done.status, ended.status) == (201, 200)

    first, last = here.audit()
    assert (first["user"], first["verb"], first["resource"]) == (ADA, "create", "sessions")
    assert (last["user"], last["verb"], last["resource"]) == (ADA, "delete", "sessions")
    assert first["name"] == last["name"] == ended.json["ended"][0]
    assert done.json["token"].rpartition("_")[2] not in str(here.audit())


async def test_a_refused_sign_in_is_denied_with_its_reason(here: SignedInApi) -> None:
    here.provider.person["groups"] = ["guests"]
    begun = await here.send("", "POST", "/oidc/device")

    answer = await here.send("", "POST", "/oidc/token", {"device": begun.json["device"]})

    assert answer.status == 403
    assert "[[oidc.grants]]" in answer.json["message"]
    (line,) = here.audit("audit-denied.log")
    assert (line["user"], line["code"]) == (ADA, 403)
    assert "guests" in line["reason"]


async def test_a_provider_that_is_down_is_told(here: SignedInApi) -> None:
    here.provider.down = "Connection refused"

    answer = await here.send("", "POST", "/oidc/device")

    assert answer.status == 503
    assert "Connection refused" in answer.json["message"]


@pytest.mark.parametrize(
    "body", [None, {}, {"device": 5}, {"device": "x"}, {"device": "A" * 10_000}, b"[]", b"\xff"]
)
async def test_a_device_that_was_not_begun_here_is_refused(here: SignedInApi, body: Any) -> None:
    answer = await here.send("", "POST", "/oidc/token", body)

    assert answer.status == 400
    assert here.provider.count("token") == 0


async def test_a_device_that_waits_too_long_is_refused(here: SignedInApi) -> None:
    begun = await here.send("", "POST", "/oidc/device")
    here.pass_time(minutes=11)

    answer = await here.send("", "POST", "/oidc/token", {"device": begun.json["device"]})

    assert answer.status == 403


async def test_nobody_has_the_provider_flooded(here: SignedInApi) -> None:
    answers = [await here.send("", "POST", "/oidc/device") for _ in range(100)]

    refused = [answer for answer in answers if answer.status == 429]
    assert len(refused) >= 40
    assert here.provider.count("device_authorization") <= 60
    assert refused[0].headers["Retry-After"]


async def test_each_sees_and_ends_their_own_sessions(here: SignedInApi) -> None:
    mine = await here.device()
    here.provider.person = {"sub": "4712", "groups": ["developers"]}
    other = await here.device()

    listed = await here.send(mine, "GET", "/oidc/sessions")
    (own,) = listed.json["items"]
    assert (own["person"], own["current"]) == (ADA, True)
    assert (await here.send(mine, "GET", "/oidc/sessions?all")).status == 403
    (theirs,) = (await here.send(other, "GET", "/oidc/sessions")).json["items"]

    assert (await here.send(mine, "DELETE", f"/oidc/sessions/{theirs['id']}")).status == 404
    assert (await here.send(mine, "DELETE", "/oidc/sessions?person=oidc:4712")).status == 403
    assert (await here.send(other, "GET", CONFIG_MAPS)).status == 200
    assert (await here.send(mine, "DELETE", f"/oidc/sessions/{own['id']}")).status == 200
    assert (await here.send(mine, "GET", CONFIG_MAPS)).status == 401


async def test_an_admin_sees_and_ends_all_sessions(here: SignedInApi) -> None:
    first, second = await here.device(), await here.device()

    listed = await here.send(here.admin, "GET", "/oidc/sessions?all")
    assert [one["person"] for one in listed.json["items"]] == [ADA, ADA]
    ended = await here.send(here.admin, "DELETE", f"/oidc/sessions?person={ADA}")

    assert len(ended.json["ended"]) == 2
    assert {(await here.send(one, "GET", CONFIG_MAPS)).status for one in (first, second)} == {401}


async def test_without_a_token_nobody_sees_or_ends_sessions(here: SignedInApi) -> None:
    await here.device()
    (record,) = (await here.send(here.admin, "GET", "/oidc/sessions?all")).json["items"]

    for method, path in (
        ("GET", "/oidc/sessions"),
        ("GET", "/oidc/sessions?all"),
        ("DELETE", "/oidc/sessions"),
        ("DELETE", f"/oidc/sessions/{record['id']}"),
        ("DELETE", "/oidc/sessions/current"),
    ):
        assert (await here.send("", method, path)).status == 401, path
    assert (await here.send(here.admin, "DELETE", "/oidc/sessions/current")).status == 404


async def test_a_watch_ends_with_its_session(here: SignedInApi) -> None:
    token = await here.device()
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{here.api.url}{CONFIG_MAPS}?watch=true"
    async with here.api.session.get(url, headers=headers) as response:
        await here.send(token, "POST", CONFIG_MAPS, config_map("settings"))
        assert (await next_event(response.content))["type"] == "ADDED"

        await here.send(here.admin, "DELETE", f"/oidc/sessions?person={ADA}")

        async with asyncio.timeout(30):
            assert await response.content.read() == b""


async def test_a_watch_ends_when_the_group_is_lost(here: SignedInApi) -> None:
    token = await here.device()
    headers = {"Authorization": f"Bearer {token}"}
    url = f"{here.api.url}{CONFIG_MAPS}?watch=true"
    async with here.api.session.get(url, headers=headers) as response:
        here.provider.person["groups"] = []
        here.pass_time(minutes=5)

        async with asyncio.timeout(30):
            await response.content.read()

    assert (await here.send(token, "GET", CONFIG_MAPS)).status == 401


async def test_a_session_that_nobody_confirms_is_told_so_by_the_api_and_the_registry(
    here: SignedInApi,
) -> None:
    token = await here.device()
    here.provider.down = "Connection refused"
    here.pass_time(hours=2)
    basic = base64.b64encode(f"ada:{token}".encode()).decode()

    api = await here.send(token, "GET", CONFIG_MAPS)
    registry = await here.api.get("/v2/", Authorization=f"Basic {basic}")

    assert (api.status, registry.status) == (503, 503)
    assert registry.json["errors"][0]["code"] == "UNAVAILABLE"


async def test_the_server_says_where_people_sign_in(here: SignedInApi) -> None:
    answer = await here.send("", "GET", "/oidc")

    assert answer.json == {
        "issuer": "https://id.example.com/realm",
        "device": True,
        "page": "https://upwell.example.com/login",
    }
