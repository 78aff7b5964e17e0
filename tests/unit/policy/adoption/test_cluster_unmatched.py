"""Rules of a cluster's updaters that set no image: each is told, with the reason."""

from typing import Any

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.policy.adoption.cluster_plan import UpdaterObjects, cluster_adoption

LIST = "argocd-image-updater.argoproj.io/image-list"
POLICY = {
    "metadata": {"namespace": "flux-system", "name": "app"},
    "spec": {"imageRepositoryRef": {"name": "app"}, "policy": {"semver": {"range": "1.x"}}},
}


def deployment(name: str = "web", image: str = "registry.test/app:1", **meta: Any) -> Deployment:
    template = {"spec": {"containers": [{"name": "app", "image": image}]}}
    return decode_as(
        Deployment,
        {
            "metadata": {"name": name, "namespace": "shop", **meta},
            "spec": {"template": template},
        },
    )


def application(listed: str, *made: dict[str, str], **more: Any) -> dict[str, Any]:
    metadata = {"namespace": "argocd", "name": "shop", "annotations": {LIST: listed}}
    return {"metadata": metadata, "status": {"resources": [*made]}, **more}


WEB = {"kind": "Deployment", "namespace": "shop", "name": "web"}


@pytest.mark.parametrize(
    ("one", "told"),
    [
        (
            application("registry.test/tool:~1", WEB),
            "Deployment shop/web has no container with that image, but with registry.test/app:1",
        ),
        (
            application("registry.test/app", {**WEB, "namespace": "elsewhere"}),
            "nothing follows registry.test/app: what its status says it has made is no workload",
        ),
        (application("registry.test/app"), "its status names nothing that it has made"),
        (application("registry.test/app", status=7), "its status names nothing that it has made"),
        (application("web=UPPER/$(id)", WEB), "'web=UPPER/$(id)' of its image-list names no image"),
    ],
)
def test_an_application_whose_images_nothing_runs_is_told(one: dict[str, Any], told: str) -> None:
    plan = cluster_adoption([deployment()], UpdaterObjects(applications=[one]))
    assert not plan.containers
    [warning] = plan.warnings
    assert warning.startswith("Application argocd/shop: Argo CD Image Updater: ")
    assert told in warning


def test_no_more_is_told_of_images_that_something_runs() -> None:
    images = UpdaterObjects(applications=[application("registry.test/app:~1, ,", WEB)])
    plan = cluster_adoption([deployment()], images)
    assert plan.containers
    assert not any("nothing follows" in one or "names no image" in one for one in plan.warnings)


@pytest.mark.parametrize(
    ("policy", "repository", "told"),
    [
        (POLICY, {}, "there is no ImageRepository flux-system/app"),
        ({"spec": 7}, {}, "it names no ImageRepository"),
        (POLICY, {"image": "UPPER/x"}, "app, 'UPPER/x', is no name of one"),
        (
            POLICY,
            {"image": "registry.test/tool"},
            "nothing follows registry.test/tool, the image of ImageRepository flux-system/app",
        ),
    ],
)
def test_a_policy_of_flux_whose_image_nothing_runs_is_told(
    policy: dict[str, Any], repository: dict[str, str], told: str
) -> None:
    place = POLICY["metadata"] if repository else {}
    others = UpdaterObjects((), [policy], [{"metadata": place, "spec": repository}])
    plan = cluster_adoption([deployment()], others)
    [warning] = plan.warnings
    assert warning.startswith("ImagePolicy ")
    assert told in warning


def test_marks_of_keel_without_a_policy_are_told() -> None:
    marked = deployment(annotations={"keel.sh/trigger": "poll"})
    never = deployment("db", annotations={"keel.sh/policy": "never"})
    plan = cluster_adoption([marked, never], UpdaterObjects())
    [warning] = plan.warnings
    assert warning.startswith("Deployment shop/web: Keel leaves it alone: ")
