"""Approval links for people who sign in: theirs is the vote, whoever else has the link."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.server.granted_api import path_of
from tests.support.server.signed_in import SignedInApi, open_signed_in_api

from upwell.api.promotion import ApprovalLink, Promotion
from upwell.server.auth.signatures import new_signatures
from upwell.server.promotion.approvals import ApprovalLinks

NAME = "app-1.production"
ADA = "oidc:4711"
VOTE = {"decision": "approve", "comment": "fine"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[SignedInApi]:
    async with open_signed_in_api(tmp_path) as api:
        stage = {"workloads": [{"kind": "Deployment", "name": "web"}], "approval": {}}
        image = f"docker.io/library/web@sha256:{'1' * 64}"
        documents = {
            "pipelines": {
                "metadata": {"name": "app"},
                "spec": {
                    "components": [
                        {"name": "web", "from": {"kind": "ImageStreamTag", "name": "web:1"}}
                    ],
                    "stages": [{"name": "production", **stage}],
                },
            },
            "releases": {
                "metadata": {"name": "app-1"},
                "spec": {
                    "pipeline": "app",
                    "number": 1,
                    "components": [{"name": "web", "image": image}],
                },
            },
            "promotions": {
                "metadata": {"name": NAME},
                "spec": {"pipeline": "app", "release": "app-1", "stage": "production"},
            },
        }
        for plural, document in documents.items():
            answer = await api.send(api.admin, "POST", path_of(plural, "shop"), document)
            assert answer.status == 201, answer.text
        yield api


async def link(here: SignedInApi, person: str) -> str:
    path = path_of("promotions", "shop", NAME, "links")
    answer = await here.send(here.admin, "POST", path, {"as": person})
    assert answer.status == 201, answer.text
    return str(answer.json["path"])


async def votes(here: SignedInApi) -> list[str]:
    found = await here.api.store.get(Promotion, "shop", NAME)
    return [vote.by for vote in found.status.votes]


async def test_a_link_has_the_address_that_the_settings_name(here: SignedInApi) -> None:
    promotion = await here.api.store.get(Promotion, "shop", NAME)
    made = datetime(2026, 11, 25, tzinfo=UTC)
    asked = ApprovalLink(id="1", person=ADA, created=made, expires=made + timedelta(hours=1))
    signatures = new_signatures()

    nameless = ApprovalLinks(signatures, lambda: made).places(promotion, asked)
    named = ApprovalLinks(signatures, lambda: made, "https://up.example")

    assert nameless == {"path": named.path(promotion, asked)}
    assert named.places(promotion, asked)["url"] == f"https://up.example{nameless['path']}"


async def test_the_person_signs_in_and_comes_back_to_vote(here: SignedInApi) -> None:
    path, browser = await link(here, ADA), here.browser()
    state = await here.begin(browser, path)

    back = await browser.get(f"/oidc/callback?code=c&state={state}")
    shown = await browser.get(back.location)
    voted = await browser.post(back.location, VOTE)

    assert back.location == path
    assert (shown.status, f"You vote as <b>{ADA}" in shown.text) == (200, True)
    assert voted.status == 200
    assert await votes(here) == [ADA]


async def test_who_has_the_link_alone_votes_for_nobody(here: SignedInApi) -> None:
    path, browser = await link(here, ADA), here.browser()

    answer = await browser.post(path, VOTE)

    assert answer.status == 403
    assert await votes(here) == []


async def test_somebody_else_does_not_vote_in_a_persons_name(here: SignedInApi) -> None:
    path = await link(here, ADA)
    here.provider.person = {"sub": "4712", "groups": ["developers"]}
    browser = await here.signed_in_browser()

    answers = [await browser.get(path), await browser.post(path, VOTE)]

    assert [answer.status for answer in answers] == [403, 403]
    assert "you are signed in as oidc:4712" in answers[0].text
    assert await votes(here) == []


async def test_links_for_others_need_no_sign_in(here: SignedInApi) -> None:
    path, browser = await link(here, "ben@example.com"), here.browser()

    assert (await browser.get(path)).status == 200
    assert (await browser.post(path, VOTE)).status == 200
    assert await votes(here) == ["ben@example.com"]
