"""`upwell uninstall kubernetes`."""

import sys
from collections.abc import Sequence
from pathlib import Path

import click

from upwell.api.coordination.replicas import KEYS_SECRET
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo
from upwell.cli.install.installed import (
    DEFINITIONS,
    OURS,
    refuse_another_namespace,
    remove_rights,
)
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.options import cluster_options


@click.group(no_args_is_help=True, epilog=examples("upwell uninstall kubernetes"))
def uninstall() -> None:
    """Remove the server from a cluster."""


@uninstall.command(
    "kubernetes",
    epilog=examples(
        "upwell uninstall kubernetes", "upwell uninstall kubernetes --delete-objects --yes"
    ),
)
@cluster_options
@click.option(
    "--delete-objects",
    is_flag=True,
    help="Delete the definitions too, with all ImageStreams, Builds, Pipelines and so on.",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
def uninstall_kubernetes(
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    delete_objects: bool,  # noqa: FBT001 - click passes options by name
    yes: bool,  # noqa: FBT001 - the same
) -> None:
    """Delete what `upwell install kubernetes` applied; objects stay unless they are named.

    Workloads run on: their images are no longer changed. With the objects stay the keys of the
    server, by which the next one verifies what this one has signed, and the events on their way.
    """
    kubectl = KubectlRunner(kubeconfig, context)
    refuse_another_namespace(kubectl, namespace)
    remove_rights(kubectl)
    if kubectl.items("namespace", namespace):
        inside = "deployments,services,configmaps,poddisruptionbudgets,networkpolicies"
        deleted = kubectl.ask(*("delete", f"{inside},serviceaccounts", "-n", namespace, "-l", OURS))
        echo(deleted.strip())
    if delete_objects:
        _delete_objects(kubectl, namespace, is_confirmed=yes)
    else:
        echo(
            "The definitions and all objects are kept: --delete-objects deletes them too", err=True
        )
    _delete_namespace(kubectl, namespace)


def _delete_namespace(kubectl: KubectlRunner, namespace: str) -> None:
    """Delete the namespace, unless it is somebody else's, or holds what the next server needs."""
    has_keys = bool(kubectl.items("secret", KEYS_SECRET, "-n", namespace))
    if has_keys:
        echo(
            f"Secret {namespace}/{KEYS_SECRET} is kept: by it the next server verifies what this"
            " one has signed; --delete-objects deletes it too",
            err=True,
        )
    if not kubectl.items("namespace", "-l", OURS, f"--field-selector=metadata.name={namespace}"):
        return
    if claims := kubectl.items("persistentvolumeclaims", "-n", namespace):
        names = ", ".join(one["metadata"]["name"] for one in claims)
        echo(f"namespace {namespace} is kept: it has data in claims ({names})", err=True)
    elif not has_keys:
        echo(kubectl.ask("delete", "namespace", namespace).strip())


def _delete_objects(kubectl: KubectlRunner, namespace: str, *, is_confirmed: bool) -> None:
    """Delete the definitions, and what replicas of the server have shared; asks first."""
    found = [one["metadata"]["name"] for one in kubectl.items(DEFINITIONS, "-l", OURS)]
    shared = _shared_secrets(kubectl, namespace)
    if not found and not shared:
        return
    counts = {name: len(kubectl.items(name, "-A")) for name in sorted(found)}
    counts["secrets of the server"] = len(shared)
    for name, count in counts.items():
        if count:
            echo(f"{count:6} {name}", err=True)
    if KEYS_SECRET in shared:
        echo(f"With Secret {KEYS_SECRET}, nobody verifies what it has signed", err=True)
    total = sum(counts.values())
    if not is_confirmed:
        if not sys.stdin.isatty():
            raise CommandError(
                f"{total} objects would be deleted: add --yes to delete them", Exit.USAGE
            )
        click.confirm(f"Delete these {total} objects for ever?", abort=True, err=True)
    if found:
        names = [f"{DEFINITIONS}/{name}" for name in found]
        echo(kubectl.ask("delete", *names).strip())
    if shared:
        echo(kubectl.ask("delete", "secrets", *shared, "-n", namespace).strip())


def _shared_secrets(kubectl: KubectlRunner, namespace: str) -> Sequence[str]:
    """Return the names of the Secrets that replicas share: keys, events, the authority.

    Somebody may have made that with the keys, of files of another server.
    """
    of_server = kubectl.items("secrets", "-n", namespace, "-l", OURS)
    found = [*of_server, *kubectl.items("secret", KEYS_SECRET, "-n", namespace)]
    return sorted({one["metadata"]["name"] for one in found})
