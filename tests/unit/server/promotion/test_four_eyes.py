"""Approvals of those who asked for a promotion, or wrote it, are not enough by themselves."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.api_server import ApiAnswer
from tests.support.server.audit_logs import audit_lines
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.pipeline import Pipeline
from upwell.api.promotion import Promotion, PromotionPhase, Release
from upwell.policy.promotion.approval import Agreement, approval_of
from upwell.policy.promotion.four_eyes import involved, needs_four_eyes

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

    def stage(name: str) -> dict[str, Any]:
        workloads = [{"kind": "Deployment", "name": f"web-{name}"}]
        return {"name": name, "workloads": workloads, "approval": approval}

    return {
        "metadata": {"name": "app"},
        "spec": {
            "components": [{"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}],
            "stages": [stage("staging"), stage("production")],
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
    earlier = [one for one in (await store.list(Promotion)).items if one.spec.stage == stage.name]
    people = involved(found, stage, release, promotion, earlier)
    return approval_of(found, stage, promotion, granted.api.clock(), people).agreement


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


async def edited(granted: GrantedApi, who: str, seconds: int = 60) -> None:
    """Have somebody change a word of the Pipeline."""
    path = path_of("pipelines", "a", "app")
    document = (await granted.send(who, "GET", path)).json
    document["spec"]["stages"][0]["approval"]["deadlineSeconds"] = seconds
    answer = await granted.send(who, "PUT", path, document)
    assert answer.status == 200, answer.text


async def test_a_change_of_somebody_else_washes_no_author(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await granted.grant("eve", "pipeline-editor@a")
    await waiting(granted)
    await edited(granted, "eve")
    assert (await vote(granted, "ann")).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_two_who_wrote_it_approve_each_others_part(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await granted.grant("eve", "pipeline-editor@a", "approver@a")
    await waiting(granted)
    await edited(granted, "eve")
    alone = await vote(granted, "eve")
    assert "eve wrote Pipeline app" in alone.json["message"]
    assert (await vote(granted, "ann")).status == 200
    assert (await vote(granted, "eve")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_what_somebody_else_has_approved_is_no_part_any_more(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await granted.grant("eve", "pipeline-editor@a")
    await waiting(granted)
    await edited(granted, "eve")
    assert (await vote(granted, "cat")).status == 200
    store = granted.api.store
    begun = await store.get(Promotion, "a", NAME)
    status = begun.status.model_copy(
        update={"started": granted.api.clock(), "phase": PromotionPhase.VERIFYING}
    )
    await store.update_status(begun.with_status(status))
    spec = {"pipeline": "app", "release": "app-1", "stage": "production"}
    again = {"metadata": {"name": "app-1.again"}, "spec": spec}
    assert (await granted.create("dot", "promotions", "a", again)).status == 403
    assert (await granted.create("ben", "promotions", "a", again)).status == 201
    path = path_of("promotions", "a", "app-1.again", "approve")
    assert (await granted.send("ann", "POST", path, {})).status == 200
    found = await store.get(Pipeline, "a", "app")
    stage, release = found.spec.stages[1], await store.get(Release, "a", "app-1")
    promotion = await store.get(Promotion, "a", "app-1.again")
    earlier = (await store.list(Promotion)).items
    people = involved(found, stage, release, promotion, earlier)
    result = approval_of(found, stage, promotion, granted.api.clock(), people)
    assert result.agreement is Agreement.AGREED


async def test_a_pipeline_made_anew_inherits_no_votes(granted: GrantedApi) -> None:
    await waiting(granted)
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED
    path = path_of("pipelines", "a", "app")
    gone = await granted.send("admin", "DELETE", path)
    assert gone.status == 200, gone.text
    assert (await granted.create("ann", "pipelines", "a", pipeline())).status == 201
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_a_pipeline_made_anew_inherits_no_approved_generation(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await granted.grant("eve", "pipeline-editor@a", "approver@a")
    await waiting(granted)
    for seconds in (60, 70, 80):
        await edited(granted, "ann", seconds)
    assert (await vote(granted, "cat")).status == 200
    store = granted.api.store
    begun = await store.get(Promotion, "a", NAME)
    status = begun.status.model_copy(
        update={"started": granted.api.clock(), "phase": PromotionPhase.VERIFYING}
    )
    await store.update_status(begun.with_status(status))
    path = path_of("pipelines", "a", "app")
    await granted.send("admin", "DELETE", path)
    assert (await granted.create("eve", "pipelines", "a", pipeline())).status == 201
    await edited(granted, "ann", 50)
    found = await store.get(Pipeline, "a", "app")
    earlier = (await store.list(Promotion)).items
    people = involved(found, found.spec.stages[1], None, begun, earlier)
    assert people is not None
    assert {"ann", "eve"} <= {*people.parties, *people.writers}


async def test_no_client_says_who_wrote_a_pipeline(granted: GrantedApi) -> None:
    await granted.grant("ann", "pipeline-editor@a", "approver@a")
    await granted.grant("eve", "pipeline-editor@a")
    await waiting(granted)
    path = path_of("pipelines", "a", "app")
    document = (await granted.send("eve", "GET", path)).json
    document["metadata"]["annotations"]["upwell.dev/writers"] = "0 cat"
    document["spec"]["stages"][0]["approval"]["deadlineSeconds"] = 60
    assert (await granted.send("eve", "PUT", path, document)).status == 200
    found = await granted.api.store.get(Pipeline, "a", "app")
    assert found.annotations["upwell.dev/writers"] == "0 ann\n1 eve"


async def test_a_group_approves(granted: GrantedApi) -> None:
    await granted.grant("cat", "approver@a", groups=("security", "others"))
    await granted.grant("fay", "approver@a", groups=("others",))
    await waiting(granted, approvers=["group:security"])
    refused = await vote(granted, "fay")
    assert "fay is not an approver" in refused.json["message"]
    given = await vote(granted, "cat")
    assert given.json["status"]["votes"][0]["groups"] == ["security"]
    assert await agreement(granted) is Agreement.AGREED


async def test_a_group_is_as_many_people_as_vote(granted: GrantedApi) -> None:
    await granted.grant("cat", "approver@a", groups=("security",))
    await granted.grant("fay", "approver@a", groups=("security",))
    await granted.grant("fay-laptop", "approver@a", person="fay", groups=("security",))
    await waiting(granted, approvers=["group:security"], required=2)
    for who in ("fay", "fay-laptop"):
        assert (await vote(granted, who)).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def by_link(granted: GrantedApi, maker: str, person: str) -> ApiAnswer:
    """Have a link made, and vote by it."""
    path = path_of("promotions", "a", NAME, "links")
    made = await granted.send(maker, "POST", path, {"as": person})
    assert made.status == 201, made.text
    form = "application/x-www-form-urlencoded"
    return await granted.api.send("POST", made.json["path"], b"decision=approve", form)


async def test_who_asked_for_it_approves_by_no_link_of_theirs(granted: GrantedApi) -> None:
    await granted.grant("ben", "admin@a")
    await waiting(granted)
    answer = await by_link(granted, "ben", "nobody-at-all")
    assert answer.status == 409, answer.text
    assert "ben, who made this link, asked for it" in answer.text
    assert await agreement(granted) is Agreement.OPEN


async def test_two_links_of_one_person_are_one_pair_of_eyes(granted: GrantedApi) -> None:
    await granted.grant("fay", "admin@a")
    await waiting(granted, required=2)
    for name in ("one", "two"):
        assert (await by_link(granted, "fay", name)).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "cat")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_a_link_of_the_local_administrator_is_whose_it_says(granted: GrantedApi) -> None:
    await waiting(granted, wrote="admin", asked="admin")
    assert (await by_link(granted, "admin", "ada")).status == 200
    assert await agreement(granted) is Agreement.AGREED


async def test_another_name_that_may_be_theirs_is_nobody_elses_eyes(granted: GrantedApi) -> None:
    await granted.grant("work", "approver@a", person="oidc:Ben@example.com")
    await waiting(granted)
    answer = await vote(granted, "work")
    assert answer.status in {403, 409}, answer.text
    assert "who may be ben by another name, asked for it" in answer.json["message"]


async def test_votes_of_one_person_by_two_names_are_one(granted: GrantedApi) -> None:
    await granted.grant("work", "approver@a", person="oidc:cat@example.com")
    await waiting(granted, required=2)
    for who in ("cat", "work"):
        assert (await vote(granted, who)).status == 200
    assert await agreement(granted) is Agreement.OPEN
    assert (await vote(granted, "dot")).status == 200
    assert await agreement(granted) is Agreement.AGREED
