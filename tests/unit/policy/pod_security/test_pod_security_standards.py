"""The controls of the Pod Security Standards, each by a template that is at odds with it alone."""

from typing import Any

import pytest

from upwell.api.apps import CronJob, Deployment
from upwell.api.codec import decode_as
from upwell.api.core import Namespace
from upwell.api.pipeline import Pipeline
from upwell.policy.pod_security.namespaces import (
    NamespaceProfiles,
    label_faults,
    profile_warnings,
    refusal,
)
from upwell.policy.pod_security.standards import HostRight, Profile, violations
from upwell.policy.pod_security.templates import PlacedTemplate, template_faults, templates_of

CLEAN = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "seccompProfile": {"type": "RuntimeDefault"},
    "capabilities": {"drop": ["ALL"]},
}


def placed(container: dict[str, Any] | None = None, **pod: Any) -> PlacedTemplate:
    containers = [{"name": "web", "image": "web", **(container or {})}]
    spec = {"template": {"spec": {"containers": containers, **pod}}}
    document = {"metadata": {"name": "web", "namespace": "shop"}, "spec": spec}
    [only] = templates_of(decode_as(Deployment, document))
    return only


def paths(template: PlacedTemplate, profile: Profile) -> list[str]:
    return [
        found.path.removeprefix("spec.template.spec.") for found in violations(template, profile)
    ]


@pytest.mark.parametrize(
    ("context", "path"),
    [
        ({"privileged": True}, "privileged"),
        ({"capabilities": {"add": ["NET_RAW"]}}, "capabilities.add"),
        ({"capabilities": {"add": ["ALL"]}}, "capabilities.add"),
        ({"seccompProfile": {"type": "Unconfined"}}, "seccompProfile"),
        ({"appArmorProfile": {"type": "Unconfined"}}, "appArmorProfile"),
        ({"procMount": "Unmasked"}, "procMount"),
        ({"seLinuxOptions": {"type": "spc_t"}}, "seLinuxOptions"),
        ({"seLinuxOptions": {"user": "root"}}, "seLinuxOptions"),
    ],
)
def test_baseline_forbids_rights_over_the_host(context: dict[str, Any], path: str) -> None:
    template = placed({"securityContext": context})

    [found] = violations(template, Profile.BASELINE)
    assert found.path == f"spec.template.spec.containers[0].securityContext.{path}"
    assert found.right is HostRight.PRIVILEGED
    assert violations(template, Profile.PRIVILEGED) == ()


