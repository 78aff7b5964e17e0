"""The table [kubernetes] of the configuration file: the cluster that the server keeps current."""

import re
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, FilePath

_LABEL = re.compile(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?")


class ServerPlatform(StrEnum):
    """Place of the objects, which says what runs workloads."""

    MACHINE = "machine"
    KUBERNETES = "kubernetes"


def _label(value: Any) -> str:
    if not isinstance(value, str) or not _LABEL.fullmatch(value):
        raise ValueError("not a name")
    return value


_NAME = AllowedValues("a name of lower-case letters, digits and -, at most 63", blank=True)
_Name = Annotated[str, BeforeValidator(_label), _NAME]


class KubernetesSettings(SettingsTable):
    """The cluster of `upwell serve --on kubernetes`."""

    kubeconfig: FilePath | None = None
    """The file with the access to the cluster; without one, the Pod's service account;
    `--kubeconfig` comes first."""
    namespaces: Annotated[
        tuple[_Name, ...], Field(strict=False), AllowedValues("a list of namespaces")
    ] = ()
    """The namespaces that are kept current; without any, all are."""
    lease_namespace: Annotated[str, AllowedValues("a namespace", blank=True)] = ""
    """The namespace of the Lease by which replicas elect a leader; without one, that of the Pod,
    or of the kubeconfig's context."""
    lease_name: _Name = "upwell"
    """The name of that Lease: the same for all replicas of one Upwell."""

    def at(self, kubeconfig: Path | None) -> Self:
        """Return the settings with another kubeconfig, if one is given."""
        if kubeconfig is None:
            return self
        return self.model_copy(update={"kubeconfig": kubeconfig.absolute()})
