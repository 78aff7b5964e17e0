"""Rights of Upwell on a cluster (RBAC): the least of them for each feature, in one table.

What is only watched is never written. Each subject is a ClusterRole, which is bound in the whole
cluster or in the namespaces that Upwell works in; what belongs to no namespace, in the cluster.
"""

from collections import defaultdict
from collections.abc import Container, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.api.networking.gateway import GATEWAY_GROUP
from upwell.api.schemas.crds import custom_kinds
from upwell.api.schemas.webhooks import AUTHORITY_SECRET, CONFIGURATION
from upwell.cli.install.installation import Feature
from upwell.policy.notifications.shared_deliveries import part_names, secret_name
from upwell.policy.pruning.rules import RECORD_NAME

if TYPE_CHECKING:
    from upwell.api.meta import Kind

_READ = ("get", "list", "watch")
_WRITE = (*_READ, "create", "update", "delete")
"""A change is a whole object with its resourceVersion (PUT), also where a client of Upwell's API
has sent a patch."""


@dataclass(frozen=True, slots=True)
class GrantedRule:
    """Verbs on resources of one API group (rbac.authorization.k8s.io/v1, PolicyRule)."""

    group: str
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    """Names of the objects; none: all."""

    def document(self) -> dict[str, Any]:
        """Return it as JSON."""
        return {
            "apiGroups": [self.group],
            "resources": list(self.resources),
            "verbs": list(self.verbs),
            **({"resourceNames": list(self.names)} if self.names else {}),
        }


_OF_FEATURES: Mapping[Feature, tuple[GrantedRule, ...]] = {
    Feature.WORKLOADS: (
        # Image fields alone, by server-side apply: the cluster rolls out.
        GrantedRule("apps", ("deployments", "statefulsets", "daemonsets"), ("patch",)),
        GrantedRule("batch", ("cronjobs",), ("patch",)),
        # Revisions of DeploymentConfigs, and the Pods of their hooks.
        GrantedRule("", ("replicationcontrollers",), ("create", "update", "delete")),
        GrantedRule("", ("pods",), ("create", "delete")),
        # Checks of a Pipeline's stages are Jobs, which the cluster runs; their logs are kept.
        GrantedRule("batch", ("jobs",), ("create", "delete")),
        GrantedRule("", ("pods/log",), ("get",)),
    ),
    Feature.ROUTES: (
        # What serves a Route belongs to it, whichever of these the cluster has.
        GrantedRule("networking.k8s.io", ("ingresses",), ("create", "update", "delete")),
        GrantedRule(GATEWAY_GROUP, ("httproutes", "tlsroutes"), ("create", "update", "delete")),
    ),
    Feature.BUILDS: (
        GrantedRule("", ("pods",), ("create", "delete")),
        GrantedRule("", ("pods/log",), ("get",)),
        # A build gets its plan, source and Secrets by a command in its Pod: no object holds them.
        # Over a WebSocket that is a `get`; from Kubernetes 1.35 on, a `create` as well.
        GrantedRule("", ("pods/exec",), ("get", "create")),
        # Whether a namespace has the claim with the caches of its BuildConfigs.
        GrantedRule("", ("persistentvolumeclaims",), ("get",)),
    ),
}
_NEEDS: tuple[GrantedRule, ...] = (
    # What runs, and what stands on an image: Waves, plans and Pipelines ask that in any case.
    GrantedRule("apps", ("deployments", "statefulsets", "daemonsets"), _READ),
    GrantedRule("batch", ("cronjobs", "jobs"), _READ),
    GrantedRule("", ("pods", "replicationcontrollers"), _READ),
    # Revisions that may be rolled back to keep their images.
    GrantedRule("apps", ("replicasets", "controllerrevisions"), ("list",)),
    # What has Events of its own; room and sizes of images, builds and uploads, which the cluster
    # does not look at.
    GrantedRule("", ("services", "resourcequotas", "limitranges"), _READ),
    GrantedRule("networking.k8s.io", ("ingresses",), _READ),
    GrantedRule(GATEWAY_GROUP, ("gateways", "httproutes", "tlsroutes"), _READ),
    # Pull secrets and what Subscriptions and webhooks name; who runs builds and workloads.
    GrantedRule("", ("secrets", "configmaps", "serviceaccounts"), _READ),
    GrantedRule("", ("events",), (*_READ, "create", "update", "patch")),
)
_LEADER = (GrantedRule("coordination.k8s.io", ("leases",), ("get", "list", "create", "update")),)
# Who holds a token, and since when it is in force; whichever namespaces are kept current.
_READ_TOKENS = (GrantedRule("", ("secrets",), _READ),)
# When was pruned last.
_RECORD_PRUNING = (
    GrantedRule("", ("configmaps",), ("create",)),
    GrantedRule("", ("configmaps",), ("update",), (RECORD_NAME,)),
)
_WRITE_TOKENS = (
    # Uses of tokens and of sessions are noted in their Secrets.
    GrantedRule("", ("secrets",), ("create", "update", "delete")),
)
_KEYS = (
    # What all replicas sign by, and the authority of their certificates.
    GrantedRule("", ("secrets",), ("create",)),
    GrantedRule("", ("secrets",), ("get", "update"), (KEYS_SECRET,)),
)
_OUTBOX = (
    # Events on their way to Subscriptions, for the leader that comes next.
    GrantedRule(
        "",
        ("secrets",),
        ("get", "update"),
        tuple(secret_name("upwell", part) for part in part_names()),
    ),
)
_AUTHORITY = (
    # The authority of the certificates by which the cluster knows the webhook.
    GrantedRule("", ("secrets",), ("get", "update"), (AUTHORITY_SECRET,)),
)
_ADMISSION = (
    GrantedRule(
        "admissionregistration.k8s.io",
        ("mutatingwebhookconfigurations", "validatingwebhookconfigurations"),
        ("get", "update"),
        (CONFIGURATION,),
    ),
)