def test_baseline_forbids_what_is_the_hosts() -> None:
    host = {"name": "data", "hostPath": {"path": "/srv", "type": "CharDevice"}}
    sysctls = {"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}
    template = placed(
        {
            "ports": [{"containerPort": 1, "hostPort": 2}],
            "resources": {"limits": {"nvidia.com/gpu=all": "1", "nvidia.com/gpu": "1"}},
        },
        hostNetwork=True,
        hostPID=True,
        volumes=[host],
        securityContext=sysctls,
    )

    found = violations(template, Profile.BASELINE)
    assert [one.right for one in found] == [
        HostRight.NETWORK,
        None,
        HostRight.PATHS,
        HostRight.DEVICES,
        HostRight.PRIVILEGED,
        None,
        HostRight.DEVICES,
    ]


def test_baseline_allows_ordinary_templates() -> None:
    contexts: list[dict[str, Any]] = [
        {},
        {"runAsUser": 0},
        {"allowPrivilegeEscalation": True},
        {"capabilities": {"add": ["SETPCAP", "CAP_CHOWN"], "drop": ["KILL"]}},
        {"seLinuxOptions": {"type": "container_t", "level": "s0"}},
    ]
    for context in contexts:
        assert paths(placed({"securityContext": context}), Profile.BASELINE) == []


def test_restricted_wants_each_of_its_fields() -> None:
    assert paths(placed({"securityContext": CLEAN}), Profile.RESTRICTED) == []
    for name in CLEAN:
        without = {key: value for key, value in CLEAN.items() if key != name}
        [path] = paths(placed({"securityContext": without}), Profile.RESTRICTED)
        assert path.startswith(f"containers[0].securityContext.{name}")


def test_restricted_forbids_the_ids_of_the_host() -> None:
    wanted = {"securityContext": CLEAN}
    assert paths(placed(wanted, hostUsers=True), Profile.RESTRICTED) == ["hostUsers"]
    assert paths(placed(wanted, hostUsers=False), Profile.RESTRICTED) == []
    # As the standard has it: there is a right of its own.
    assert paths(placed(wanted, hostUsers=True), Profile.BASELINE) == []


@pytest.mark.parametrize("value", ["false", 0, [], {}])
def test_a_host_users_that_says_neither_is_refused(value: object) -> None:
    template = placed(hostUsers=value)
    document = {"metadata": {"name": "web"}, "spec": {"template": template.template.model_dump()}}
    [fault] = template_faults(decode_as(Deployment, document))
    assert fault.path == "spec.template.spec.hostUsers"
    assert template.host_users is None


def test_restricted_takes_what_the_pod_says() -> None:
    of_pod = {key: CLEAN[key] for key in ("runAsNonRoot", "seccompProfile")}
    own = {key: CLEAN[key] for key in ("allowPrivilegeEscalation", "capabilities")}
    template = placed({"securityContext": own}, securityContext=of_pod)

    assert paths(template, Profile.RESTRICTED) == []


@pytest.mark.parametrize(
    "changes",
    [
        {"runAsUser": 0},
        {"capabilities": {"drop": ["ALL"], "add": ["CHOWN"]}},
        {"capabilities": {"drop": ["KILL"]}},
    ],
)
def test_restricted_forbids_root_and_capabilities(changes: dict[str, Any]) -> None:
    template = placed({"securityContext": CLEAN | changes})

    assert len(violations(template, Profile.RESTRICTED)) == 1
    assert violations(template, Profile.BASELINE) == ()


def test_init_containers_count() -> None:
    bad = {"name": "init", "image": "x", "securityContext": {"privileged": True}}

    assert paths(placed(initContainers=[bad]), Profile.BASELINE) == [
        "initContainers[0].securityContext.privileged"
    ]


def test_jobs_of_a_schedule_and_checks_of_a_stage_have_templates() -> None:
    bad = {"spec": {"containers": [{"name": "t", "securityContext": {"runAsUser": "me"}}]}}
    cron = decode_as(CronJob, {"spec": {"jobTemplate": {"spec": {"template": bad}}}})
    check = {"name": "smoke", "job": {"template": bad}}
    stages = [{"name": "live", "namespace": "prod", "verification": {"checks": [check]}}]
    pipeline = decode_as(Pipeline, {"metadata": {"namespace": "shop"}, "spec": {"stages": stages}})

    field = "spec.containers[0].securityContext.runAsUser"
    assert [fault.path for fault in (*template_faults(cron), *template_faults(pipeline))] == [
        f"spec.jobTemplate.spec.template.{field}",
        f"spec.stages[0].verification.checks[0].job.template.{field}",
    ]
    assert [one.namespace for one in templates_of(pipeline)] == ["prod"]


def test_labels_say_the_profiles() -> None:
    prefix = "pod-security.kubernetes.io/"
    profiles = NamespaceProfiles.of({f"{prefix}enforce": "baseline", f"{prefix}warn": "odd"})
    privileged = placed({"securityContext": {"privileged": True}})

    assert profiles == NamespaceProfiles(Profile.BASELINE, Profile.RESTRICTED)
    why = refusal(privileged, profiles)
    assert "namespace shop enforces profile baseline" in why
    assert "containers[0].securityContext.privileged" in why
    assert refusal(privileged, NamespaceProfiles()) == ""
    assert refusal(placed(), profiles) == ""
    assert len(list(profile_warnings(placed(), profiles))) == 4


def test_a_label_that_names_no_profile_is_a_fault() -> None:
    labels = {"pod-security.kubernetes.io/enforce": "strict"}
    namespace = decode_as(Namespace, {"metadata": {"name": "shop", "labels": labels}})

    [fault] = label_faults(namespace)
    assert fault.path == "metadata.labels[pod-security.kubernetes.io/enforce]"
    assert "privileged, baseline, restricted" in fault.message
