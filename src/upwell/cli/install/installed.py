"""Objects of an installation that are on a cluster already: whose they are, and their removal."""

from collections.abc import Sequence

from upwell.cli.core.errors import CommandError
from upwell.cli.core.terminal import echo
from upwell.cli.install.installation import NAME, PART_OF
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.manifests import CLUSTER_BINDING, Manifest

OURS = f"{PART_OF}={NAME}"
"""Selects what an installation has made, and its server."""
DEFINITIONS = "customresourcedefinitions.apiextensions.k8s.io"
_WEBHOOKS = ("mutatingwebhookconfigurations", "validatingwebhookconfigurations")


def refuse_another_namespace(kubectl: KubectlRunner, namespace: str) -> bool:
    """Raise CommandError if the rights on the cluster are a server's in another namespace.

    Return True if they are those of one in this.
    """
    found = kubectl.items("clusterrolebindings", CLUSTER_BINDING)
    for binding in found:
        others = {one.get("namespace", "") for one in binding.get("subjects") or ()} - {namespace}
        if others:
            there = min(others)
            raise CommandError(
                f"Upwell is installed in namespace {there}, and would lose its rights: there is one"
                f" set of them on a cluster. Nothing was changed; say --namespace {there}, or first"
                f" `upwell uninstall kubernetes --namespace {there}`"
            )
    return bool(found)


def remove_rights(kubectl: KubectlRunner, kept: Sequence[Manifest] = ()) -> None:
    """Delete what belongs to no namespace, and bindings, of ours that are not among `kept`.

    An earlier choice had more. The webhooks go first: nobody answers them any more.
    """
    known = {_identity(one) for one in kept}
    for kind in (*_WEBHOOKS, "clusterrolebindings", "rolebindings", "clusterroles", "roles"):
        for found in kubectl.items(kind, "-A", "-l", OURS):
            if _identity(found) not in known:
                metadata = found["metadata"]
                place = ["-n", metadata["namespace"]] if "namespace" in metadata else []
                echo(kubectl.ask("delete", kind, metadata["name"], *place).strip())


def _identity(manifest: Manifest) -> tuple[str, str, str]:
    metadata = manifest["metadata"]
    return manifest["kind"], metadata.get("namespace", ""), metadata["name"]
