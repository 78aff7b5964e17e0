"""`upwell install kubernetes`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from upwell.api.schemas.crds import custom_kinds
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.terminal import echo, write_text
from upwell.cli.install.advice import (
    tell_missing_secrets,
    tell_what_does_not_last,
)
from upwell.cli.install.extra_settings import read_settings
from upwell.cli.install.files import yaml_of
from upwell.cli.install.installation import (
    NAME,
    REGISTRY_LOGINS,
    ClusterInstallation,
    Feature,
)
from upwell.cli.install.installed import DEFINITIONS, refuse_another_namespace, remove_rights
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.manifests import Manifest, manifests
from upwell.cli.install.options import (
    IMAGE,
    NAMESPACE,
    OBJECT_NAME,
    REGISTRY,
    REGISTRY_PREFIX,
    KubernetesVersion,
    cluster_options,
)
from upwell.cli.install.system_namespace import refuse_foreign_system_namespace
from upwell.policy.access.roles import SYSTEM_NAMESPACE

_BUDGETS = "policy/v1"
_BUDGETS_BEFORE = "policy/v1beta1"
_BUDGETS_SINCE = (1, 21)
"""Version of Kubernetes that has the first of the two (deprecation guide, 1.25)."""
_ADMISSION = "admission"


@click.group(no_args_is_help=True, epilog=examples("upwell install kubernetes --dry-run"))
def install() -> None:
    """Install the server on a cluster."""


@install.command(
    "kubernetes",
    epilog=examples(
        "upwell install kubernetes --image registry.example/upwell:0.1.0",
        "upwell install kubernetes --dry-run --kube-version 1.20 > upwell.yaml",
        "upwell install kubernetes --watch-namespace dev --watch-namespace prod --without builds",
    ),
)
@cluster_options
@click.option(
    "--image",
    type=IMAGE,
    metavar="IMAGE",
    default=ClusterInstallation().image,
    show_default=True,
    help="Image of the server (docs/kubernetes.md: how to make and push it).",
)
@click.option(
    "--replicas", type=click.IntRange(min=1), default=1, show_default=True, help="Servers."
)
@click.option(
    "--watch-namespace",
    "namespaces",
    type=NAMESPACE,
    multiple=True,
    metavar="NAMESPACE",
    help="Namespace that Upwell works and has rights in; repeatable.  [default: all]",
)
@click.option(
    "--without",
    "left_out",
    multiple=True,
    type=click.Choice([*(feature.value for feature in Feature), _ADMISSION]),
    help="Feature that is left out, with its rights; repeatable.  [default: none]",
)
@click.option(
    "--data-claim",
    type=OBJECT_NAME,
    default="",
    metavar="NAME",
    help="PersistentVolumeClaim with the data folder.  [default: none, it ends with the Pod]",
)
@click.option(
    "--external-registry",
    type=REGISTRY_PREFIX,
    default="",
    metavar="HOST[:PORT][/PATH]",
    help=f"Registry for the images of builds, with logins in Secret {REGISTRY_LOGINS}."
    "  [default: the server's own]",
)
@click.option(
    "--registry-address",
    type=REGISTRY,
    default="",
    metavar="HOST[:PORT]",
    help="Name by which nodes and builds reach the server's registry.  [default: the Service's]",
)
@click.option(
    "--settings",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    default=None,
    metavar="FILE",
    help="File with further settings, as of `upwell serve --config`.  [default: none]",
)
@click.option(
    "--tls-secret",
    type=OBJECT_NAME,
    default="",
    metavar="NAME",
    help="Secret with the server's certificate.  [default: each server makes one]",
)
@click.option(
    "--take-system-namespace",
    is_flag=True,
    help=f"Take over namespace {SYSTEM_NAMESPACE} with the tokens that are there.",
)
@click.option(
    "--force-conflicts",
    is_flag=True,
    help="Take over fields that somebody else has changed, such as replicas.",
)
@click.option(
    "--dry-run",
    is_flag=False,
    flag_value="client",
    default="none",
    show_default=True,
    type=click.Choice(["none", "client", "server"]),
    help="Print the manifests (client), or have the cluster check them (server).",
)
@click.option(
    "--kube-version",
    type=KubernetesVersion(),
    default=None,
    show_default="1.21 or newer",
    metavar="VERSION",
    help="Version of Kubernetes that --dry-run prints the manifests for.",
)
def install_kubernetes(  # noqa: PLR0913, PLR0917 - each option is a parameter
    kubeconfig: Path | None,
    context: str,
    namespace: str,
    image: str,
    replicas: int,
    namespaces: tuple[str, ...],
    left_out: tuple[str, ...],
    data_claim: str,
    external_registry: str,
    registry_address: str,
    settings: Path | None,
    tls_secret: str,
    take_system_namespace: bool,  # noqa: FBT001 - click passes options by name
    force_conflicts: bool,  # noqa: FBT001 - click passes options by name
    dry_run: str,
    kube_version: tuple[int, int] | None,
) -> None:
    """Apply what the server needs on a cluster, by kubectl; again to upgrade it.

    Definitions of the kinds, rights for each feature, and a Deployment of the server.
    """
    if external_registry and registry_address:
        raise CommandError(
            "--external-registry and --registry-address: name one of them, as images of builds lie"
            " in one registry",
            Exit.USAGE,
        )
    more_settings = {} if settings is None else read_settings(settings)
    kubectl = KubectlRunner(kubeconfig, context)
    asks = dry_run != "client"
    if asks and kube_version is not None:
        raise CommandError("--kube-version is for --dry-run: the cluster is asked", Exit.USAGE)
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": data_claim}}
    installation = ClusterInstallation(
        namespace=namespace,
        image=image,
        replicas=replicas,
        features=frozenset(one for one in Feature if one.value not in left_out),
        admission=_ADMISSION not in left_out,
        namespaces=namespaces,
        external_registry=external_registry,
        registry_address=registry_address,
        settings=more_settings,
        data_volume=volume if data_claim else None,
        tls_secret=tls_secret,
        budget_version=_served_budgets(kubectl) if asks else _budgets_of(kube_version),
    )
    tell_what_does_not_last(installation)
    parts = manifests(installation)
    if not asks:
        if kube_version is None:
            echo("for Kubernetes 1.21 and newer: --kube-version names an older one", err=True)
        write_text(yaml_of(one for objects in parts.values() for one in objects))
        return
    _refuse_foreign_groups(kubectl)
    is_installed = refuse_another_namespace(kubectl, namespace)
    if not take_system_namespace:
        refuse_foreign_system_namespace(kubectl, is_installed=is_installed)
    applying = _Applying(kubectl, installation, dry_run == "server", force_conflicts)
    applying.apply(parts)


def _served_budgets(kubectl: KubectlRunner) -> str:
    served = kubectl.ask("api-versions").split()
    return _BUDGETS if _BUDGETS in served else _BUDGETS_BEFORE


def _budgets_of(version: tuple[int, int] | None) -> str:
    return _BUDGETS if version is None or version >= _BUDGETS_SINCE else _BUDGETS_BEFORE


def _refuse_foreign_groups(kubectl: KubectlRunner) -> None:
    """Raise CommandError if other API servers, as OpenShift's, serve kinds of ours."""
    ours = {f"{kind.KIND.version}.{kind.KIND.group}" for kind in custom_kinds()}
    foreign = [
        one["metadata"]["name"]
        for one in kubectl.items("apiservices.apiregistration.k8s.io")
        if one["metadata"]["name"] in ours and one["spec"].get("service")
    ]
    if foreign:
        raise CommandError(
            f"the cluster has an API server of its own for {', '.join(sorted(foreign))}, as"
            " OpenShift does: two owners of one kind would fight. Nothing was changed; let Upwell"
            " run on one machine, or on a cluster of its own"
        )


