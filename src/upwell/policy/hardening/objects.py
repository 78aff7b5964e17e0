"""Checks of tokens, namespaces, workloads and Pipelines; pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import timedelta

from upwell.api.core import GRANTS_ANNOTATION
from upwell.api.meta import Resource
from upwell.policy.access.roles import EVERYWHERE, SYSTEM_NAMESPACE, Grant, Role, grant_text
from upwell.policy.access.service_accounts import grants_in_force
from upwell.policy.hardening.findings import Flaw, FlawSeverity, HardeningCheck
from upwell.policy.hardening.installation import ServerState
from upwell.policy.pod_security.namespaces import NamespaceProfiles
from upwell.policy.pod_security.standards import Profile, host_users, uses_host, violations
from upwell.policy.pod_security.templates import templates_of
from upwell.policy.promotion.four_eyes import needs_four_eyes
from upwell.policy.promotion.stages import last_stages
from upwell.policy.signatures.selection import is_enforced

_LONGEST = timedelta(days=365)
_LASTING = frozenset({"Deployment", "DeploymentConfig", "StatefulSet", "DaemonSet"})
"""Kinds whose instances stay until they are rolled out again."""
_IDLE = timedelta(days=90)
_READERS = frozenset({Role.VIEWER})


def _token_ends(state: ServerState) -> Iterator[Flaw]:
    for token in state.tokens:
        shown = f"token/{token.name}"
        if token.expires is None:
            remedy = f"upwell token delete {token.name}, and create it with --for 90d"
            yield Flaw(FlawSeverity.WARN, shown, "it has no end", remedy)
        elif token.expires <= state.now:
            reason = "it has expired; what it has written is still done in its name"
            yield Flaw(FlawSeverity.WARN, shown, reason, f"upwell token delete {token.name}")
        elif token.expires - state.now > _LONGEST:
            reason = f"it ends at {token.expires:%Y-%m-%d}, more than a year from now"
            remedy = f"upwell token delete {token.name}, and create it with --for 90d"
            yield Flaw(FlawSeverity.WARN, shown, reason, remedy)


def _token_age(state: ServerState) -> Iterator[Flaw]:
    for token in state.tokens:
        if token.made is not None and state.now - token.made > _LONGEST:
            reason = f"it was made {(state.now - token.made).days} days ago"
            remedy = f"upwell token delete {token.name}, and create it anew"
            yield Flaw(FlawSeverity.WARN, f"token/{token.name}", reason, remedy)


def _token_use(state: ServerState) -> Iterator[Flaw]:
    for token in state.tokens:
        if token.used is not None and state.now - token.used > _IDLE:
            reason = f"nobody has used it for {(state.now - token.used).days} days"
            yield Flaw(
                FlawSeverity.WARN,
                f"token/{token.name}",
                reason,
                f"upwell token delete {token.name}, unless what it wrote shall go on in its name",
            )


def _token_roles(state: ServerState) -> Iterator[Flaw]:
    for shown, grants, remedy in _granted(state):
        for grant in grants:
            everywhere = EVERYWHERE in grant.namespaces
            if grant.role is Role.ADMIN and everywhere:
                reason = "may do everything, and make tokens"
            elif grant.role is Role.ADMIN:
                reason = "reads every Secret there, and uses the host"
            elif everywhere and grant.role not in _READERS:
                reason = "has its role in every namespace, those that come later too"
            else:
                continue
            yield Flaw(FlawSeverity.WARN, shown, f"{grant_text(grant)} {reason}", remedy)


def _granted(state: ServerState) -> Iterator[tuple[str, Sequence[Grant], str]]:
    """Yield what has grants, these, and how to give it fewer."""
    for token in state.tokens:
        remedy = f"upwell token delete {token.name}, and create it with the roles that it needs"
        yield f"token/{token.name}", token.grants, remedy
    for account in state.accounts:
        remedy = f"give it the roles that it needs, in its annotation {GRANTS_ANNOTATION}"
        yield _shown(account), grants_in_force(account, None), remedy


def _profiles(state: ServerState) -> Iterator[Flaw]:
    for namespace in state.namespaces:
        if NamespaceProfiles.of(namespace.labels).enforce is Profile.PRIVILEGED:
            name = namespace.name
            yield Flaw(
                FlawSeverity.WARN,
                f"namespace/{name}",
                "it enforces profile privileged: nothing of the host takes a profile there",
                f"kubectl label --overwrite namespace {name}"
                " pod-security.kubernetes.io/enforce=restricted",
            )


def _host_access(state: ServerState) -> Iterator[Flaw]:
    for resource in (*state.workloads, *state.pipelines):
        for template in templates_of(resource):
            for found in (*violations(template, Profile.BASELINE), *host_users(template)):
                yield Flaw(
                    FlawSeverity.WARN,
                    _shown(resource),
                    str(found),
                    f"remove {found.path}, or keep what it runs to people who may be root",
                )


def _host_users(state: ServerState) -> Iterator[Flaw]:
    """Instances that have the host's ids although their templates do not need them."""
    if not state.settings.instance_user_namespaces or state.instance_ids_fault:
        return  # another check tells of all at once
    told = {
        (resource.KIND.kind, resource.namespace, resource.name)
        for resource in state.workloads
        for template in templates_of(resource)
        if template.host_users or uses_host(template)
    }
    owners = Counter(state.host_instances)
    for (kind, namespace, name), count in sorted(owners.items()):
        if (kind, namespace, name) in told or kind not in _LASTING:
            continue
        place = f"{kind.lower()}/{name}"
        yield Flaw(
            FlawSeverity.WARN,
            f"{place} in namespace {namespace}",
            f"root is root outside in {count} of its instances: they were started before user"
            " namespaces were on, or a volume's file system has none",
            f"upwell rollout restart {place} -n {namespace}; if it stays so, the server's log says"
            " which volume it is",
        )


