"""POST prunes: what is asked for is what is done; a grace time that is too short is refused."""

from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.support.pruning.cluster_pruning import ClusterPruning
from tests.support.pruning.pruned_stores import PrunedStores
from tests.support.server.api_server import Api, ApiAnswer, serving

from upwell.actions.pruning import PruningActions
from upwell.api.requests.prune import Prune
from upwell.oci import Digest
from upwell.policy.access.roles import Action, Role, allows, is_allowed, parse_grant
from upwell.policy.pruning.rules import Rules
from upwell.server.auth.request_info import action_of
from upwell.server.http.limits import DEFAULT_LIMITS

DEFAULTS = Rules(keep_tag_revisions=3, keep_younger_than=timedelta(hours=24))
PATH = "/apis/upwell.dev/v1alpha1/prunes"


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PrunedStores]:
    machine = PrunedStores(tmp_path)
    yield machine
    machine.inventory.close()


@pytest.fixture
async def api(machine: PrunedStores) -> AsyncIterator[Api]:
    actions = PruningActions(machine.pruning, machine.sweep, DEFAULTS)
    async with serving(DEFAULT_LIMITS, pruning=actions) as running:
        yield running


async def post(api: Api, query: str = "", **spec: Any) -> ApiAnswer:
    body = {"apiVersion": Prune.KIND.api_version, "kind": "Prune", "spec": spec}
    return await api.send("POST", PATH + query, body)


def removed(answer: ApiAnswer) -> list[str]:
    assert answer.status == 201, answer.text
    return [item["name"] for item in answer.json["status"].get("items", ())]


async def lost(machine: PrunedStores, mark: str) -> Digest:
    """Push an image that nothing names."""
    digest = await machine.push("shop/lost:latest", mark)
    await machine.registry.untag("shop/lost", "latest")
    return digest


async def test_a_dry_run_removes_nothing(api: Api, machine: PrunedStores) -> None:
    gone = await lost(machine, "old")
    machine.grow_old()
    for _ in range(2):
        found = removed(await post(api, "?dryRun=All", confirm=True, keepYoungerThanSeconds=3600))
        assert found == [f"shop/lost@{gone}"]
    refused = await post(api, "?dryRun=Some", confirm=True, keepYoungerThanSeconds=3600)
    assert refused.status == 400
    assert removed(await post(api, confirm=True, keepYoungerThanSeconds=3600)) == found
    assert removed(await post(api, confirm=True, keepYoungerThanSeconds=3600)) == []


async def test_what_is_asked_for_is_done(api: Api, machine: PrunedStores) -> None:
    gone = await lost(machine, "old")
    machine.grow_old()
    asked = {"confirm": True, "keepTagRevisions": 1, "keepYoungerThanSeconds": 3600}

    assert removed(await post(api, "", **asked)) == [f"shop/lost@{gone}"]
    assert await machine.manifests("shop/lost") == set()


async def test_a_grace_time_in_which_a_push_may_run_is_refused(api: Api) -> None:
    answer = await post(api, keepYoungerThanSeconds=1)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert "keepYoungerThanSeconds: must be at least 10 minutes" in answer.json["message"]


async def test_what_cannot_be_known_is_refused_with_what_to_do(tmp_path: Path) -> None:
    site = ClusterPruning(tmp_path, ("shop",))
    actions = PruningActions(site.pruning(), None, DEFAULTS)
    async with serving(DEFAULT_LIMITS, pruning=actions) as api:
        some = await post(api, confirm=True)
        leftovers = await post(api, leftovers=True)

    assert (some.status, some.json["reason"]) == (422, "Invalid")
    assert "[kubernetes] namespaces" in some.json["message"]
    assert leftovers.status == 422
    assert leftovers.json["message"].startswith("leftovers: on a cluster")
    site.kept.inventory.close()


@pytest.mark.parametrize("spec", [{"confirm": "yes"}, {"keepTagRevisions": 0}])
async def test_a_wrong_request_is_refused_with_its_field(api: Api, spec: dict[str, Any]) -> None:
    answer = await post(api, **spec)
    assert answer.status == 422
    assert next(iter(spec)) in answer.json["message"]


def test_an_admin_of_everything_alone_may_ask() -> None:
    action = action_of({"type": "http", "method": "POST", "path": PATH})

    assert action == Action("create", PATH.strip("/"))
    assert [role for role in Role if allows(role, action)] == [Role.ADMIN]
    assert is_allowed([parse_grant("admin@*")], action)
    assert not is_allowed([parse_grant("admin@shop")], action)