@dataclass(frozen=True, slots=True)
class _Applying:
    """One call of the command, against one cluster."""

    kubectl: KubectlRunner
    installation: ClusterInstallation
    dry_run: bool
    force: bool

    def apply(self, parts: Mapping[str, Sequence[Manifest]]) -> None:
        """Apply part by part; what is in a namespace cannot be checked before there is one."""
        unchecked = self._missing_namespaces(parts) if self.dry_run else ()
        for name, objects in parts.items():
            is_definition = name == "definitions"
            chosen = [one for one in objects if _namespace_of(one) not in unchecked]
            if not chosen:
                continue
            # Definitions are ours alone, whatever they were created by.
            force = self.force or is_definition
            for line in self.kubectl.apply(yaml_of(chosen), dry_run=self.dry_run, force=force):
                echo(line)
            if is_definition and not self.dry_run:
                established = ("--for=condition=Established", "--timeout=120s")
                self.kubectl.ask("wait", *_named(objects), *established)
        for namespace in unchecked:
            echo(f"not checked: what is in namespace {namespace}, which does not exist", err=True)
        if not self.dry_run:
            remove_rights(self.kubectl, [one for objects in parts.values() for one in objects])
            tell_missing_secrets(self.kubectl, self.installation)
            echo(
                "\nWait until it serves:\n"
                f"  kubectl -n {self.installation.namespace} rollout status deployment/{NAME}",
                err=True,
            )

    def _missing_namespaces(self, parts: Mapping[str, Sequence[Manifest]]) -> Sequence[str]:
        """Return the namespaces of these objects that the cluster does not have."""
        named = {_namespace_of(one) for objects in parts.values() for one in objects} - {""}
        return [one for one in sorted(named) if not self.kubectl.items("namespace", one)]


def _namespace_of(manifest: Manifest) -> str:
    return str(manifest["metadata"].get("namespace", ""))


def _named(objects: Sequence[Manifest]) -> list[str]:
    return [f"{DEFINITIONS}/{one['metadata']['name']}" for one in objects]
