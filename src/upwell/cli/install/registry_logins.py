"""Check of an installation: the server's logins at the external registry that its settings name."""

from upwell.cli.install.installation import REGISTRY_LOGINS, ClusterInstallation
from upwell.cli.install.installed_settings import filled_keys, installed_table
from upwell.cli.install.kubectl import KubectlRunner
from upwell.machine.checks import HostCheck, HostCheckStatus

_NAME = "registry logins"
_KEY = ".dockerconfigjson"


def check_registry_logins(
    kubectl: KubectlRunner, installation: ClusterInstallation
) -> HostCheck | None:
    """Return whether the Secret has logins; None: no installation, or no external registry.

    Asks for the names of its keys alone. Raises CommandError.
    """
    namespace = installation.namespace
    prefix = str(installed_table(kubectl, namespace, "external-registry").get("prefix") or "")
    if not prefix:
        return None
    if _KEY in filled_keys(kubectl, namespace, REGISTRY_LOGINS):
        detail = f"{prefix}: Secret {REGISTRY_LOGINS} has logins"
        return HostCheck(_NAME, HostCheckStatus.OK, detail)
    detail = (
        f"{prefix}: no Secret {REGISTRY_LOGINS} has a {_KEY}, so servers have no login there, and"
        " read and write what it lets anybody"
    )
    host = prefix.partition("/")[0]
    step = (
        f"kubectl -n {namespace} create secret docker-registry {REGISTRY_LOGINS}"
        f" --docker-server={host} --docker-username=… --docker-password=…"
    )
    return HostCheck(_NAME, HostCheckStatus.WARN, detail, step)
