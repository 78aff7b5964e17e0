"""POST prunes: what is asked for is what is done; a grace time that is too short is refused."""

import json
from datetime import timedelta
from typing import Any

import pytest
from starlette.requests import Request

from upwell.api.codec import InvalidObjectError
from upwell.api.prune import Prune, PrunedItem, PruneStatus
from upwell.policy.access.roles import Action, Role, allows, is_allowed, parse_grant
from upwell.policy.pruning.retention import Rules
from upwell.server.auth.request_info import action_of
from upwell.server.http.errors import ApiError
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.server.pruning.prunes import create_routes

DEFAULTS = Rules(keep_tag_revisions=3, keep_younger_than=timedelta(hours=24))
PATH = "/apis/upwell.dev/v1alpha1/prunes"


async def post(document: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[Rules, bool]]]:
    asked: list[tuple[Rules, bool]] = []

    async def prune(rules: Rules, confirm: bool) -> PruneStatus:  # noqa: FBT001 - PruneNow
        asked.append((rules, confirm))
        return PruneStatus(items=(PrunedItem(what="image", name="a", bytes=5),), bytes=5)

    [route] = create_routes(prune, DEFAULTS, DEFAULT_LIMITS)
    body = {"apiVersion": Prune.KIND.api_version, "kind": "Prune", **document}

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(body).encode(), "more_body": False}

    scope = {"type": "http", "method": "POST", "path": PATH, "headers": []}
    answer = await route.endpoint(Request(scope, receive))  # type: ignore[attr-defined]
    assert answer.status_code == 201
    return json.loads(answer.body), asked


async def test_without_a_word_it_is_a_dry_run_by_the_servers_rules() -> None:
    answer, asked = await post({})

    assert asked == [(DEFAULTS, False)]
    assert answer["status"]["items"] == [{"what": "image", "name": "a", "bytes": 5}]
    assert answer["status"]["bytes"] == 5


async def test_what_is_asked_for_is_done() -> None:
    spec = {"confirm": True, "keepTagRevisions": 1, "keepYoungerThanSeconds": 3600}

    _, asked = await post({"spec": spec})

    assert asked == [(Rules(1, timedelta(hours=1)), True)]


async def test_a_grace_time_in_which_a_push_may_run_is_refused() -> None:
    with pytest.raises(ApiError, match="at least 10 minutes"):
        await post({"spec": {"keepYoungerThanSeconds": 1}})


@pytest.mark.parametrize("spec", [{"confirm": "yes"}, {"keepTagRevisions": 0}])
async def test_a_wrong_request_is_refused_with_its_field(spec: dict[str, Any]) -> None:
    with pytest.raises(InvalidObjectError, match=next(iter(spec))):
        await post({"spec": spec})


def test_an_admin_of_everything_alone_may_ask() -> None:
    action = action_of({"type": "http", "method": "POST", "path": PATH})

    assert action == Action("create", PATH.strip("/"))
    assert [role for role in Role if allows(role, action)] == [Role.ADMIN]
    assert is_allowed([parse_grant("admin@*")], action)
    assert not is_allowed([parse_grant("admin@shop")], action)
