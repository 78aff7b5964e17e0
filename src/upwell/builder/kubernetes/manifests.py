"""Manifest of a build's Pod (core/v1), and the privileges that it may have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

from upwell.builder.interface import BuilderStrategy, BuildPlan, BuildPrivilege
from upwell.builder.kubernetes.documents import RegistryFiles

BUILD_LABEL = "upwell.dev/build-uid"
"""Of a build's Pod: the uid of the Build."""
NAME_LABEL = "openshift.io/build.name"
PLAN_ANNOTATION = "upwell.dev/plan"
"""Hash of the plan that a Pod was made for: it is taken up again by no other."""
CONTAINER = "build"
WORK_FOLDER = "/var/lib/upwell"
"""Folder in which a Pod builds: an emptyDir, with its images and layers."""
CACHE_FOLDER = "/var/cache/upwell"
"""Folder of the BuildConfig's cache, on a volume that outlives the Pod."""
INPUT_FOLDER = "/run/upwell"
"""Folder for the input of a Pod: in memory, as Secrets are part of it."""
TERMINATION_LOG = "/dev/termination-log"

_LONGEST_NAME = 253
_LONGEST_LABEL = 63
_CACHE_NAME = 32
"""Length of the name of a BuildConfig's folder."""
_SUFFIX = "-build"
_UNREACHABLE_SECONDS = 60
"""Time that a node may be silent before its Pods are given up; the cluster's own default is 300."""
_DEADLINE_SLACK = 60
"""Seconds after a build's deadline at which its node ends it."""
_END_SECONDS = 10
"""Between the request to a Pod to end and its end by force."""
_USER = 10001
"""User of the image of this program who builds, with ids to give to a build (subuid(5))."""


@dataclass(frozen=True, slots=True)
class PodSettings:
    """Settings of all builds' Pods."""

    image: str
    """Of this very program."""
    privilege: BuildPrivilege = BuildPrivilege.ROOTLESS
    pull_secrets: Sequence[str] = ()
    """Secrets of the builds' namespaces, for `image`."""
    pull_policy: str = ""
    service_account: str = ""
    """For builds that name none; empty: the namespace's default."""
    node_selector: Mapping[str, str] = field(default_factory=dict)
    """Besides that of the BuildConfig, which cannot take it away."""
    tolerations: Sequence[Mapping[str, Any]] = ()
    requests: Mapping[str, str] = field(default_factory=dict)
    """For builds that state none."""
    storage: str = ""
    """Quantity that a build may take on its node's disk; empty: as the namespace's limits say."""
    cache_claim: str = ""
    """PersistentVolumeClaim of a build's namespace, with the caches of its BuildConfigs; empty:
    none are kept."""
    allow_host_network: bool = False
    registries: RegistryFiles = field(default_factory=RegistryFiles)
    """Part of the input of each."""
    unreachable: frozenset[str] = frozenset()
    """Registries that no Pod reaches."""


def pod_name(build: str, attempt: int) -> str:
    """Return the name of a build's Pod; `attempt` counts from 1."""
    suffix = _SUFFIX if attempt == 1 else f"{_SUFFIX}-{attempt}"
    if len(build) + len(suffix) <= _LONGEST_NAME:
        return build + suffix
    mark = sha256(build.encode()).hexdigest()[:8]
    return f"{build[: _LONGEST_NAME - len(suffix) - len(mark) - 1]}-{mark}{suffix}"


def build_labels(build_id: str) -> dict[str, str]:
    """Return the labels by which the Pods of a build are found."""
    return {BUILD_LABEL: build_id}


def has_cache(plan: BuildPlan, settings: PodSettings) -> bool:
    """Return True if a build is to find again what earlier ones of its BuildConfig have kept."""
    return bool(settings.cache_claim and plan.cache_key) and not plan.no_cache


def pod_manifest(
    plan: BuildPlan, settings: PodSettings, *, name: str, plan_hash: str, cached: bool = False
) -> dict[str, Any]:
    """Return the Pod that builds `plan`, with its cache if `cached`. Nothing in it is secret."""
    spec = _pod_spec(plan, settings)
    if cached:
        _add_cache(spec, plan.cache_key, settings)
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": plan.namespace,
            "labels": {
                **build_labels(plan.id),
                NAME_LABEL: plan.name[:_LONGEST_LABEL].rstrip("-."),
                "app.kubernetes.io/managed-by": "upwell",
            },
            "annotations": {NAME_LABEL: plan.name, PLAN_ANNOTATION: plan_hash},
            "ownerReferences": [
                {
                    "apiVersion": "build.openshift.io/v1",
                    "kind": "Build",
                    "name": plan.name,
                    "uid": plan.id,
                    "controller": True,
                }
            ],
        },
        "spec": spec,
    }


def probe_manifest(
    settings: PodSettings, namespace: str, name: str, deadline_seconds: int
) -> dict[str, Any]:
    """Return a Pod that may do what those of builds may, and finds out whether that is enough."""
    plan = BuildPlan("", namespace, name, BuilderStrategy.DOCKER, None, {}, None)
    pod = pod_manifest(plan, settings, name=name, plan_hash="")
    pod["metadata"] = {"name": name, "namespace": namespace}  # of no Build
    pod["spec"]["activeDeadlineSeconds"] = deadline_seconds
    pod["spec"]["containers"][0]["command"] = ["upwell", "build-pod", "probe"]
    return pod


