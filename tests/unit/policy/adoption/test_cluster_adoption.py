"""Rules of Keel, Flux and Argo CD Image Updater, and what would follow the images here."""

import json
from typing import Any

import pytest
from tests.support.cluster.memory_cluster import owned_by

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob, Deployment
from upwell.api.codec import decode_as
from upwell.policy.adoption.cluster_plan import UpdaterObjects, cluster_adoption
from upwell.policy.adoption.cluster_updaters import argo_rules, flux_rules, keel_rule
from upwell.policy.cluster_rollouts.field_owners import image_path
from upwell.policy.images.selection import TagSelection

ARGO = "argocd-image-updater.argoproj.io/"


def deployment(
    name: str = "web", image: str = "registry.test/app:1.2.3", **meta: Any
) -> Deployment:
    template = {"spec": {"containers": [{"name": "app", "image": image}]}}
    document = {
        "metadata": {"name": name, "namespace": "shop", **meta},
        "spec": {"template": template},
    }
    return decode_as(Deployment, document)


def keel(policy: str, **more: str) -> dict[str, str]:
    return {"keel.sh/policy": policy, **more}


@pytest.mark.parametrize(
    ("policy", "tag", "taken", "left"),
    [
        ("patch", "1.2.3", "1.2.9", "1.3.0"),
        ("minor", "1.2.3", "1.9.0", "2.0.0"),
        ("major", "v1.2.3", "v2.0.0", "v1.2.2"),
        ("glob:build-*", "build-7", "build-8", "a-build-9"),
        ("regexp:^rc-[0-9]+$", "rc-1", "rc-2", "rc-2x"),
    ],
)
def test_a_policy_of_keel_selects_the_same_tags(
    policy: str, tag: str, taken: str, left: str
) -> None:
    rule = keel_rule({}, keel(policy), tag)
    assert rule is not None
    chosen = TagSelection(rule.selection).choose([taken, left])
    assert chosen is not None
    assert chosen.tag == taken


def test_what_keel_leaves_alone_is_left_alone() -> None:
    assert keel_rule({}, keel("never"), "1") is None
    assert keel_rule({"app": "web"}, {}, "1") is None
    plan = cluster_adoption([deployment()], UpdaterObjects())
    assert (plan.containers, plan.documents(), plan.warnings) == ([], [], [])


@pytest.mark.parametrize(
    ("policy", "tag", "why"),
    [
        ("minor", "latest", "needs a tag that is a version"),
        ("regexp:(", "1.2.3", "its tags cannot be selected so"),
        ("semver\n\x1b[31m", "1.2.3", "is none of Keel's"),
    ],
)
def test_a_policy_that_cannot_be_followed_says_so(policy: str, tag: str, why: str) -> None:
    rule = keel_rule(keel(policy), {}, tag)
    assert rule is not None
    assert rule.selection == ""
    assert why in rule.notes[-1]


def test_a_workload_of_keels_gets_a_stream_and_a_trigger() -> None:
    web = deployment(annotations=keel("minor", **{"keel.sh/approvals": "2"}))
    plan = cluster_adoption([web], UpdaterObjects())
    [stream] = plan.streams.values()
    [tag] = stream.spec.tags
    assert tag.from_ is not None
    assert (stream.name, tag.name, tag.from_.name) == ("app", "1.2.3", "registry.test/app:1.2.3")
    [fields] = plan.triggers.values()
    [entry] = json.loads(fields["metadata"]["annotations"][TRIGGERS_ANNOTATION])
    assert entry["from"] == {"kind": "ImageStreamTag", "name": "app:1.2.3"}
    told = "\n".join(plan.warnings)
    assert "approval` of a Pipeline's stage" in told
    assert "remove keel.sh/policy=minor before you apply its trigger" in told


def test_a_trigger_of_a_cron_job_names_its_template() -> None:
    pod = {"spec": {"containers": [{"name": "app", "image": "registry.test/app:1"}]}}
    job = decode_as(
        CronJob,
        {
            "metadata": {"name": "night", "namespace": "shop", "labels": keel("force")},
            "spec": {"schedule": "0 0 * * *", "jobTemplate": {"spec": {"template": pod}}},
        },
    )
    [fields] = cluster_adoption([job], UpdaterObjects()).triggers.values()
    assert "spec.jobTemplate.spec.template.spec.containers" in json.dumps(fields)


