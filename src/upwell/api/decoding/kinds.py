"""Kinds by their names; the class of a kind is loaded when it is needed, since that takes long."""

import importlib
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from upwell.api.meta import Resource


class KindNames(NamedTuple):
    """Names of a kind, and the module of its class; the names are those of its `KIND`."""

    module: str
    """Relative to `upwell.api`."""
    kind: str
    api_version: str
    plural: str
    short_names: tuple[str, ...] = ()
    earlier: tuple[str, ...] = ()
    aliases: tuple[str, ...] = ()
    legacy: bool = False
    namespaced: bool = True

    @property
    def group(self) -> str:
        """The API group; empty for the core group."""
        return self.api_version.rpartition("/")[0]

    @property
    def singular(self) -> str:
        """The kind in lower case."""
        return self.kind.lower()

    def resource(self) -> "type[Resource]":
        """Return the class of its objects."""
        return _load(self.module, self.kind)


@cache
def _load(module: str, kind: str) -> "type[Resource]":
    from upwell.api.meta import Resource  # noqa: PLC0415 - the same

    found = getattr(importlib.import_module(f"upwell.api.{module}"), kind)
    if not (isinstance(found, type) and issubclass(found, Resource)):
        raise TypeError(f"upwell.api.{module} has no kind {kind}")
    return found


