"""Checks of `upwell doctor --on kubernetes`: what a cluster has of what Upwell needs there.

All is asked by kubectl, with the user's own rights, and nothing is changed but by a probe of
builds, which removes its Pods.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.api.networking.gateway import Gateway
from upwell.api.schemas.crds import custom_kinds
from upwell.cli.core.errors import CommandError
from upwell.cli.doctor.build_probe import BuildProbe
from upwell.cli.doctor.components import check_components
from upwell.cli.doctor.servers import check_servers
from upwell.cli.install.bucket_secret import check_bucket_secret
from upwell.cli.install.installation import NAME, ClusterInstallation, Feature
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.registry_logins import check_registry_logins
from upwell.cli.install.rights import (
    GrantedRule,
    cluster_rules,
    leader_rules,
    rules_of,
    system_rules,
)
from upwell.machine.checks import HostCheck, HostCheckStatus
from upwell.policy.access.roles import SYSTEM_NAMESPACE

_OK, _WARN, _FAIL = HostCheckStatus.OK, HostCheckStatus.WARN, HostCheckStatus.FAIL
_UNKNOWN = HostCheckStatus.UNKNOWN
_GROUPS = ("apps/v1", "batch/v1", "coordination.k8s.io/v1", "networking.k8s.io/v1")
_DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_ENFORCE = "pod-security.kubernetes.io/enforce"
_NAMED = 5
"""Rights and names that a detail lists."""
_REVIEW = "authorization.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class _Question:
    """A request that the server's account may send or not."""

    verb: str
    group: str
    resource: str
    namespace: str
    name: str = ""

    def __str__(self) -> str:
        what = f"{self.resource}.{self.group}" if self.group else self.resource
        named = f" {self.name}" if self.name else ""
        where = f"namespace {self.namespace}" if self.namespace else "all namespaces"
        return f"{self.verb} {what}{named} in {where}"

    def document(self, user: str) -> dict[str, Any]:
        """Return it as a SubjectAccessReview."""
        resource, _, subresource = self.resource.partition("/")
        attributes = {
            "verb": self.verb,
            "group": self.group,
            "resource": resource,
            "subresource": subresource,
            "namespace": self.namespace,
            "name": self.name,
        }
        spec = {"user": user, "resourceAttributes": attributes}
        return {"apiVersion": _REVIEW, "kind": "SubjectAccessReview", "spec": spec}


def examine_cluster(
    kubectl: KubectlRunner, installation: ClusterInstallation, probe: BuildProbe | None = None
) -> Sequence[HostCheck]:
    """Return what was found; a cluster that is not reached is one failure, and nothing else."""
    checks: list[tuple[str, Callable[[], HostCheck | None]]] = [
        ("API server", lambda: _version(kubectl)),
        ("API groups", lambda: _groups(kubectl)),
        ("definitions", lambda: _definitions(kubectl)),
        ("rights", lambda: _rights(kubectl, installation)),
        ("routers", lambda: _routers(kubectl)),
        ("builds", lambda: _builds(kubectl, installation)),
        ("registry bucket", lambda: check_bucket_secret(kubectl, installation)),
        ("registry logins", lambda: check_registry_logins(kubectl, installation)),
        ("servers", lambda: check_servers(kubectl, installation)),
        ("components", lambda: check_components(kubectl)),
    ]
    if probe is not None:
        checks.append(("build Pods", lambda: probe.check(kubectl)))
    found: list[HostCheck] = []
    for name, check in checks:
        try:
            if (one := check()) is not None:
                found.append(one)
        except CommandError as error:
            first = not found
            remedy = "name a kubeconfig and a context by which it is reached" if first else ""
            found.append(HostCheck(name, _FAIL if first else _UNKNOWN, str(error), remedy))
            if first:
                break
    return found


def _version(kubectl: KubectlRunner) -> HostCheck:
    told = json.loads(kubectl.ask("version", "-o", "json"))
    version = str((told.get("serverVersion") or {}).get("gitVersion") or "")
    return HostCheck("API server", _OK, version)


def _groups(kubectl: KubectlRunner) -> HostCheck:
    served = set(kubectl.ask("api-versions").split())
    if missing := [one for one in _GROUPS if one not in served]:
        detail = f"not served: {', '.join(missing)}"
        return HostCheck("API groups", _FAIL, detail, "upgrade the cluster to Kubernetes 1.21")
    return HostCheck("API groups", _OK, ", ".join(_GROUPS))


