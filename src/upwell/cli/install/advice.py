"""Advice of `upwell install kubernetes`: what an installation still needs."""

from collections.abc import Mapping
from typing import Any

from upwell.cli.core.terminal import echo
from upwell.cli.install.bucket_secret import check_bucket_secret
from upwell.cli.install.installation import ClusterInstallation
from upwell.cli.install.kubectl import KubectlRunner
from upwell.cli.install.registry_logins import check_registry_logins
from upwell.machine.checks import HostCheckStatus


def tell_what_does_not_last(installation: ClusterInstallation) -> None:
    """Print what replicas do not share, and what ends with a Pod."""
    settings = installation.settings
    is_shared = installation.external_registry or _has_bucket(settings)
    if installation.replicas != 1 and not is_shared:
        echo(
            "Each replica has a registry of its own, and a push reaches one of them: with more than"
            " one replica, name an --external-registry, or a bucket in the --settings"
            " (`upwell help registry-storage`)",
            err=True,
        )
    is_kept = installation.data_volume is not None or is_shared
    if not (is_kept or _exports_audit_log(settings)):
        # A claim serves one server.
        claim = "a --data-claim, " if installation.replicas == 1 else ""
        echo(
            f"The audit log of each server ends with its Pod: name {claim}an"
            " --external-registry, or an export in the --settings ([audit] export; `upwell help"
            " audit`)",
            err=True,
        )


def tell_missing_secrets(kubectl: KubectlRunner, installation: ClusterInstallation) -> None:
    """Print which Secrets an installation that was applied still lacks; raises CommandError."""
    found = check_bucket_secret(kubectl, installation)
    if found is not None and found.status is HostCheckStatus.FAIL:
        echo(f"\nServers do not start yet: {found.detail}\n  {found.remedy}", err=True)
    logins = check_registry_logins(kubectl, installation)
    if logins is not None and logins.status is not HostCheckStatus.OK:
        echo(f"\nRegistry {logins.detail}\n  {logins.remedy}", err=True)


def _has_bucket(settings: Mapping[str, Any]) -> bool:
    table = settings.get("embedded-registry")
    return isinstance(table, dict) and "bucket" in table


def _exports_audit_log(settings: Mapping[str, Any]) -> bool:
    table = settings.get("audit")
    return isinstance(table, dict) and bool(table.get("export"))