def rules_of(features: Iterable[Feature]) -> dict[str, tuple[GrantedRule, ...]]:
    """Return the rules in namespaces, by subject: the objects, and each feature."""
    chosen = {one.value: _OF_FEATURES[one] for one in sorted(features) if one in _OF_FEATURES}
    return {"objects": (*_of_kinds(namespaced=True), *_NEEDS), **chosen}


def system_rules(features: Container[Feature]) -> dict[str, tuple[GrantedRule, ...]]:
    """Return the rules in the server's system namespace, by subject.

    They are to read tokens, to record when was pruned, and to write tokens.
    """
    written = {Feature.TOKENS.value: _WRITE_TOKENS} if Feature.TOKENS in features else {}
    return {"system": (*_READ_TOKENS, *_RECORD_PRUNING), **written}


def leader_rules(*, admission: bool) -> tuple[GrantedRule, ...]:
    """Return the rules in the server's own namespace: what replicas share, and certificates."""
    return (*_LEADER, *_KEYS, *_OUTBOX, *(_AUTHORITY if admission else ()))


def cluster_rules(*, admission: bool) -> tuple[GrantedRule, ...]:
    """Return the rules on what belongs to no namespace."""
    return (
        *_of_kinds(namespaced=False),
        GrantedRule("", ("namespaces",), _READ),
        GrantedRule("networking.k8s.io", ("ingressclasses",), _READ),
        # Another Upwell that would reconcile the same namespaces is found by its Lease.
        GrantedRule("coordination.k8s.io", ("leases",), ("list",)),
        # Rights of whoever stands for an object, or of its namespace, are the cluster's to tell.
        GrantedRule("authorization.k8s.io", ("subjectaccessreviews",), ("create",)),
        *(_ADMISSION if admission else ()),
    )


def _of_kinds(*, namespaced: bool) -> Iterator[GrantedRule]:
    groups: dict[str, list[Kind]] = defaultdict(list)
    for resource in custom_kinds():
        if resource.KIND.namespaced is namespaced:
            groups[resource.KIND.group].append(resource.KIND)
    for group, kinds in sorted(groups.items()):
        for verbs, of_verbs in (
            (_WRITE, [kind for kind in kinds if not kind.read_only]),
            # What nobody asks the server to write, it creates, and then writes the status alone.
            ((*_READ, "create"), [kind for kind in kinds if kind.read_only]),
        ):
            if of_verbs:
                yield GrantedRule(group, tuple(kind.plural for kind in of_verbs), verbs)
        if statuses := tuple(f"{kind.plural}/status" for kind in kinds if kind.has_status):
            yield GrantedRule(group, statuses, ("update",))
        # None on `finalizers`: OwnerReferencesPermissionEnforcement asks for it where a child keeps
        # its owner from being deleted (`blockOwnerDeletion`), and none of ours does.
