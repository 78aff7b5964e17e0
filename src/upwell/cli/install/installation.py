"""Choices of whoever installs Upwell on a cluster."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from upwell import __version__

NAME = "upwell"
PART_OF = "app.kubernetes.io/part-of"
PORT = 7080
ADMISSION_PORT = 7443


REGISTRY_LOGINS = f"{NAME}-registry-logins"
"""Secret (kubernetes.io/dockerconfigjson) with the server's own logins at registries, if any."""
REGISTRY_BUCKET = f"{NAME}-registry-bucket"
SETTINGS_FILES = f"{NAME}-files"
"""Secret with the files that settings name, such as `[oidc] client-secret-file`, if any."""


def service_name(namespace: str) -> str:
    """Return the name by which Pods of the cluster reach the server."""
    return f"{NAME}.{namespace}.svc"


class Feature(StrEnum):
    """Part of what Upwell does on a cluster, besides images and Pipelines, with its own rights."""

    BUILDS = "builds"
    """Builds as Pods."""
    ROUTES = "routes"
    """Ingresses or HTTPRoutes that serve Routes."""
    TOKENS = "tokens"
    """Tokens of Upwell's own API, and sessions of people that sign in."""
    WORKLOADS = "workloads"
    """Images of Deployments, StatefulSets, DaemonSets and CronJobs, and what runs."""


ALL_FEATURES = frozenset(Feature)


@dataclass(frozen=True, slots=True)
class ClusterInstallation:
    """An installation. Texts and `replicas` may be expressions of a template (`helm`)."""

    namespace: str = NAME
    """Namespace of the server itself."""
    image: str = f"{NAME}:{__version__}"
    replicas: int | str = 1
    features: frozenset[Feature] = ALL_FEATURES
    admission: bool = True
    """True if the cluster asks the server about each write of its kinds."""
    namespaces: tuple[str, ...] = ()
    """Namespaces that Upwell works in; empty: all of the cluster."""
    config_namespaces: str = ""
    """The same as a TOML list, where a template makes it."""
    when_builds: tuple[str, str] = ("", "")
    """Lines of a template around the settings of builds: as it is asked for them, or not."""
    registry_address: str = ""
    """Name by which the embedded registry is reached; empty: that of the Service."""
    external_registry: str = ""
    """Prefix of a registry elsewhere that takes the place of the embedded one."""
    registry_tables: str = ""
    """The settings of the registry, where a template makes them."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Further settings, as in a configuration file."""
    settings_text: str = ""
    """The same as lines of the file, where a template makes them."""
    settings_digest: str = ""
    """Digest of the settings, where a template makes it."""
    data_volume: object = None
    """Volume with the data folder; None: one that ends with the Pod."""
    tls_secret: str = ""
    """Secret (kubernetes.io/tls) with the server's certificate; empty: it makes one itself."""
    budget_version: str = "policy/v1"
    """Version of PodDisruptionBudgets; clusters before 1.21 have `policy/v1beta1`."""
