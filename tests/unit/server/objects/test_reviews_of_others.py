"""Reviews of tokens and rights of others: who may ask, and what they are told."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiAnswer
from tests.support.server.audit_logs import audit_lines
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"
ACCESS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
BOT = "system:serviceaccount:shop:bot"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        await api.grant("vault", "auth-delegator@*")
        await api.grant("vera", "viewer@*")
        account = {"metadata": {"name": "bot", "annotations": {"upwell.dev/grants": "ci@shop"}}}
        assert (await api.create("admin", "serviceaccounts", "shop", account)).status == 201
        yield api


async def token_for(granted: GrantedApi, *audiences: str) -> str:
    path = path_of("serviceaccounts", "shop", "bot", "token")
    answer = await granted.send("admin", "POST", path, {"spec": {"audiences": list(audiences)}})
    assert answer.status == 201, answer.text
    return str(answer.json["status"]["token"])


async def review(granted: GrantedApi, token: str, *audiences: str, who: str = "vault") -> ApiAnswer:
    spec = {"token": token, "audiences": list(audiences)}
    return await granted.send(who, "POST", TOKENS, {"spec": spec})


async def test_a_receiver_learns_whose_token_it_was_sent(
    granted: GrantedApi, tmp_path: Path
) -> None:
    token = await token_for(granted, "vault", "others")
    answer = await review(granted, token, "vault", "https://elsewhere.test")
    assert answer.status == 201, answer.text
    status = answer.json["status"]
    assert (status["authenticated"], status["audiences"]) == (True, ["vault"])
    account = await granted.send("admin", "GET", path_of("serviceaccounts", "shop", "bot"))
    assert status["user"]["username"] == BOT
    assert status["user"]["uid"] == account.json["metadata"]["uid"]
    assert "system:serviceaccounts:shop" in status["user"]["groups"]
    assert token not in answer.text
    lines = audit_lines(tmp_path)
    assert token not in str(lines)
    assert not [one for one in lines if one.get("resource") == "tokenreviews"], "it changes nothing"
    refused = await review(granted, token, "vault", who="vera")
    assert refused.status == 403
    (denied,) = [one for one in audit_lines(tmp_path) if one.get("resource") == "tokenreviews"]
    assert denied["code"] == 403


async def test_a_token_for_others_or_of_nobody_is_nobodys(granted: GrantedApi) -> None:
    token = await token_for(granted, "vault")
    for sent, audiences in ((token, ()), (token, ("others",)), ("x", ()), ("", ("vault",))):
        status = (await review(granted, sent, *audiences)).json["status"]
        assert not status.get("authenticated")
        assert "user" not in status
    await granted.send("admin", "DELETE", path_of("serviceaccounts", "shop", "bot"))
    assert not (await review(granted, token, "vault")).json["status"].get("authenticated")


async def test_tokens_of_people_are_told_too(granted: GrantedApi) -> None:
    status = (await review(granted, granted.tokens["vera"])).json["status"]
    assert status["user"]["username"] == "vera"


async def test_the_servers_own_token_is_nobodys_where_it_opens_the_local_socket_alone(
    granted: GrantedApi, tmp_path: Path
) -> None:
    assert (await review(granted, granted.admin)).json["status"]["authenticated"] is True
    folder = tmp_path / "by-socket"
    folder.mkdir()
    async with open_granted_api(folder, admin_by_socket=True) as api:
        await api.grant("vault", "auth-delegator@*")
        assert not (await review(api, api.admin)).json["status"].get("authenticated")


async def access(granted: GrantedApi, user: str, verb: str, who: str = "vault") -> Any:
    attributes = {"verb": verb, "resource": "builds", "namespace": "shop"}
    spec = {"user": user, "resourceAttributes": attributes}
    answer = await granted.send(who, "POST", ACCESS, {"spec": spec})
    return answer.json["status"] if answer.status == 201 else answer.status


@pytest.mark.parametrize(
    ("user", "verb", "allowed"),
    [
        ("vera", "list", True),
        ("vera", "create", False),
        (BOT, "list", True),
        (BOT, "delete", False),
        ("nobody", "list", False),
        ("system:admin", "delete", True),
    ],
)
async def test_what_somebody_may_do_is_said_by_their_rights_of_now(
    granted: GrantedApi, user: str, verb: str, *, allowed: bool
) -> None:
    assert (await access(granted, user, verb)).get("allowed", False) is allowed


@pytest.mark.parametrize(("user", "allowed"), [("vera", True), (BOT, True), ("nobody", False)])
async def test_paths_that_take_no_role_take_somebody(
    granted: GrantedApi, user: str, *, allowed: bool
) -> None:
    spec = {"user": user, "nonResourceAttributes": {"path": "/apis", "verb": "get"}}
    answer = await granted.send("vault", "POST", ACCESS, {"spec": spec})
    assert answer.json["status"].get("allowed", False) is allowed


async def test_a_question_about_nobody_is_refused(granted: GrantedApi) -> None:
    assert await access(granted, "", "list") == 422


async def test_nobody_else_asks_about_others(granted: GrantedApi) -> None:
    refused = await review(granted, "x", who="vera")
    assert refused.status == 403
    assert "needs role auth-delegator in all namespaces" in refused.text
    assert await access(granted, "vault", "list", who="vera") == 403
    assert (await granted.send("vault", "GET", path_of("builds", "shop"))).status == 403
