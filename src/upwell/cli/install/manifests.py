"""Manifests of an installation on a cluster: the one source of all that is applied or shipped."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from upwell.api.schemas.crds import custom_resource_definitions
from upwell.api.schemas.webhooks import webhook_configurations
from upwell.cli.install.extra_settings import with_settings
from upwell.cli.install.installation import (
    ADMISSION_PORT,
    NAME,
    PART_OF,
    PORT,
    REGISTRY_BUCKET,
    REGISTRY_LOGINS,
    SETTINGS_FILES,
    ClusterInstallation,
    Feature,
    service_name,
)
from upwell.cli.install.rights import (
    GrantedRule,
    cluster_rules,
    leader_rules,
    rules_of,
    system_rules,
)
from upwell.policy.access.roles import SYSTEM_NAMESPACE

type Manifest = dict[str, Any]

CLUSTER_BINDING = f"{NAME}-cluster"
"""ClusterRoleBinding of every installation: there is one on a cluster."""
BUCKET_FOLDER = "/etc/upwell-registry-bucket"
"""Folder in which servers have the Secret with the credentials of a bucket."""
FILES_FOLDER = "/etc/upwell-files"
"""Folder in which servers have the Secret with further files that settings name."""
_DATA = "/var/lib/upwell"
_CONFIG = "/etc/upwell"
_TLS = "/etc/upwell-tls"
_LOGINS = "/etc/upwell-registry-logins"
_POD_ADDRESS = "POD_IP"
_RBAC = "rbac.authorization.k8s.io"
_SETTINGS = "upwell.dev/settings"
_USER = 10001
"""The image's own (Containerfile)."""
_POD_LABELS = {"app.kubernetes.io/name": NAME}


def manifests(installation: ClusterInstallation) -> dict[str, list[Manifest]]:
    """Return all objects in the order in which they are applied, by the name of their file."""
    found = {
        # First of all: whoever makes it may write tokens there.
        "system-namespace": [_system_namespace()],
        "definitions": [_labelled(one) for one in custom_resource_definitions()],
        "namespace": [_namespace(installation)],
        "rights": [*_cluster_rights(installation), *_leader_rights(installation)],
        **{
            f"rights-{subject}": list(
                _role(f"{NAME}-{subject}", SYSTEM_NAMESPACE, rules, installation)
            )
            for subject, rules in system_rules(installation.features).items()
        },
        **{
            f"rights-{subject}": [
                _cluster_role(subject, rules),
                *bindings(installation, subject),
            ]
            for subject, rules in rules_of(installation.features).items()
        },
        "server": list(_server(installation)),
        "admission": list(_admission(installation)),
    }
    return {name: list(objects) for name, objects in found.items() if objects}


def bindings(installation: ClusterInstallation, subject: str) -> Iterator[Manifest]:
    """Yield what gives a subject's rights to the server, in the cluster or in each namespace."""
    if not installation.namespaces:
        yield _binding("ClusterRoleBinding", f"{NAME}-{subject}", installation)
    for namespace in installation.namespaces:
        bound = _binding("RoleBinding", f"{NAME}-{subject}", installation)
        bound["metadata"]["namespace"] = namespace
        yield bound


def _system_namespace() -> Manifest:
    manifest = _object("v1", "Namespace", SYSTEM_NAMESPACE)
    # The tokens in it outlive a release of the chart.
    manifest["metadata"]["annotations"] = {"helm.sh/resource-policy": "keep"}
    return manifest


def _admission(installation: ClusterInstallation) -> Iterator[Manifest]:
    """Yield what has the cluster ask about writes, last: it refuses all until somebody answers."""
    if not installation.admission:
        return

    def client(path: str) -> Manifest:
        where = {"namespace": installation.namespace, "name": NAME, "path": path}
        return {"service": {**where, "port": ADMISSION_PORT}}

    for configuration in webhook_configurations(client):
        yield _labelled(configuration)


def _namespace(installation: ClusterInstallation) -> Manifest:
    manifest = _object("v1", "Namespace", installation.namespace)
    manifest["metadata"]["labels"] |= {
        f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn")
    }
    return manifest


def _cluster_rights(installation: ClusterInstallation) -> Iterator[Manifest]:
    account = _object("v1", "ServiceAccount", NAME, installation.namespace)
    yield account
    yield _cluster_role("cluster", cluster_rules(admission=installation.admission))
    yield _binding("ClusterRoleBinding", CLUSTER_BINDING, installation)


def _leader_rights(installation: ClusterInstallation) -> Iterator[Manifest]:
    rules = leader_rules(admission=installation.admission)
    yield from _role(f"{NAME}-leader", installation.namespace, rules, installation)


