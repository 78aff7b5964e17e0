"""Approvals of those who asked for a promotion, or wrote it, are not enough by themselves."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiAnswer
from tests.support.server.audit_logs import audit_lines
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, Release
from upwell.policy.promotion.approval import Agreement, approval_of
from upwell.policy.promotion.four_eyes import interested, needs_four_eyes

NAME = "app-1.production"


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    async with open_granted_api(tmp_path) as api:
        await api.grant("ann", "pipeline-editor@a")
        await api.grant("ben", "promoter@a")
        await api.grant("cat", "approver@a")
        await api.grant("dot", "approver@a", "overrider@a")
        yield api


def pipeline(**approval: Any) -> dict[str, Any]:
    workloads = [{"kind": "Deployment", "name": "web"}]
    stage = {"workloads": workloads, "approval": approval}
    return {
        "metadata": {"name": "app"},
        "spec": {
            "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}],
            "stages": [{"name": "staging", **stage}, {"name": "production", **stage}],
        },
    }


async def waiting(
    granted: GrantedApi, *, wrote: str = "ann", asked: str = "ben", **approval: Any
) -> None:
    """Have a promotion into production wait for approval."""
    made = await granted.create(wrote, "pipelines", "a", pipeline(**approval))
    assert made.status == 201, made.text
    image = f"docker.io/library/web@sha256:{'1' * 64}"
    spec = {"pipeline": "app", "number": 1, "components": [{"name": "web", "image": image}]}
    document = {"metadata": {"name": "app-1"}, "spec": spec}
    assert (await granted.create("ben", "releases", "a", document)).status == 201
    spec = {"pipeline": "app", "release": "app-1", "stage": "production"}
    promotion = {"metadata": {"name": NAME}, "spec": spec}
    answer = await granted.create(asked, "promotions", "a", promotion)
    assert answer.status == 201, answer.text


async def vote(granted: GrantedApi, who: str, **body: str) -> ApiAnswer:
    return await granted.send(who, "POST", path_of("promotions", "a", NAME, "approve"), body)


async def agreement(granted: GrantedApi) -> Agreement:
    store = granted.api.store
    found = await store.get(Pipeline, "a", "app")
    promotion = await store.get(Promotion, "a", NAME)
    release = await store.get(Release, "a", "app-1")
    stage = found.spec.stages[1]
    people = interested(found, stage, release, promotion)
    return approval_of(stage.approval, promotion, granted.api.clock(), people).agreement


@pytest.mark.parametrize(
    ("wrote", "asked", "what"),
    [("ann", "ben", "asked for it"), ("ann", "admin", "wrote app-1")],
)
async def test_who_has_a_part_in_it_cannot_approve_alone(
    granted: GrantedApi, wrote: str, asked: str, what: str
) -> None:
    await waiting(granted, wrote=wrote, asked=asked)
    answer = await vote(granted, "ben", comment="fine")
    assert answer.status in {403, 409}, answer.text
    assert f"ben {what}" in answer.json["message"]
    assert "--override REASON" in answer.json["message"]
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_who_wrote_the_pipeline_cannot_approve_alone(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await waiting(granted)
    answer = await vote(granted, "ann")
    assert "ann wrote Pipeline app" in answer.json["message"]


async def test_of_two_approvals_one_may_be_theirs(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await waiting(granted, required=2)
    for who in ("ann", "ben"):
        assert (await vote(granted, who)).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_a_service_account_is_nobodys_eyes(granted: GrantedApi) -> None:
    await granted.grant("ben", "admin@a")
    metadata = {"name": "bot", "annotations": {"upwell.dev/grants": "approver@a"}}
    made = await granted.create("ben", "serviceaccounts", "a", {"metadata": metadata})
    assert made.status == 201, made.text
    path = path_of("serviceaccounts", "a", "bot", "token")
    token = await granted.send("ben", "POST", path, {})
    granted.tokens["bot"] = token.json["status"]["token"]
    await waiting(granted, required=2)
    assert (await vote(granted, "ben")).status == 200
    assert (await vote(granted, "bot")).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_a_service_account_approves_nothing_alone(granted: GrantedApi) -> None:
    metadata = {"name": "bot", "annotations": {"upwell.dev/grants": "approver@a"}}
    await granted.create("admin", "serviceaccounts", "a", {"metadata": metadata})
    token = await granted.send("admin", "POST", path_of("serviceaccounts", "a", "bot", "token"), {})
    granted.tokens["bot"] = token.json["status"]["token"]
    await waiting(granted)
    answer = await vote(granted, "bot")
    assert answer.status in {403, 409}, answer.text
    assert "is a ServiceAccount, and nobody's eyes" in answer.json["message"]


async def test_what_is_asked_for_by_an_accounts_token_is_asked_for_by_who_made_it(
    granted: GrantedApi,
) -> None:
    metadata = {"name": "bot", "annotations": {"upwell.dev/grants": "promoter@a deployer@a"}}
    await granted.create("admin", "serviceaccounts", "a", {"metadata": metadata})
    path = path_of("serviceaccounts", "a", "bot", "token")
    await granted.grant("cat", "approver@a", "promoter@a", "deployer@a")
    for who, account in (("cat", "bot"), ("bot", "bot again"), ("admin", "program")):
        token = await granted.send(who, "POST", path, {})
        granted.tokens[account] = token.json["status"]["token"]

    await waiting(granted, asked="bot again")

    answer = await vote(granted, "cat")
    assert answer.status in {403, 409}, answer.text
    assert "asked for it" in answer.json["message"]
    made = await granted.send("program", "GET", path_of("promotions", "a", NAME))
    assert made.json["spec"]["requestedBy"] == "cat"


async def test_an_override_takes_its_right_and_is_recorded(
    granted: GrantedApi, tmp_path: Path
) -> None:
    await waiting(granted)
    refused = await vote(granted, "ben", override="I am alone tonight")
    assert refused.status == 403, refused.text
    assert "needs role overrider there" in refused.json["message"]
    await granted.grant("ben", "promoter@a", "overrider@a")
    given = await vote(granted, "ben", override="I am alone tonight")
    assert given.status == 200, given.text
    assert given.json["status"]["votes"][0]["override"] == "I am alone tonight"
    assert await agreement(granted) is Agreement.AGREED
    reasons = [line.get("reason", "") for line in audit_lines(tmp_path)]
    assert "override: I am alone tonight" in reasons


async def test_who_has_no_part_in_it_overrides_nothing(granted: GrantedApi) -> None:
    await waiting(granted)
    given = await vote(granted, "dot", override="just so")
    assert given.json["status"]["votes"][0]["override"] == ""


async def test_the_local_administrator_gives_a_reason(granted: GrantedApi) -> None:
    await waiting(granted, wrote="admin", asked="admin")
    silent = await vote(granted, "admin")
    assert silent.status in {403, 409}, silent.text
    given = await vote(granted, "admin", comment="seen in staging")
    assert given.status == 200, given.text
    assert given.json["status"]["votes"][0]["override"] == "seen in staging"
    assert await agreement(granted) is Agreement.AGREED


async def test_a_stage_may_ask_for_it_or_not(granted: GrantedApi) -> None:
    await waiting(granted, fourEyes=False)
    assert (await vote(granted, "ben")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_by_default_only_the_last_stages_do(granted: GrantedApi) -> None:
    await waiting(granted)
    found = await granted.api.store.get(Pipeline, "a", "app")
    asks = {stage.name: needs_four_eyes(found, stage) for stage in found.spec.stages}
    assert asks == {"staging": False, "production": True}


async def test_an_emergency_past_them_takes_the_same_right(granted: GrantedApi) -> None:
    await waiting(granted)
    path = path_of("releases", "a", "app-1", "promote")
    body = {"stage": "production", "bypass": "it burns"}
    refused = await granted.send("ben", "POST", path, body)
    assert refused.status == 403, refused.text
    assert "needs role overrider there" in refused.json["message"]
    assert (await granted.send("ben", "POST", path, {**body, "stage": "staging"})).status == 201
    await granted.grant("ben", "promoter@a", "overrider@a")
    assert (await granted.send("ben", "POST", path, body)).status == 201


async def test_all_tokens_and_links_of_a_person_are_one_pair_of_eyes(granted: GrantedApi) -> None:
    await granted.grant("ben", "promoter@a", person="oidc:ben@example.com")
    await granted.grant("ben-ci", "approver@a", person="oidc:ben@example.com")
    await waiting(granted, required=2)
    for who in ("ben", "ben-ci"):
        assert (await vote(granted, who)).status == 200
    promotion = await granted.api.store.get(Promotion, "a", NAME)
    assert [one.by for one in promotion.status.votes] == ["oidc:ben@example.com"]
    assert promotion.spec.requested_by == "oidc:ben@example.com"
    body = {"as": "ben-ci", "expiresSeconds": 60}
    link = await granted.send("admin", "POST", path_of("promotions", "a", NAME, "links"), body)
    assert link.json["as"] == "oidc:ben@example.com"
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_a_person_does_not_approve_what_another_token_of_theirs_asked_for(
    granted: GrantedApi,
) -> None:
    await granted.grant("ben", "promoter@a", person="ben-himself")
    await granted.grant("ben-himself", "approver@a")
    await waiting(granted)
    answer = await vote(granted, "ben-himself")
    assert "ben-himself asked for it" in answer.json["message"]


@pytest.mark.parametrize("claimed", ["", "cat"])
async def test_what_a_token_wrote_its_person_wrote(granted: GrantedApi, claimed: str) -> None:
    await granted.grant("ann", "pipeline-editor@a", "overrider@a", person="oidc:ann")
    await granted.grant("ann-laptop", "approver@a", person="oidc:ann")
    await waiting(granted)
    path = path_of("pipelines", "a", "app")
    document = (await granted.send("ann", "GET", path)).json
    annotations = document["metadata"]["annotations"]
    assert annotations["upwell.dev/author-person"] == "oidc:ann"
    if claimed:  # no client sets it
        annotations["upwell.dev/author-person"] = claimed
        assert (await granted.send("ann", "PUT", path, document)).status == 200
    answer = await vote(granted, "ann-laptop")
    assert "oidc:ann wrote Pipeline app" in answer.json["message"]


async def test_a_token_that_gets_a_person_brings_them_to_what_it_wrote(granted: GrantedApi) -> None:
    await waiting(granted)
    await granted.grant("ann", "pipeline-editor@a", "overrider@a", person="oidc:ann")
    await granted.grant("ann-laptop", "approver@a", person="oidc:ann")
    path = path_of("pipelines", "a", "app")
    document = (await granted.send("ann", "GET", path)).json
    assert (await granted.send("ann", "PUT", path, document)).status == 200
    answer = await vote(granted, "ann-laptop")
    assert "oidc:ann wrote Pipeline app" in answer.json["message"]


async def test_a_token_with_a_damaged_person_opens_nothing(granted: GrantedApi) -> None:
    await granted.grant("eve", "approver@a", person="system:admin")
    await waiting(granted)
    assert (await vote(granted, "eve")).status == 401
