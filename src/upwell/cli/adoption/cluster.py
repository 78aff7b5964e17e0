"""`upwell adopt --on kubernetes`: what other updaters do there, and what would take their place."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from upwell.api.codec import InvalidObjectError, decode_as
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.output import Format, aligned, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.install.kubectl import KubectlRunner
from upwell.policy.adoption.cluster_plan import ClusterAdoption, UpdaterObjects, cluster_adoption
from upwell.policy.cluster_rollouts.observation import NATIVE_WORKLOADS, NativeWorkload

_APPLICATIONS = "applications.argoproj.io"
_POLICIES = "imagepolicies.image.toolkit.fluxcd.io"
_REPOSITORIES = "imagerepositories.image.toolkit.fluxcd.io"


def propose(kubeconfig: Path | None, context: str, output: str) -> None:
    """Print the plan for a cluster; nothing is changed there. Raises CommandError."""
    kubectl = KubectlRunner(kubeconfig, context)
    plan = cluster_adoption(_workloads(kubectl), _others(kubectl))
    if output != Format.TABLE:
        write_data({"apiVersion": "v1", "kind": "List", "items": plan.documents()}, output)
        for warning in plan.warnings:
            echo(warning, err=True)
        return
    _show(plan)


def require_dry_run(names: Sequence[str], *, dry_run: bool) -> None:
    """Raise CommandError for a call that asks for more than a proposal."""
    if not dry_run:
        raise CommandError(
            "adopt --on kubernetes changes nothing, and says so by --dry-run: apply what"
            " `-o yaml` prints by `kubectl apply --server-side -f -`",
            Exit.USAGE,
        )
    if names:
        raise CommandError("adopt --on kubernetes takes no names: it reads all", Exit.USAGE)


def _workloads(kubectl: KubectlRunner) -> Sequence[NativeWorkload]:
    kinds = {kind.KIND.kind: kind for kind in NATIVE_WORKLOADS}
    names = ",".join(kind.KIND.resource for kind in NATIVE_WORKLOADS)
    found: list[NativeWorkload] = []
    for one in kubectl.items(names, "--all-namespaces", "--show-managed-fields"):
        kind = kinds.get(str(one.get("kind")))
        if kind is None:
            continue
        try:
            found.append(decode_as(kind, one))
        except InvalidObjectError as error:
            echo(f"passed over: {error}", err=True)
    return found


def _others(kubectl: KubectlRunner) -> UpdaterObjects:
    served = set(kubectl.ask("api-resources", "--output=name", "--cached=false").split())

    def items(kind: str) -> Sequence[dict[str, Any]]:
        return kubectl.items(kind, "--all-namespaces") if kind in served else ()

    return UpdaterObjects(items(_APPLICATIONS), items(_POLICIES), items(_REPOSITORIES))


def _show(plan: ClusterAdoption) -> None:
    if not plan.containers:
        echo("no workload has a rule of Keel, Flux or Argo CD Image Updater that sets its image")
    else:
        _show_containers(plan)
    for warning in plan.warnings:
        echo(f"! {warning}")


def _show_containers(plan: ClusterAdoption) -> None:
    rows = [("WORKLOAD", "CONTAINER", "IMAGE", "SET BY", "WOULD FOLLOW", "SELECTION")]
    rows += [
        (
            f"{one.workload.KIND.kind} {one.workload.namespace}/{one.workload.name}",
            one.name,
            one.image,
            ", ".join(rule.updater for rule in one.rules),
            one.tag or "<none>",
            next((rule.selection for rule in one.rules if rule.selection), "") or "<none>",
        )
        for one in plan.containers
    ]
    for line in aligned(rows):
        echo(line)
