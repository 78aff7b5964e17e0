"""Approvals of stages that are kept in git: no other stage commits to their place."""

from typing import Any

import pytest

from upwell.api.codec import decode_as
from upwell.api.pipeline import GitTarget, Pipeline
from upwell.policy.promotion.claims import new_claims
from upwell.policy.promotion.git_commits import GitPlace
from upwell.policy.promotion.lowered_approvals import lowered_approvals

REPOSITORY = "https://git.test/shop/deploy.git"
GIT = {"repository": REPOSITORY, "path": "prod", "runningUrl": "https://prod.test/version"}
APPROVAL = {"approval": {"required": 2, "fourEyes": True}}
GUARDED = {"name": "prod", "git": GIT} | APPROVAL


def pipeline(*stages: dict[str, Any], name: str = "web", namespace: str = "shop") -> Pipeline:
    document = {
        "metadata": {"namespace": namespace, "name": name, "uid": name},
        "spec": {"stages": list(stages)},
    }
    return decode_as(Pipeline, document)


def in_git(name: str, **other: Any) -> dict[str, Any]:
    return {"name": name, "git": {**GIT, **other}}


@pytest.mark.parametrize(
    ("after", "what"),
    [
        ((in_git("fast"), GUARDED), "another stage commit"),
        ((in_git("fast", path="."), GUARDED), "another stage commit"),
        ((in_git("fast", path="./prod/web.yaml"), GUARDED), "another stage commit"),
        ((in_git("fast", branch="refs/heads/main"), GUARDED), "another stage commit"),
        ((in_git("fast"), in_git("prod", path="nowhere") | APPROVAL), "takes away its place"),
        ((in_git("prod", branch="other") | APPROVAL,), "takes away its place"),
        (({"name": "prod", "workloads": [{"name": "web"}]} | APPROVAL,), "takes away its place"),
    ],
)
def test_what_gets_around_an_approval_is_found(
    after: tuple[dict[str, Any], ...], what: str
) -> None:
    found = list(lowered_approvals(pipeline(GUARDED), pipeline(*after)))
    assert any(what in one for one in found), found


def test_a_stage_that_becomes_one_in_git_leaves_its_workloads() -> None:
    """No stage sets them then, and their own triggers do."""
    before = {"name": "prod", "workloads": [{"name": "web"}]} | APPROVAL
    found = list(lowered_approvals(pipeline(before), pipeline(before | {"git": GIT})))
    assert any("takes away workloads" in one for one in found), found


@pytest.mark.parametrize("other", [{"path": "test"}, {"branch": "test"}])
def test_a_stage_of_another_place_lowers_nothing(other: dict[str, Any]) -> None:
    after = pipeline(in_git("fast", **other), GUARDED)
    assert list(lowered_approvals(pipeline(GUARDED), after)) == []
    assert list(lowered_approvals(after, after)) == []


def test_another_pipeline_of_the_namespace_does_not_commit_to_a_guarded_place() -> None:
    guarded = pipeline(GUARDED)
    mine = pipeline(in_git("fast", path="prod/web"), name="mine")
    [fault] = new_claims(mine, None, [guarded], ())
    assert fault.path == "spec.stages[0].git"
    assert "belongs to stage prod" in fault.message
    assert not list(new_claims(mine, mine, [guarded], ())), "it had it before"
    assert not list(new_claims(guarded, None, [mine], ())), "nothing is guarded there"
    away = pipeline(in_git("fast"), name="mine", namespace="away")
    assert not list(new_claims(away, None, [guarded], ())), "it commits with Secrets of its own"


@pytest.mark.parametrize(
    "address",
    [
        "https://git.test/shop/deploy",
        "https://bot@git.test:443//shop/deploy.git/",
        "https://GIT.test/shop/./Deploy",
        "https://git.test/shop/%64eploy.git",
        "ssh://git@git.test/shop/deploy.git",
        "git@git.test:shop/deploy.git",
    ],
)
def test_one_repository_has_several_addresses(address: str) -> None:
    known = GitPlace.of(GitTarget(repository=REPOSITORY))
    assert known.overlaps(GitPlace.of(GitTarget(repository=address)))


@pytest.mark.parametrize(
    "address", ["https://git.test/shop/other", "https://other.test/shop/deploy"]
)
def test_others_are_others(address: str) -> None:
    known = GitPlace.of(GitTarget(repository=REPOSITORY))
    assert not known.overlaps(GitPlace.of(GitTarget(repository=address)))