@pytest.mark.parametrize(
    ("meta", "told"),
    [
        ({"labels": {"kustomize.toolkit.fluxcd.io/name": "apps"}}, "Flux puts back what git says"),
        ({"managedFields": "argocd-controller"}, "argocd-controller puts back what git says"),
        ({TRIGGERS_ANNOTATION: "[]"}, "Upwell's trigger and another updater fight"),
    ],
)
def test_two_that_would_fight_are_warned_of_and_get_no_trigger(
    meta: dict[str, Any], told: str
) -> None:
    annotations = keel("force") | (
        {TRIGGERS_ANNOTATION: "[]"} if TRIGGERS_ANNOTATION in meta else {}
    )
    web = deployment(annotations=annotations, labels=meta.get("labels", {}))
    if manager := meta.get("managedFields"):
        entry = owned_by(manager, image_path(web, ("app", False)), operation="Apply")
        web = web.with_metadata(managed_fields=(entry,))
    plan = cluster_adoption([web], UpdaterObjects())
    assert not plan.triggers
    assert any(told in one for one in plan.warnings)


def test_rules_of_argo_are_those_of_what_the_application_made() -> None:
    annotations = {
        f"{ARGO}image-list": "web=registry.test:5000/app:~1.2, registry.test/tool, x/$(id)`;, ,=",
        f"{ARGO}web.update-strategy": "semver",
    }
    assert [(about, rule.selection) for about, rule in argo_rules(annotations)] == [
        ("registry.test:5000/app", "semver:~1.2"),
        ("registry.test/tool", "semver:>=0.0.0"),
    ]
    application = {
        "metadata": {"name": "shop", "annotations": annotations},
        "status": {"resources": [{"kind": "Deployment", "namespace": "shop", "name": "web"}, 7]},
    }
    made = deployment(image="registry.test:5000/app:1.2.3")
    other = deployment("other", image="registry.test:5000/app:1.2.3")
    plan = cluster_adoption([made, other], UpdaterObjects(applications=[application]))
    [one] = plan.containers
    assert (one.workload.name, one.rules[0].selection) == ("web", "semver:~1.2")
    assert any("Argo CD puts back what git says" in told for told in plan.warnings)


def test_policies_of_flux_are_about_the_image_of_their_repository() -> None:
    place = {"namespace": "flux-system", "name": "app"}
    repository = {"metadata": place, "spec": {"image": "registry.test/app"}}
    ranged = {
        "metadata": place,
        "spec": {"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "1.x"}}},
    }
    lost = {"metadata": place, "spec": {"imageRepositoryRef": {"name": "gone"}, "policy": "?"}}
    [(about, rule)] = flux_rules([ranged, lost, {"spec": 7}], [repository, {}])
    assert (about, rule.selection) == ("registry.test/app", "semver:1.x")
    both = cluster_adoption(
        [deployment(annotations=keel("patch"))], UpdaterObjects((), [ranged], [repository])
    )
    assert any("Flux and Keel fight over its image already" in one for one in both.warnings)


def test_one_tag_of_a_stream_has_one_selection() -> None:
    ones = [deployment("a", annotations=keel("patch")), deployment("b", annotations=keel("minor"))]
    [stream] = cluster_adoption(ones, UpdaterObjects()).streams.values()
    assert [tag.name for tag in stream.spec.tags] == ["1.2.3", "b-app"]


def test_an_image_that_has_no_tag_to_follow_is_told() -> None:
    digest = f"registry.test/app@sha256:{'0' * 64}"
    ones = [deployment("a", digest), deployment("b", "UPPER/Case:x")]
    plan = cluster_adoption(
        [one.with_metadata(labels=keel("force")) for one in ones], UpdaterObjects()
    )
    assert [one.tag for one in plan.containers] == ["", ""]
    assert not plan.documents()
    assert any("has a digest and no tag" in told for told in plan.warnings)
    assert any("is no name of one" in told for told in plan.warnings)