def _role(
    name: str, namespace: str, rules: Iterable[GrantedRule], installation: ClusterInstallation
) -> Iterator[Manifest]:
    """Yield rights in one namespace, and what gives them to the server."""
    role = _object(f"{_RBAC}/v1", "Role", name, namespace)
    yield {**role, "rules": [rule.document() for rule in rules]}
    bound = _binding("RoleBinding", name, installation, role="Role")
    bound["metadata"]["namespace"] = namespace
    yield bound


def _cluster_role(subject: str, rules: Iterable[GrantedRule]) -> Manifest:
    role = _object(f"{_RBAC}/v1", "ClusterRole", f"{NAME}-{subject}")
    return {**role, "rules": [rule.document() for rule in rules]}


def _binding(
    kind: str, name: str, installation: ClusterInstallation, role: str = "ClusterRole"
) -> Manifest:
    account = {"kind": "ServiceAccount", "name": NAME, "namespace": installation.namespace}
    return {
        **_object(f"{_RBAC}/v1", kind, name),
        "roleRef": {"apiGroup": _RBAC, "kind": role, "name": name},
        "subjects": [account],
    }


def _server(installation: ClusterInstallation) -> Iterator[Manifest]:
    namespace = installation.namespace
    config = _object("v1", "ConfigMap", NAME, namespace)
    yield {**config, "data": {"upwell.toml": _configuration(installation)}}
    yield {
        **_object("v1", "Service", NAME, namespace),
        "spec": {
            "selector": _POD_LABELS,
            "ports": [
                {"name": "https", "protocol": "TCP", "port": 443, "targetPort": "https"},
                *_when_admitting(
                    installation,
                    {
                        "name": "admission",
                        "protocol": "TCP",
                        "port": ADMISSION_PORT,
                        "targetPort": "admission",
                    },
                ),
            ],
        },
    }
    yield _deployment(installation)
    yield {
        **_object(installation.budget_version, "PodDisruptionBudget", NAME, namespace),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": _POD_LABELS}},
    }
    yield {
        **_object("networking.k8s.io/v1", "NetworkPolicy", NAME, namespace),
        # It asks registries, git hosts and webhooks wherever objects say, by its own policy of
        # destinations ([outbound]): what goes out is not limited here.
        "spec": {
            "podSelector": {"matchLabels": _POD_LABELS},
            "policyTypes": ["Ingress"],
            "ingress": [
                {
                    "ports": [
                        {"protocol": "TCP", "port": PORT},
                        *_when_admitting(installation, {"protocol": "TCP", "port": ADMISSION_PORT}),
                    ]
                }
            ],
        },
    }


def _when_admitting(installation: ClusterInstallation, port: Manifest) -> Iterator[Manifest]:
    if installation.admission:
        yield port


def _configuration(installation: ClusterInstallation) -> str:
    namespaces = installation.config_namespaces
    if not namespaces:
        namespaces = f"[{', '.join(f'"{name}"' for name in installation.namespaces)}]"
    text = (
        "# docs/configuration.md has all settings.\n"
        'on = "kubernetes"\n\n'
        "[kubernetes]\n"
        f'lease-namespace = "{installation.namespace}"\n'
        f"namespaces = {namespaces}\n"
        f"{f'admission-port = {ADMISSION_PORT}\n' if installation.admission else ''}"
        f"{_registry_configuration(installation)}"
        f"{_build_configuration(installation)}"
        f"{installation.settings_text}"
    )
    return with_settings(text, installation.settings)


def _registry_configuration(installation: ClusterInstallation) -> str:
    """Return the settings by which the server's images are named, and found by Pods and nodes."""
    if installation.registry_tables:
        return installation.registry_tables
    if installation.external_registry:
        return f'\n[external-registry]\nprefix = "{installation.external_registry}"\n'
    address = installation.registry_address or service_name(installation.namespace)
    return f'\n[embedded-registry]\naddress = "{address}"\n'


def _build_configuration(installation: ClusterInstallation) -> str:
    """Return the settings by which builds run in Pods: of the server's own image."""
    if Feature.BUILDS not in installation.features:
        return ""
    before, after = installation.when_builds
    return f'{before}\n[kubernetes.builds]\nimage = "{installation.image}"\n{after}'