def _four_eyes(state: ServerState) -> Iterator[Flaw]:
    for pipeline in state.pipelines:
        last = last_stages(pipeline)
        for at, stage in enumerate(pipeline.spec.stages):
            if stage.name not in last or needs_four_eyes(pipeline, stage):
                continue
            path = f"spec.stages[{at}].approval"
            if stage.approval is None:
                reason = f"stage {stage.name} asks for no approval: whoever writes gets there alone"
                yield Flaw(FlawSeverity.WARN, _shown(pipeline), reason, f"add {path}")
            else:
                reason = f"in stage {stage.name} whoever asks or writes may be the only approver"
                remedy = f"remove {path}.fourEyes, or set it to true"
                yield Flaw(FlawSeverity.WARN, _shown(pipeline), reason, remedy)


def _quotas(state: ServerState) -> Iterator[Flaw]:
    if state.settings.quota:
        return
    limited = {quota.namespace for quota in state.quotas if quota.spec.hard}
    for namespace in state.namespaces:
        if namespace.name not in limited | {SYSTEM_NAMESPACE}:
            yield Flaw(
                FlawSeverity.WARN,
                f"namespace/{namespace.name}",
                "no ResourceQuota limits what it takes of the machine",
                'apply a ResourceQuota there, or namespace = ["pods=100"] below [quota] for all',
            )


def _image_policies(state: ServerState) -> Iterator[Flaw]:
    policies = [one for one in state.image_policies if not one.is_deleting]
    if any(is_enforced(one) for one in policies):
        return
    if not policies:
        yield Flaw(
            FlawSeverity.WARN,
            "clusterimagepolicies",
            "there is none: any image is imported, built upon and rolled out, whoever made it",
            "apply a ClusterImagePolicy, first with enforcement.mode warn (docs/image-policies.md)",
        )
    for one in policies:
        count = len(one.status.findings)
        yield Flaw(
            FlawSeverity.WARN,
            f"clusterimagepolicy/{one.name}",
            f"it only warns, as all do ({count} {'finding' if count == 1 else 'findings'}): nothing"
            " is kept out",
            "mend its findings, then set its spec.enforcement.mode to enforce",
        )


def _shown(resource: Resource) -> str:
    return f"{resource.KIND.kind.lower()}/{resource.name} in namespace {resource.namespace}"


OBJECT_CHECKS: tuple[HardeningCheck[ServerState], ...] = (
    HardeningCheck("token-ends", "every token ends within a year", _token_ends),
    HardeningCheck("token-age", "no token is older than a year", _token_age),
    HardeningCheck("token-use", "no token was idle for 90 days", _token_use),
    HardeningCheck("token-roles", "no token is an admin, or writes everywhere", _token_roles),
    HardeningCheck("pod-security", "no namespace has profile privileged", _profiles),
    HardeningCheck("host-access", "no Pod template uses the host", _host_access),
    HardeningCheck("host-users", "what could have ids of its own has them", _host_users),
    HardeningCheck("four-eyes", "last stages of all Pipelines take four eyes", _four_eyes),
    HardeningCheck("quotas", "every namespace has limits", _quotas),
    HardeningCheck("image-policies", "a ClusterImagePolicy is enforced", _image_policies),
)
"""Checks of what the API holds."""