def _pod_spec(plan: BuildPlan, settings: PodSettings) -> dict[str, Any]:
    """Return what the Pod of a build is, without a cache."""
    work = {"sizeLimit": settings.storage} if settings.storage else {}
    spec: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,  # strangers' commands run here
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": _END_SECONDS,
        "securityContext": _pod_security(settings.privilege),
        "containers": [_container(plan, settings)],
        "volumes": [
            {"name": "work", "emptyDir": work},
            {"name": "input", "emptyDir": {"medium": "Memory"}},
            {"name": "temporary", "emptyDir": {}},
        ],
        "tolerations": [*_patience(), *settings.tolerations],
    }
    if plan.deadline_seconds is not None:
        # Ends it though no server is there. One that is there comes first: kubelets do not like it
        # when a Pod is deleted in the moment in which they end it.
        spec["activeDeadlineSeconds"] = round(plan.deadline_seconds) + _DEADLINE_SLACK
    if account := plan.placement.service_account or settings.service_account:
        spec["serviceAccountName"] = account
    if selector := {**plan.placement.node_selector, **settings.node_selector}:
        spec["nodeSelector"] = selector
    if settings.pull_secrets:
        spec["imagePullSecrets"] = [{"name": secret} for secret in settings.pull_secrets]
    if plan.host_network:
        spec["hostNetwork"] = True
    return spec


def _container(plan: BuildPlan, settings: PodSettings) -> dict[str, Any]:
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": settings.image,
        "command": ["upwell", "build-pod", "run"],
        "terminationMessagePath": TERMINATION_LOG,
        "terminationMessagePolicy": "File",
        "securityContext": _container_security(settings.privilege),
        "resources": _resources(plan, settings),
        "volumeMounts": [
            {"name": "work", "mountPath": WORK_FOLDER},
            {"name": "input", "mountPath": INPUT_FOLDER},
            {"name": "temporary", "mountPath": "/var/tmp"},  # noqa: S108 - a volume of its own
        ],
    }
    if settings.pull_policy:
        container["imagePullPolicy"] = settings.pull_policy
    return container


def _add_cache(spec: dict[str, Any], key: str, settings: PodSettings) -> None:
    """Give a Pod the cache of its BuildConfig: a folder of the claim, and no other's."""
    [container] = spec["containers"]
    container["command"].append("--cache")
    container["volumeMounts"].append(
        {
            "name": "cache",
            "mountPath": CACHE_FOLDER,
            "subPath": sha256(key.encode()).hexdigest()[:_CACHE_NAME],
        }
    )
    claim = {"claimName": settings.cache_claim}
    spec["volumes"].append({"name": "cache", "persistentVolumeClaim": claim})
    if "fsGroup" in spec["securityContext"]:
        # The default is to change the groups and modes of all files: of what is in layers, too.
        spec["securityContext"]["fsGroupChangePolicy"] = "OnRootMismatch"


def _resources(plan: BuildPlan, settings: PodSettings) -> dict[str, Any]:
    limits = dict(plan.placement.limits)
    if "memory" not in limits and plan.limits.memory_bytes is not None:
        limits["memory"] = str(plan.limits.memory_bytes)
    if "cpu" not in limits and plan.limits.cpus is not None:
        limits["cpu"] = f"{round(plan.limits.cpus * 1000)}m"
    # A request above its limit would be refused: one that is stated for the build alone counts.
    defaults = {name: value for name, value in settings.requests.items() if name not in limits}
    requests = {**defaults, **plan.placement.requests}
    return {
        **({"limits": limits} if limits else {}),
        **({"requests": requests} if requests else {}),
    }


def _patience() -> list[dict[str, Any]]:
    """Return tolerations by which a Pod is given up sooner than others when its node is silent."""
    return [
        {
            "key": f"node.kubernetes.io/{state}",
            "operator": "Exists",
            "effect": "NoExecute",
            "tolerationSeconds": _UNREACHABLE_SECONDS,
        }
        for state in ("not-ready", "unreachable")
    ]


def _pod_security(privilege: BuildPrivilege) -> dict[str, Any]:
    if privilege is BuildPrivilege.ROOTLESS:
        return {"runAsNonRoot": True, "runAsUser": _USER, "runAsGroup": _USER, "fsGroup": _USER}
    return {"runAsUser": 0, "runAsGroup": 0}


def _container_security(privilege: BuildPrivilege) -> dict[str, Any]:
    match privilege:
        case BuildPrivilege.PRIVILEGED:
            return {"privileged": True}
        case BuildPrivilege.ROOT:
            # Runtimes' default profiles refuse mounts, even in a user namespace of its own.
            return {"seccompProfile": {"type": "Unconfined"}}
    return {
        # newuidmap(1) is what needs both: it maps the ids that the image gives to the user.
        "allowPrivilegeEscalation": True,
        "capabilities": {"drop": ["ALL"], "add": ["SETUID", "SETGID"]},
        "seccompProfile": {"type": "Unconfined"},
    }