def _deployment(installation: ClusterInstallation) -> Manifest:
    selector = {"matchLabels": _POD_LABELS}
    pod = {
        "serviceAccountName": NAME,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "runAsGroup": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "topologySpreadConstraints": [
            {
                "maxSkew": 1,
                "topologyKey": "kubernetes.io/hostname",
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": selector,
            }
        ],
        # Leadership is given up, and requests end, within this.
        "terminationGracePeriodSeconds": 60,
        "containers": [_container(installation)],
        "volumes": list(_volumes(installation)),
    }
    return {
        **_object("apps/v1", "Deployment", NAME, installation.namespace),
        "spec": {
            "replicas": installation.replicas,
            "selector": selector,
            # The old Pod goes first: a data volume is of one at a time. Recreate would be refused
            # over the fields that a cluster has set for an earlier installation.
            "strategy": {
                "type": "RollingUpdate",
                "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
            },
            "template": {
                "metadata": {
                    "labels": {**_POD_LABELS, PART_OF: NAME},
                    # Settings are read at the start: a Pod with others takes its place.
                    "annotations": {_SETTINGS: _settings_digest(installation)},
                },
                "spec": pod,
            },
        },
    }


def _settings_digest(installation: ClusterInstallation) -> str:
    text = _configuration(installation).encode()
    return installation.settings_digest or f"sha256:{hashlib.sha256(text).hexdigest()}"


def _container(installation: ClusterInstallation) -> Manifest:
    tls = ["--tls"]
    mounts = [
        {"name": "data", "mountPath": _DATA},
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - in the container
        {"name": "config", "mountPath": _CONFIG, "readOnly": True},
        {"name": "registry-logins", "mountPath": _LOGINS, "readOnly": True},
        {"name": "registry-bucket", "mountPath": BUCKET_FOLDER, "readOnly": True},
        {"name": "files", "mountPath": FILES_FOLDER, "readOnly": True},
    ]
    if installation.tls_secret:
        tls = [f"--tls-cert={_TLS}/tls.crt", f"--tls-key={_TLS}/tls.key"]
        mounts.append({"name": "tls", "mountPath": _TLS, "readOnly": True})
    return {
        "name": NAME,
        "image": installation.image,
        "args": [
            "serve",
            f"--config={_CONFIG}/upwell.toml",
            f"--listen=0.0.0.0:{PORT}",
            *tls,
            f"--replica-address=$({_POD_ADDRESS})",
            f"--tls-name={service_name(installation.namespace)}",
        ],
        "env": [
            {"name": "REGISTRY_AUTH_FILE", "value": f"{_LOGINS}/.dockerconfigjson"},
            {"name": _POD_ADDRESS, "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
        ],
        "ports": [
            {"name": "https", "protocol": "TCP", "containerPort": PORT},
            *_when_admitting(
                installation,
                {"name": "admission", "protocol": "TCP", "containerPort": ADMISSION_PORT},
            ),
        ],
        "startupProbe": {**_probe("/livez"), "failureThreshold": 60, "periodSeconds": 2},
        "livenessProbe": {**_probe("/livez"), "periodSeconds": 10, "timeoutSeconds": 5},
        "readinessProbe": {**_probe("/readyz"), "periodSeconds": 5, "timeoutSeconds": 6},
        "resources": {
            "requests": {"cpu": "100m", "memory": "256Mi"},
            "limits": {"memory": "2Gi"},
        },
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
        "volumeMounts": mounts,
    }


def _probe(path: str) -> Manifest:
    return {"httpGet": {"path": path, "port": "https", "scheme": "HTTPS"}}


def _volumes(installation: ClusterInstallation) -> Iterator[object]:
    yield installation.data_volume or {"name": "data", "emptyDir": {}}
    yield {"name": "tmp", "emptyDir": {}}
    yield {"name": "config", "configMap": {"name": NAME}}
    yield {"name": "registry-logins", "secret": {"secretName": REGISTRY_LOGINS, "optional": True}}
    yield {"name": "registry-bucket", "secret": {"secretName": REGISTRY_BUCKET, "optional": True}}
    yield {"name": "files", "secret": {"secretName": SETTINGS_FILES, "optional": True}}
    if installation.tls_secret:
        yield {"name": "tls", "secret": {"secretName": installation.tls_secret}}


def _object(api_version: str, kind: str, name: str, namespace: str = "") -> Manifest:
    metadata = {"name": name, **({"namespace": namespace} if namespace else {})}
    return _labelled({"apiVersion": api_version, "kind": kind, "metadata": metadata})


def _labelled(manifest: Mapping[str, Any]) -> Manifest:
    labels = {"app.kubernetes.io/name": NAME, PART_OF: NAME}
    return {**manifest, "metadata": {**manifest["metadata"], "labels": labels}}