KINDS = (
    KindNames("core", "Namespace", "v1", "namespaces", ("ns",), namespaced=False),
    KindNames(
        "requests.projects", "Project", "project.openshift.io/v1", "projects", namespaced=False
    ),
    KindNames(
        "requests.projects",
        "ProjectRequest",
        "project.openshift.io/v1",
        "projectrequests",
        namespaced=False,
    ),
    KindNames("core", "ResourceQuota", "v1", "resourcequotas", ("quota",)),
    KindNames("core", "LimitRange", "v1", "limitranges", ("limits",)),
    KindNames("core", "ServiceAccount", "v1", "serviceaccounts", ("sa",)),
    KindNames("core", "Secret", "v1", "secrets"),
    KindNames("core", "ConfigMap", "v1", "configmaps", ("cm",)),
    KindNames("storage", "PersistentVolumeClaim", "v1", "persistentvolumeclaims", ("pvc",)),
    KindNames("core", "Service", "v1", "services", ("svc",)),
    KindNames(
        "networking.network_policy",
        "NetworkPolicy",
        "networking.k8s.io/v1",
        "networkpolicies",
        ("netpol",),
    ),
    KindNames("core", "Event", "v1", "events", ("ev",)),
    KindNames("pod", "Pod", "v1", "pods", ("po",)),
    KindNames("networking.endpoints", "Endpoints", "v1", "endpoints", ("ep",)),
    KindNames("networking.endpoints", "EndpointSlice", "discovery.k8s.io/v1", "endpointslices"),
    KindNames("apps", "Deployment", "apps/v1", "deployments", ("deploy",)),
    KindNames("revisions", "ReplicaSet", "apps/v1", "replicasets", ("rs",)),
    KindNames("apps", "StatefulSet", "apps/v1", "statefulsets", ("sts",)),
    KindNames("apps", "DaemonSet", "apps/v1", "daemonsets", ("ds",)),
    KindNames("apps", "CronJob", "batch/v1", "cronjobs", ("cj",)),
    KindNames("apps", "Job", "batch/v1", "jobs"),
    KindNames(
        "image", "ImageStream", "image.openshift.io/v1", "imagestreams", ("is",), legacy=True
    ),
    KindNames(
        "image",
        "ImageStreamTag",
        "image.openshift.io/v1",
        "imagestreamtags",
        ("istag",),
        legacy=True,
    ),
    KindNames(
        "image",
        "ImageStreamImage",
        "image.openshift.io/v1",
        "imagestreamimages",
        ("isimage",),
        legacy=True,
    ),
    KindNames(
        "image", "ImageStreamMapping", "image.openshift.io/v1", "imagestreammappings", legacy=True
    ),
    KindNames(
        "image", "ImageStreamImport", "image.openshift.io/v1", "imagestreamimports", legacy=True
    ),
    KindNames("image", "Image", "image.openshift.io/v1", "images", legacy=True, namespaced=False),
    KindNames(
        "image_policies.policy",
        "ClusterImagePolicy",
        "config.openshift.io/v1",
        "clusterimagepolicies",
        earlier=("v1alpha1",),
        namespaced=False,
    ),
    KindNames(
        "image_policies.policy",
        "ImagePolicy",
        "config.openshift.io/v1",
        "imagepolicies",
        earlier=("v1alpha1",),
    ),
    KindNames(
        "builds.config",
        "BuildConfig",
        "build.openshift.io/v1",
        "buildconfigs",
        ("bc",),
        legacy=True,
    ),
    KindNames("builds.build", "Build", "build.openshift.io/v1", "builds", legacy=True),
    KindNames(
        "apps",
        "DeploymentConfig",
        "apps.openshift.io/v1",
        "deploymentconfigs",
        ("dc",),
        legacy=True,
    ),
    KindNames("revisions", "ReplicationController", "v1", "replicationcontrollers", ("rc",)),
    KindNames("template", "Template", "template.openshift.io/v1", "templates", legacy=True),
    KindNames("template", "ProcessedTemplate", "template.openshift.io/v1", "processedtemplates"),
    KindNames("route", "Route", "route.openshift.io/v1", "routes", legacy=True),
    KindNames("networking.ingress", "Ingress", "networking.k8s.io/v1", "ingresses", ("ing",)),
    KindNames("clusters.cluster", "Cluster", "upwell.dev/v1alpha1", "clusters", namespaced=False),
    KindNames("pipeline", "Freeze", "upwell.dev/v1alpha1", "freezes", namespaced=False),
    KindNames("pipeline", "Quarantine", "upwell.dev/v1alpha1", "quarantines", namespaced=False),
    KindNames("waves.wave", "Wave", "upwell.dev/v1alpha1", "waves", namespaced=False),
    KindNames("waves.plan", "ImpactPlan", "upwell.dev/v1alpha1", "impactplans"),
    KindNames("requests.base_search", "BaseSearch", "upwell.dev/v1alpha1", "basesearches"),
    KindNames("requests.running", "RunningWorkload", "upwell.dev/v1alpha1", "runningworkloads"),
    KindNames("pipeline", "Pipeline", "upwell.dev/v1alpha1", "pipelines", ("pl",)),
    KindNames("promotion", "Release", "upwell.dev/v1alpha1", "releases", ("rel",)),
    KindNames("promotion", "Promotion", "upwell.dev/v1alpha1", "promotions", ("promo",)),
    KindNames("subscription", "Subscription", "upwell.dev/v1alpha1", "subscriptions", ("sub",)),
    KindNames(
        "cluster_operator",
        "ClusterOperator",
        "config.openshift.io/v1",
        "clusteroperators",
        ("co",),
        namespaced=False,
    ),
    KindNames(
        "reviews",
        "SelfSubjectReview",
        "authentication.k8s.io/v1",
        "selfsubjectreviews",
        namespaced=False,
    ),
    KindNames(
        "reviews",
        "SelfSubjectAccessReview",
        "authorization.k8s.io/v1",
        "selfsubjectaccessreviews",
        namespaced=False,
    ),
    KindNames(
        "reviews",
        "SelfSubjectRulesReview",
        "authorization.k8s.io/v1",
        "selfsubjectrulesreviews",
        namespaced=False,
    ),
    KindNames(
        "reviews",
        "SubjectAccessReview",
        "authorization.k8s.io/v1",
        "subjectaccessreviews",
        namespaced=False,
    ),
    KindNames(
        "reviews", "TokenReview", "authentication.k8s.io/v1", "tokenreviews", namespaced=False
    ),
    KindNames(
        "image_policies.review", "ImagePolicyReview", "upwell.dev/v1alpha1", "imagepolicyreviews"
    ),
    KindNames(
        "kept",
        "HorizontalPodAutoscaler",
        "autoscaling/v2",
        "horizontalpodautoscalers",
        ("hpa",),
        earlier=("v1", "v2beta1", "v2beta2"),
    ),
    KindNames(
        "kept",
        "PodDisruptionBudget",
        "policy/v1",
        "poddisruptionbudgets",
        ("pdb",),
        earlier=("v1beta1",),
    ),
    KindNames(
        "kept",
        "PriorityClass",
        "scheduling.k8s.io/v1",
        "priorityclasses",
        ("pc",),
        earlier=("v1beta1",),
        namespaced=False,
    ),
    KindNames(
        "kept",
        "StorageClass",
        "storage.k8s.io/v1",
        "storageclasses",
        ("sc",),
        earlier=("v1beta1",),
        namespaced=False,
    ),
    KindNames("kept", "PersistentVolume", "v1", "persistentvolumes", ("pv",), namespaced=False),
    KindNames(
        "kept",
        "Role",
        "rbac.authorization.k8s.io/v1",
        "roles",
        earlier=("v1beta1",),
        aliases=("authorization.openshift.io/v1",),
        legacy=True,
    ),
    KindNames(
        "kept",
        "RoleBinding",
        "rbac.authorization.k8s.io/v1",
        "rolebindings",
        earlier=("v1beta1",),
        aliases=("authorization.openshift.io/v1",),
        legacy=True,
    ),
    KindNames(
        "kept",
        "ClusterRole",
        "rbac.authorization.k8s.io/v1",
        "clusterroles",
        earlier=("v1beta1",),
        aliases=("authorization.openshift.io/v1",),
        legacy=True,
        namespaced=False,
    ),
    KindNames(
        "kept",
        "ClusterRoleBinding",
        "rbac.authorization.k8s.io/v1",
        "clusterrolebindings",
        earlier=("v1beta1",),
        aliases=("authorization.openshift.io/v1",),
        legacy=True,
        namespaced=False,
    ),
    KindNames("kept", "Group", "user.openshift.io/v1", "groups", legacy=True, namespaced=False),
    KindNames(
        "kept",
        "SecurityContextConstraints",
        "security.openshift.io/v1",
        "securitycontextconstraints",
        ("scc",),
        legacy=True,
        namespaced=False,
    ),
    KindNames("kept", "ServiceMonitor", "monitoring.coreos.com/v1", "servicemonitors", ("smon",)),
    KindNames("kept", "PodMonitor", "monitoring.coreos.com/v1", "podmonitors", ("pmon",)),
    KindNames(
        "kept", "PrometheusRule", "monitoring.coreos.com/v1", "prometheusrules", ("promrule",)
    ),
)
"""Every kind, in the order in which a set of them is applied."""

BY_KIND = {names.kind: names for names in KINDS}
BY_API = (
    {(names.api_version, names.kind): names for names in KINDS}
    | {("v1", names.kind): names for names in KINDS if names.legacy}
    | {
        (f"{names.group}/{version}", names.kind): names
        for names in KINDS
        for version in names.earlier
    }
    | {(alias, names.kind): names for names in KINDS for alias in names.aliases}
)
"""By apiVersion and kind, those of earlier versions and other groups included."""


def is_known(resource: "type[Resource]") -> bool:
    """Return whether this is the class of a kind, rather than of a part or of a request alone."""
    names = BY_KIND.get(resource.KIND.kind)
    return names is not None and names.resource() is resource


def find_names(text: str) -> KindNames | None:
    """Return the names of the kind that a user means by `bc`, `build`, `builds` or `builds.GROUP`.

    None: there is no such kind.
    """
    wanted = text.lower()
    for names in KINDS:
        without_group = wanted.removesuffix(f".{names.group}")
        if without_group in {names.plural, names.singular, *names.short_names}:
            return names
    return None
