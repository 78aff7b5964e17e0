"""Promotions into stages that are kept in a real repository."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from tests.support.gitops.git_host import GitHost
from tests.support.gitops.git_promotion import (
    MANIFEST,
    GitPromotion,
    Killed,
    base_digest,
    digest,
    image,
    with_image,
)
from tests.support.gitops.repositories import InterferingRepositories

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.codec import decode_as
from upwell.api.core import Secret
from upwell.api.promotion import PromotionPhase, Purpose
from upwell.gitops.git import GitRepositories
from upwell.gitops.interface import Author
from upwell.policy.promotion.stages import STAGE_HOLD
from upwell.policy.promotion.verification.checks import VerificationOutcome
from upwell.verification.interface import HttpAnswer, HttpQuestion, ProbeError

FAILED, SUCCEEDED = PromotionPhase.FAILED, PromotionPhase.SUCCEEDED
SUPERSEDED, VERIFYING = PromotionPhase.SUPERSEDED, PromotionPhase.VERIFYING


@pytest.fixture
def git_promotion(host: GitHost, repositories: GitRepositories) -> GitPromotion:
    host.push("by hand", {"deploy/shop.yaml": MANIFEST, "README": "x"})
    return GitPromotion(host, repositories, git={"path": "deploy"})


def held(annotations: Mapping[str, str]) -> str:
    return annotations.get(f"{STAGE_HOLD}production", "")


async def test_a_promotion_is_one_commit_that_explains_itself(git_promotion: GitPromotion) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    second = await git_promotion.release(2)
    promotion = await git_promotion.begin(
        second, "shop-1", requested_by="ann", reason="the audit is done"
    )
    done = await git_promotion.run(promotion, SUCCEEDED)

    assert git_promotion.host.show("deploy/shop.yaml") == with_image(2)
    assert git_promotion.host.log() == [
        "Promote shop-2 to production",
        "Promote shop-1 to production",
        "by hand",
    ]
    assert done.status.commit == git_promotion.host.git("rev-parse", "main")
    told = git_promotion.host.git("log", "-1", "--format=%B", "main")
    assert told.splitlines() == [
        "Promote shop-2 to production",
        "",
        "debian:12 has changed",
        "",
        "Asked for by ann: the audit is done",
        "",
        "Images:",
        f"- shop: {image(2)} (was {digest(1)[:19]}, built by team/shop-2 from commit c0ffeec0ffee)",
        "",
        "Base images:",
        f"- debian:12: {base_digest(1)[:19]} -> {base_digest(2)[:19]}",
        "",
        f"Promotion: https://upwell.example/team/{promotion.name}",
        "",
        f"Upwell-Promotion: team/{promotion.name}",
        f"Upwell-Promotion-Uid: {promotion.uid}",
        "Upwell-Pipeline: team/shop",
        "Upwell-Stage: production",
        "Upwell-Release: shop-2",
    ]


async def test_what_others_write_cannot_pass_for_a_trailer(git_promotion: GitPromotion) -> None:
    await git_promotion.create_pipeline()
    cause = "x\n\nUpwell-Release: shop-9\nUpwell-Stage: dev"
    await git_promotion.run(
        await git_promotion.begin(await git_promotion.release(1, cause)), SUCCEEDED
    )
    assert git_promotion.host.git(
        "log", "-1", "--format=%(trailers:key=Upwell-Release)"
    ).split() == [
        *("Upwell-Release:", "shop-1"),
    ]


async def test_the_workloads_here_are_waited_for(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    git_promotion.stage = {"workloads": [{"name": "shop"}]}
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    await git_promotion.run(promotion, message="waits for Deployment team/shop to exist")
    assert host.log()[0] == "Promote shop-1 to production"

    # It spells the image in its own way: the digest counts.
    created = await git_promotion.store.create(
        deployment(f"registry.example/team/shop:1.0@{digest(1)}")
    )
    await git_promotion.run(promotion, message="Deployment team/shop")
    assert len(host.log()) == 2
    await git_promotion.store.update_status(created.with_status(rolled_out(created)))
    await git_promotion.run(promotion, SUCCEEDED)


def deployment(reference: str) -> Deployment:
    containers = [{"name": "shop", "image": reference}]
    labels = {"app": "shop"}
    return decode_as(
        Deployment,
        {
            "metadata": {"name": "shop", "namespace": "team"},
            "spec": {
                "replicas": 1,
                "selector": {"matchLabels": labels},
                "template": {"metadata": {"labels": labels}, "spec": {"containers": containers}},
            },
        },
    )


def rolled_out(one: Deployment) -> Any:
    counts = dict.fromkeys(("replicas", "updated_replicas", "available_replicas"), 1)
    created = datetime(2026, 1, 1, tzinfo=UTC)
    newest = RevisionRecord(
        revision=1, hash="a", template=one.spec.template, created=created, phase="Complete"
    )
    changes = {"observed_generation": one.generation, "revisions": (newest,)}
    return one.status.model_copy(update={**counts, "ready_replicas": 1, **changes})


async def test_what_runs_elsewhere_is_asked_for_its_digests(git_promotion: GitPromotion) -> None:
    git_promotion.git["runningUrl"] = "http://shop.example/version"
    await git_promotion.create_pipeline()
    git_promotion.probes.http = ProbeError("shop.example did not answer")
    promotion = await git_promotion.begin(await git_promotion.release(1))
    await git_promotion.run(promotion, message="runningUrl: shop.example did not answer")
    git_promotion.probes.http = HttpAnswer(503, digest(1).encode())
    await git_promotion.run(promotion, message="runningUrl answered 503")
    git_promotion.probes.http = HttpAnswer(200, b"sha256:old")
    await git_promotion.run(promotion, message=f"waits for runningUrl to name shop {digest(1)}")
    git_promotion.probes.http = HttpAnswer(200, f"running {digest(1)}".encode())
    await git_promotion.run(promotion, SUCCEEDED)
    assert set(git_promotion.probes.asked) == {HttpQuestion("http://shop.example/version")}


async def test_a_failed_release_is_put_back_by_another_commit(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    git_promotion.tests.outcome, git_promotion.tests.message = (
        VerificationOutcome.FAILED,
        "smoke answered 500",
    )
    failed = await git_promotion.promoted(2, "shop-1")

    assert failed.status.phase is FAILED
    assert failed.status.message == "smoke answered 500; shop-1 was restored"
    assert host.show("deploy/shop.yaml") == with_image(1)
    assert host.log()[:2] == ["Put shop-1 back in production", "Promote shop-2 to production"]
    assert "shop-2 failed there: smoke answered 500" in host.git("log", "-1", "--format=%B")
    assert failed.status.steps[-1].message == f"commit {host.git('rev-parse', 'main')}"
    assert failed.status.commit == host.git("rev-parse", "main~1")


async def test_a_person_goes_back_by_a_commit_too(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    await git_promotion.promoted(2, "shop-1")
    first = await git_promotion.store.get(type(await git_promotion.release(3)), "team", "shop-1")
    back = await git_promotion.begin(first, "shop-2", purpose=Purpose.ROLL_BACK, requested_by="ann")
    await git_promotion.run(back, SUCCEEDED)
    assert host.show("deploy/shop.yaml") == with_image(1)
    assert len(host.log()) == 4


async def test_a_host_that_is_down_is_tried_again_and_said(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    host.stop()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    waiting = await git_promotion.run(promotion, message="it is tried again")
    assert host.uri in waiting.status.message
    assert "Connection refused" in waiting.status.message
    assert waiting.status.phase is PromotionPhase.ROLLING_OUT
    assert waiting.status.until is not None
    git_promotion.clock.time = waiting.status.until

    # The change of its own status wakes it at once: the host is left alone until it is time.
    again = await git_promotion.step(promotion)
    opened, git_promotion.clock.time = (
        git_promotion.counted.opened,
        git_promotion.clock.time.replace(),
    )
    assert again.status.until is not None
    git_promotion.clock.time = again.status.started or git_promotion.clock.time
    await git_promotion.reconciler.reconcile(promotion.key)
    assert git_promotion.counted.opened == opened

    host.start()
    git_promotion.clock.time = again.status.until
    await git_promotion.run(promotion, SUCCEEDED)
    assert host.show("deploy/shop.yaml") == with_image(1)


async def test_a_host_that_stays_down_fails_the_promotion_at_its_deadline(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    git_promotion.stage["rolloutSeconds"] = 600
    await git_promotion.create_pipeline()
    host.stop()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    began = git_promotion.clock()
    failed = await git_promotion.run(promotion, FAILED)
    assert "not rolled out after 600 s" in failed.status.message
    assert host.uri in failed.status.message
    assert 600 <= (git_promotion.clock() - began).total_seconds() < 700
    assert git_promotion.counted.opened < 30


async def test_who_waited_for_a_host_that_is_down_does_not_try_as_well(
    host: GitHost, git_promotion: GitPromotion, repositories: GitRepositories
) -> None:
    await git_promotion.create_pipeline()
    asked: list[str] = []
    git_promotion.counted.inner = InterferingRepositories(repositories, asked=asked)
    host.stop()
    first, second = [
        await git_promotion.begin(await git_promotion.release(number)) for number in (1, 2)
    ]
    for promotion in (first, second):
        # The same instant for both: the images are provided first, in steps without a pause.
        await git_promotion.run(promotion, message="it is tried again")
        git_promotion.clock.time = promotion.status.started or git_promotion.clock.time
    assert len(asked) == 1


async def test_a_host_that_goes_down_during_the_tests_does_not_fail_them(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    git_promotion.tests.outcome = VerificationOutcome.RUNNING
    promotion = await git_promotion.run(
        await git_promotion.begin(await git_promotion.release(1)), VERIFYING
    )
    host.stop()
    git_promotion.clock.advance(100)
    await git_promotion.step(promotion)
    git_promotion.tests.outcome = VerificationOutcome.PASSED
    git_promotion.clock.advance(100)
    await git_promotion.run(promotion, SUCCEEDED)


async def test_the_host_is_not_asked_at_every_step(git_promotion: GitPromotion) -> None:
    await git_promotion.create_pipeline()
    git_promotion.tests.outcome = VerificationOutcome.RUNNING
    promotion = await git_promotion.run(
        await git_promotion.begin(await git_promotion.release(1)), VERIFYING
    )
    before = git_promotion.counted.opened
    for _ in range(20):
        await git_promotion.step(promotion)  # a second each
    assert git_promotion.counted.opened == before
    git_promotion.clock.advance(30)
    await git_promotion.step(promotion)
    assert git_promotion.counted.opened == before + 1


async def test_commits_of_others_are_built_upon(
    host: GitHost, git_promotion: GitPromotion, repositories: GitRepositories
) -> None:
    others = [{"other": "1"}, {"deploy/shop.yaml": f"# more\n{MANIFEST}"}]

    def push() -> None:
        if others:
            host.push(f"{len(others)} to come", others.pop(0))

    interfering = InterferingRepositories(repositories, before=push)
    git_promotion.counted.inner = interfering
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    assert host.log() == ["Promote shop-1 to production", "1 to come", "2 to come", "by hand"]
    assert host.show("deploy/shop.yaml") == f"# more\n{with_image(1)}"


async def test_a_branch_that_never_rests_is_tried_later(
    host: GitHost, git_promotion: GitPromotion, repositories: GitRepositories
) -> None:
    count = iter(range(100))

    def push() -> None:
        if (number := next(count)) < 7:
            host.push(f"other {number}", {"other": str(number)})

    git_promotion.counted.inner = InterferingRepositories(repositories, before=push)
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    await git_promotion.run(promotion, message="others were faster in each of 6 attempts")
    await git_promotion.run(promotion, SUCCEEDED)
    assert host.log().count("Promote shop-1 to production") == 1


async def test_two_servers_that_commit_at_once_both_get_in(host: GitHost, tmp_path: Path) -> None:
    files = {f"deploy-{n}/shop.yaml": MANIFEST for n in range(3)}
    host.push("by hand", files)
    sites = []
    for number in range(3):
        folder = tmp_path / f"server-{number}"
        own = GitRepositories(folder, Author("Upwell", "upwell@example.test"))
        one = GitPromotion(host, own, git={"path": f"deploy-{number}"})
        await one.create_pipeline()
        sites.append(one)
    await asyncio.gather(*(one.promoted(number + 1) for number, one in enumerate(sites)))
    assert sorted(host.log()) == [
        *(f"Promote shop-{n} to production" for n in (1, 2, 3)),
        "by hand",
    ]
    for number in range(3):
        assert host.show(f"deploy-{number}/shop.yaml") == with_image(number + 1)


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("push_branch", [None, "upwell/{promotion}"])
async def test_a_server_that_is_killed_at_a_push_commits_once(
    host: GitHost,
    git_promotion: GitPromotion,
    repositories: GitRepositories,
    moment: str,
    push_branch: str | None,
) -> None:
    def kill() -> None:
        raise Killed

    git_promotion.git["pushBranch"] = push_branch
    killing = InterferingRepositories(repositories)
    setattr(killing, moment, kill)
    git_promotion.counted.inner = killing
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    with pytest.raises(Killed):
        await git_promotion.run(promotion, SUCCEEDED)

    git_promotion.counted.inner = repositories
    git_promotion.restart()
    if push_branch:
        waiting = await git_promotion.run(
            promotion, message=f"waits for branch upwell/{promotion.name}"
        )
        branch = f"upwell/{promotion.name}"
    else:
        waiting, branch = await git_promotion.run(promotion, SUCCEEDED), "main"
    assert host.log(branch) == ["Promote shop-1 to production", "by hand"]
    assert waiting.status.commit == host.git("rev-parse", branch)


async def test_what_a_person_changes_meanwhile_stays_and_holds_the_stage(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    git_promotion.tests.outcome = VerificationOutcome.RUNNING
    promotion = await git_promotion.run(
        await git_promotion.begin(await git_promotion.release(2), "shop-1"), VERIFYING
    )
    undone = host.push("not that one", {"deploy/shop.yaml": with_image(1)})
    git_promotion.clock.advance(60)
    ended = await git_promotion.run(promotion, SUPERSEDED)

    assert (
        f"Ann Author changed deploy/shop.yaml on main in commit {undone[:12]}"
        in ended.status.message
    )
    assert "`upwell resume pipeline/shop --stage production` lifts the hold" in ended.status.message
    assert "Ann Author changed" in held((await git_promotion.pipeline()).annotations)
    assert host.git("rev-parse", "main") == undone == ended.status.commit


async def test_a_roll_back_in_git_is_not_promoted_over_until_its_hold_is_lifted(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    await git_promotion.promoted(2, "shop-1")
    undone = host.push("back", {"deploy/shop.yaml": with_image(1)})
    third = await git_promotion.release(3)
    ended = await git_promotion.run(await git_promotion.begin(third, "shop-2"), SUPERSEDED)
    assert ended.status.commit == undone == host.git("rev-parse", "main")
    assert held((await git_promotion.pipeline()).annotations)

    lifted = (await git_promotion.pipeline()).with_metadata(annotations={})
    await git_promotion.store.update(lifted)
    await git_promotion.run(await git_promotion.begin(third, "shop-2"), SUCCEEDED)
    assert host.show("deploy/shop.yaml") == with_image(3)


async def test_a_person_who_promotes_may_promote_over_a_change(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    host.push("by hand again", {"deploy/shop.yaml": MANIFEST})
    done = await git_promotion.promoted(2, "shop-1", requested_by="ann")
    assert done.status.phase is SUCCEEDED
    assert not held((await git_promotion.pipeline()).annotations)


async def test_a_change_that_leaves_the_images_alone_holds_nothing(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    host.push("more", {"deploy/shop.yaml": with_image(1).replace("name: shop}", "name: web}")})
    done = await git_promotion.promoted(2, "shop-1")
    assert done.status.phase is SUCCEEDED


async def test_a_review_is_waited_for(host: GitHost, git_promotion: GitPromotion) -> None:
    git_promotion.git["pushBranch"] = "upwell/{stage}/{promotion}"
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    branch = f"upwell/production/{promotion.name}"
    waiting = await git_promotion.run(promotion, message=f"waits for branch {branch} of {host.uri}")
    assert host.log() == ["by hand"]
    assert host.show("deploy/shop.yaml", branch) == with_image(1)
    assert waiting.status.commit == host.git("rev-parse", branch)

    host.push("meanwhile", {"other": "x"})
    merge(host, branch)
    done = await git_promotion.run(promotion, SUCCEEDED)
    assert done.status.commit == host.git("rev-parse", branch)


async def test_a_review_may_take_any_time_and_the_rollout_counts_from_its_merge(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    git_promotion.git["pushBranch"] = "upwell/{promotion}"
    git_promotion.stage |= {"workloads": [{"name": "shop"}], "rolloutSeconds": 60}
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    await git_promotion.run(promotion, message="waits for branch")
    git_promotion.clock.advance(86400)
    host.stop()
    await git_promotion.run(promotion, message="it is tried again")
    host.start()
    git_promotion.clock.advance(86400)
    merge(host, f"upwell/{promotion.name}")
    await git_promotion.run(promotion, message="waits for Deployment team/shop to exist")
    failed = await git_promotion.run(promotion, FAILED)
    assert "not rolled out after 60 s" in failed.status.message
    assert [step.name for step in failed.status.steps] == ["Images", "RollOut", "Review", "RollOut"]


def merge(host: GitHost, branch: str, *options: str) -> None:
    host.in_clone("fetch", "--quiet", "origin")
    host.in_clone("switch", "--quiet", "main")
    host.in_clone("merge", "--quiet", *options, f"origin/{branch}")
    if options:
        host.in_clone("commit", "--quiet", "--message", "squashed")
    host.in_clone("push", "--quiet", "origin", "main")


async def test_a_squashed_review_counts_and_a_failure_is_reviewed_too(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    git_promotion.git["pushBranch"] = "upwell/{promotion}"
    host.push("old", {"deploy/shop.yaml": with_image(1)})
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)  # the branch has it: there is nothing to review
    assert host.branches() == ["main"]

    git_promotion.tests.outcome, git_promotion.tests.message = (
        VerificationOutcome.FAILED,
        "it fails",
    )
    promotion = await git_promotion.begin(await git_promotion.release(2), "shop-1")
    await git_promotion.run(promotion, message="waits for branch")
    merge(host, f"upwell/{promotion.name}", "--squash")
    back = f"upwell/{promotion.name}-back"
    await git_promotion.run(promotion, message=f"waits for branch {back}")
    assert host.show("deploy/shop.yaml", back) == with_image(1)
    merge(host, back)
    failed = await git_promotion.run(promotion, FAILED)
    assert failed.status.message == "it fails; shop-1 was restored"


async def test_a_change_that_failed_before_its_merge_is_taken_back_on_its_branch(
    host: GitHost, git_promotion: GitPromotion
) -> None:
    git_promotion.git["pushBranch"] = "upwell/{promotion}"
    git_promotion.git["reviewSeconds"] = 120
    host.push("old", {"deploy/shop.yaml": with_image(1)})
    await git_promotion.create_pipeline()
    await git_promotion.promoted(1)
    failed = await git_promotion.promoted(2, "shop-1")
    assert failed.status.phase is FAILED
    assert "not merged after 120 s: waits for branch" in failed.status.message
    branch = f"upwell/{failed.name}"
    assert host.log(branch)[:2] == ["Put shop-1 back in production", "Promote shop-2 to production"]
    assert host.git("diff", "main", branch) == ""


async def test_a_review_that_is_declined_fails(host: GitHost, git_promotion: GitPromotion) -> None:
    git_promotion.git["pushBranch"] = "upwell/{promotion}"
    await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    await git_promotion.run(promotion, message="waits for branch")
    host.git("branch", "-D", f"upwell/{promotion.name}")
    git_promotion.clock.advance(60)
    failed = await git_promotion.run(promotion, FAILED)
    assert f"branch upwell/{promotion.name} is gone" in failed.status.message


async def test_verifying_again_changes_nothing(host: GitHost, git_promotion: GitPromotion) -> None:
    await git_promotion.create_pipeline()
    release = await git_promotion.release(1)
    promotion = await git_promotion.begin(release, purpose=Purpose.VERIFY)
    await git_promotion.run(promotion, message="does not have its images")
    assert host.log() == ["by hand"]
    host.push("now", {"deploy/shop.yaml": with_image(1)})
    git_promotion.clock.advance(60)
    await git_promotion.run(promotion, SUCCEEDED)
    assert len(host.log()) == 2


@pytest.mark.parametrize(
    ("git", "message"),
    [
        ({"path": "nowhere"}, "branch main: there is no nowhere"),
        ({"branch": "release"}, "has no branch release: create it"),
        ({"path": "link"}, "branch main: link is a symbolic link: name the file itself"),
        ({"path": "link/passwd"}, "there is no link/passwd (links on the way are not followed)"),
        ({"path": "bad.yaml"}, "branch main: bad.yaml:2: not YAML"),
        ({"path": "large.yaml"}, "branch main: large.yaml is larger than 524288 bytes"),
        ({"format": "Kustomize"}, "branch main: deploy has no kustomization.yaml"),
        ({"format": "Flux"}, "no value in deploy is marked"),
        ({"keys": {"shop": "Deployment/x/y"}}, "has the container Deployment/x/y"),
        ({"secret": {"name": "login"}}, "Secret login does not exist in namespace team: create it"),
        ({"repository": "ext::sh -c true"}, "is not a git address"),
    ],
)
async def test_what_is_wrong_is_said_until_it_is_right(
    host: GitHost, git_promotion: GitPromotion, git: dict[str, Any], message: str
) -> None:
    (host.clone / "link").symlink_to("/etc")
    wrong = {"bad.yaml": "team/shop: [\n", "large.yaml": f"# team/shop {'x' * 600_000}\n"}
    host.push("more", wrong)
    git_promotion.git |= git
    pipeline = await git_promotion.create_pipeline()
    promotion = await git_promotion.begin(await git_promotion.release(1))
    waiting = await git_promotion.run(promotion, message=message)
    assert waiting.status.until is not None

    stage = pipeline.spec.stages[0]
    right = stage.git.model_copy(  # type: ignore[union-attr]
        update={
            "repository": host.uri,
            "branch": "main",
            "path": "deploy",
            "format": "Plain",
            "keys": {},
            "secret": None,
        }
    )
    spec = {"stages": (stage.model_copy(update={"git": right}),)}
    corrected = pipeline.spec.model_copy(update=spec)
    await git_promotion.store.update(pipeline.model_copy(update={"spec": corrected}))
    await git_promotion.run(promotion, SUCCEEDED)


async def test_a_login_comes_from_a_secret(git_promotion: GitPromotion) -> None:
    git_promotion.git["secret"] = {"name": "login"}
    await git_promotion.create_pipeline()
    secret = {"metadata": {"name": "login", "namespace": "team"}, "stringData": {"password": "x"}}
    await git_promotion.store.create(decode_as(Secret, secret))
    assert (await git_promotion.promoted(1)).status.phase is SUCCEEDED


@pytest.mark.parametrize(
    ("git", "path", "before", "after"),
    [
        (
            {"format": "Kustomize", "path": "overlays/production"},
            "overlays/production/kustomization.yaml",
            'images:\n- name: registry.example/team/shop # it\n  newTag: "1"\n',
            'images:\n- name: registry.example/team/shop # it\n  digest: "{digest}"\n',
        ),
        (
            {"format": "Helm", "path": "chart", "keys": {"shop": "shop.image"}},
            "chart/values.yaml",
            "shop:\n  image:   # it\n    tag: v1\n",
            "shop:\n  image:   # it\n    tag: v1@{digest}\n",
        ),
        (
            {"format": "Flux", "path": "."},
            "apps/shop.yaml",
            'a: x:1 # {"$imagepolicy": "flux-system:shop"}\n',
            'a: registry.example/team/shop@{digest} # {"$imagepolicy": "flux-system:shop"}\n',
        ),
    ],
)
async def test_every_form_is_edited_where_it_stands(
    git_promotion: GitPromotion, git: dict[str, str], path: str, before: str, after: str
) -> None:
    git_promotion.host.push("form", {path: before})
    git_promotion.git |= git
    await git_promotion.create_pipeline()
    assert (await git_promotion.promoted(1)).status.phase is SUCCEEDED
    assert git_promotion.host.show(path) == after.replace("{digest}", digest(1))
    assert git_promotion.host.git("diff", "--name-only", "main~1", "main") == path
