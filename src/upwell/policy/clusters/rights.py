"""Rights that Upwell needs on a cluster on which stages run; pure."""

from collections.abc import Collection, Iterable, Iterator, Sequence

from upwell.api.apps import CronJob, Job
from upwell.api.core import Event
from upwell.api.meta import Kind
from upwell.api.pod import Pod
from upwell.cluster.interface import AccessAttributes
from upwell.policy.rollouts.settings import WORKLOADS

_ROLLED_OUT = tuple(
    kind.KIND for kind in (*WORKLOADS, CronJob) if kind.KIND.group in {"apps", "batch"}
)
_NEEDS: Sequence[tuple[Kind, Sequence[str]]] = (
    *((kind, ("get", "list", "patch")) for kind in _ROLLED_OUT),
    (Pod.KIND, ("list",)),
    (Event.KIND, ("create", "patch")),
)


_CHECKS: Sequence[tuple[Kind, Sequence[str]]] = ((Job.KIND, ("get", "list", "create", "delete")),)
_LOG = "log"


def needed_rights(namespaces: Collection[str]) -> tuple[AccessAttributes, ...]:
    """Return what the access to a cluster has to be allowed; without namespaces, in all."""
    return tuple(_each(namespaces, _NEEDS))


def check_rights(namespaces: Collection[str]) -> tuple[AccessAttributes, ...]:
    """Return what it has to be allowed besides, where a stage's checks are Jobs."""
    pods = Pod.KIND
    logs = (
        AccessAttributes("get", pods.group, pods.plural, _LOG, namespace)
        for namespace in (namespaces or ("",))
    )
    return (*_each(namespaces, _CHECKS), *logs)


def _each(
    namespaces: Collection[str], needs: Sequence[tuple[Kind, Sequence[str]]]
) -> Iterator[AccessAttributes]:
    for namespace in namespaces or ("",):
        for kind, verbs in needs:
            for verb in verbs:
                yield AccessAttributes(verb, kind.group, kind.plural, namespace=namespace)


def missing_text(denied: Iterable[AccessAttributes]) -> str:
    """Name the rights that are missing, each resource and namespace once.

    `get/patch deployments.apps, list pods in namespaces shop and web`: of fifty namespaces that
    lack the same, one list of rights.
    """
    by_namespace: dict[str, dict[str, list[str]]] = {}
    for one in denied:
        verbs = by_namespace.setdefault(one.namespace, {}).setdefault(_resource(one), [])
        verbs.append(one.verb)
    lacking: dict[str, list[str]] = {}
    for namespace, resources in by_namespace.items():
        named = ", ".join(f"{'/'.join(verbs)} {what}" for what, verbs in resources.items())
        lacking.setdefault(named, []).append(namespace)
    return "; ".join(f"{named} in {_where(where)}" for named, where in lacking.items())


def _resource(right: AccessAttributes) -> str:
    resource = f"{right.resource}/{right.subresource}" if right.subresource else right.resource
    return f"{resource}.{right.group}" if right.group else resource


def _where(namespaces: Sequence[str]) -> str:
    if "" in namespaces:
        return "all namespaces"
    *most, last = namespaces
    return f"namespaces {', '.join(most)} and {last}" if most else f"namespace {last}"