def _definitions(kubectl: KubectlRunner) -> HostCheck:
    there = {one["metadata"]["name"] for one in kubectl.items(_DEFINITIONS)}
    wanted = [kind.KIND.resource for kind in custom_kinds()]
    if missing := [one for one in wanted if one not in there]:
        detail = f"{len(missing)} of {len(wanted)} are missing: {_some(missing)}"
        return HostCheck("definitions", _FAIL, detail, "upwell install kubernetes")
    return HostCheck("definitions", _OK, f"all {len(wanted)} kinds")


def _rights(kubectl: KubectlRunner, installation: ClusterInstallation) -> HostCheck:
    """Ask what the server's account may do, of all that an installation gives it."""
    account = f"system:serviceaccount:{installation.namespace}:{NAME}"
    questions = list(_questions(installation))
    reviews = [one.document(account) for one in questions]
    given = "".join(f"---\n{json.dumps(one)}\n" for one in reviews)
    answers = _documents(kubectl.ask("create", "-f", "-", "-o", "json", given=given))
    allowed = [bool((one.get("status") or {}).get("allowed")) for one in answers]
    if len(allowed) != len(questions):
        detail = f"{len(allowed)} of {len(questions)} questions were answered"
        return HostCheck("rights", _UNKNOWN, detail)
    pairs = zip(questions, allowed, strict=True)
    if denied := [str(one) for one, is_allowed in pairs if not is_allowed]:
        detail = f"{account} lacks {len(denied)} of {len(questions)}: {_some(denied)}"
        return HostCheck("rights", _FAIL, detail, "upwell install kubernetes, with its features")
    return HostCheck("rights", _OK, f"{account} has all {len(questions)}")


def _questions(installation: ClusterInstallation) -> Iterator[_Question]:
    subjects = rules_of(installation.features)
    for namespace in installation.namespaces or ("",):
        for rules in subjects.values():
            yield from _of_rules(rules, namespace)
    yield from _of_rules(cluster_rules(admission=installation.admission), "")
    yield from _of_rules(leader_rules(admission=installation.admission), installation.namespace)
    for rules in system_rules(installation.features).values():
        yield from _of_rules(rules, SYSTEM_NAMESPACE)


def _of_rules(rules: Iterable[GrantedRule], namespace: str) -> Iterator[_Question]:
    for rule in rules:
        for resource in rule.resources:
            for verb in rule.verbs:
                for name in rule.names or ("",):
                    yield _Question(verb, rule.group, resource, namespace, name)


def _routers(kubectl: KubectlRunner) -> HostCheck:
    served = set(kubectl.ask("api-versions").split())
    classes = kubectl.items("ingressclasses.networking.k8s.io")
    has_gateways = Gateway.KIND.api_version in served
    gateways = kubectl.items(Gateway.KIND.resource, "--all-namespaces") if has_gateways else ()
    names = [f"IngressClass {one['metadata']['name']}" for one in classes]
    names += [
        f"Gateway {one['metadata']['namespace']}/{one['metadata']['name']}" for one in gateways
    ]
    if names:
        return HostCheck("routers", _OK, _some(names))
    detail = "no IngressClass and no Gateway: Routes are not served"
    return HostCheck("routers", _WARN, detail, "install an ingress controller or a Gateway")


def _builds(kubectl: KubectlRunner, installation: ClusterInstallation) -> HostCheck:
    """Look for namespaces whose Pod Security level takes no Pod of a build."""
    if Feature.BUILDS not in installation.features:
        return HostCheck("builds", _OK, "left out")
    chosen = installation.namespaces
    levels = {
        one["metadata"]["name"]: (one["metadata"].get("labels") or {}).get(_ENFORCE, "")
        for one in kubectl.items("namespaces")
    }
    refusing = [
        name
        for name, level in sorted(levels.items())
        if level in {"restricted", "baseline"}
        and name != installation.namespace
        and (not chosen or name in chosen)
    ]
    if refusing:
        remedy = f"kubectl label namespace NAME {_ENFORCE}=privileged --overwrite, where builds run"
        return HostCheck("builds", _WARN, f"no Pods of builds in {_some(refusing)}", remedy)
    return HostCheck("builds", _OK, "no namespace enforces a level that keeps their Pods out")


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _documents(text: str) -> Iterator[dict[str, Any]]:
    """Yield JSON objects that stand one after the other, as kubectl prints what it has created."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(text):
        if text[at].isspace():
            at += 1
            continue
        found, at = decoder.raw_decode(text, at)
        yield from found["items"] if found.get("kind") == "List" else [found]
