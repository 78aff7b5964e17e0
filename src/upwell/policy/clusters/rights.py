"""Rights that Upwell needs on a cluster on which stages run; pure."""

from collections.abc import Collection, Iterable, Sequence

from upwell.api.apps import CronJob
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


def needed_rights(namespaces: Collection[str]) -> tuple[AccessAttributes, ...]:
    """Return what the access to a cluster has to be allowed; without namespaces, in all."""
    return tuple(
        AccessAttributes(verb, kind.group, kind.plural, namespace=namespace)
        for namespace in (namespaces or ("",))
        for kind, verbs in _NEEDS
        for verb in verbs
    )


def missing_text(denied: Iterable[AccessAttributes]) -> str:
    """Name the rights that are missing: `patch deployments.apps in namespace shop, …`."""
    return ", ".join(_text(one) for one in denied)


def _text(right: AccessAttributes) -> str:
    what = f"{right.resource}.{right.group}" if right.group else right.resource
    where = f"namespace {right.namespace}" if right.namespace else "all namespaces"
    return f"{right.verb} {what} in {where}"
