"""The table [kubernetes] of the configuration file: the cluster that the server keeps current."""

import re
from collections.abc import Mapping
from contextlib import suppress
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field

from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.builder.interface import BuildPrivilege
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, FilePath

_HOST_AND_PORT = re.compile(r"(?:[A-Za-z0-9.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
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


def _gateway(value: Any) -> str:
    namespace, _, name = value.partition("/") if isinstance(value, str) else ("", "", "")
    if not (_LABEL.fullmatch(namespace) and _LABEL.fullmatch(name)):
        raise ValueError("not NAMESPACE/NAME")
    return str(value)


def _replica_address(value: Any) -> str:
    """Return HOST or HOST:PORT, with brackets around an address of IPv6."""
    text = value if isinstance(value, str) else ""
    with suppress(ValueError):
        return f"[{text}]" if ip_address(text).version == 6 else text  # noqa: PLR2004 - IPv6
    if not text or _HOST_AND_PORT.fullmatch(text) is None:
        raise ValueError("not HOST or HOST:PORT")
    return text


def _quantity(value: Any) -> str:
    try:
        parse_quantity(value if isinstance(value, str) else "")
    except InvalidQuantityError as error:
        raise ValueError(str(error)) from error
    return str(value)


_QUANTITY = AllowedValues("a quantity such as 500m or 2Gi", blank=True)
_Quantity = Annotated[str, BeforeValidator(_quantity), _QUANTITY]
_Text = Annotated[str, AllowedValues("a text", blank=True)]


class PullPolicy(StrEnum):
    """Times at which a node pulls an image (core/v1 PullPolicy)."""

    ALWAYS = "Always"
    IF_NOT_PRESENT = "IfNotPresent"
    NEVER = "Never"


class TaintEffect(StrEnum):
    """Effects of the taints of a node (core/v1 TaintEffect)."""

    NO_SCHEDULE = "NoSchedule"
    PREFER_NO_SCHEDULE = "PreferNoSchedule"
    NO_EXECUTE = "NoExecute"


class TolerationOperator(StrEnum):
    """Relations of a toleration's key to its value (core/v1 TolerationOperator)."""

    EQUAL = "Equal"
    EXISTS = "Exists"


class TolerationSettings(SettingsTable):
    """A taint of nodes that builds bear (core/v1 Toleration)."""

    key: _Text = ""
    """The key of the taint; without one, with `operator = "Exists"`, every taint."""
    operator: Annotated[
        TolerationOperator,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(TolerationOperator)}"),
    ] = TolerationOperator.EQUAL
    """The relation of the key to the value."""
    value: _Text = ""
    """The value of the taint."""
    effect: Annotated[
        TaintEffect | None,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(TaintEffect)}", blank=True),
    ] = None
    """The effect of the taint; without one, every effect."""

    @property
    def document(self) -> Mapping[str, str]:
        """It as a Pod has it."""
        fields = {
            "key": self.key,
            "operator": str(self.operator),
            "value": self.value,
            "effect": str(self.effect or ""),
        }
        return {name: text for name, text in fields.items() if text}


class KubernetesBuildSettings(SettingsTable):
    """Builds as Pods of the cluster (docs/kubernetes.md)."""

    image: _Text = ""
    """The image of this very version of Upwell, which the Pods run; without one, the server builds
    by itself, with the Buildah of its machine."""
    privilege: Annotated[
        BuildPrivilege,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(BuildPrivilege)}"),
    ] = BuildPrivilege.ROOTLESS
    """The privilege of the Pods: the least one with which the nodes let them build."""
    pull_secrets: Annotated[
        tuple[Annotated[str, AllowedValues("a name")], ...],
        Field(strict=False),
        AllowedValues("a list of names of Secrets"),
    ] = ()
    """Secrets by which nodes pull `image`; they are in each namespace with builds."""
    pull_policy: Annotated[
        PullPolicy | None,
        Field(strict=False),
        AllowedValues(f"one of {', '.join(PullPolicy)}", blank=True),
    ] = None
    """The times at which nodes pull `image`; without it, as the cluster does by itself."""
    service_account: _Text = ""
    """The ServiceAccount of builds whose BuildConfig names none; without it, `default`."""
    node_selector: Annotated[
        dict[str, Annotated[str, AllowedValues("a text")]],
        AllowedValues("a table of labels"),
    ] = {}  # noqa: RUF012 - pydantic copies it
    """Labels of the nodes that build, besides those that a BuildConfig asks for."""
    tolerations: Annotated[
        tuple[TolerationSettings, ...], Field(strict=False), AllowedValues("a list of tables")
    ] = ()
    """The taints of nodes that builds bear."""
    requests: Annotated[dict[str, _Quantity], AllowedValues("a table of quantities")] = {}  # noqa: RUF012 - pydantic copies it
    """Resources that are kept free for a build whose BuildConfig states none."""
    storage: _Quantity = ""
    """The room that a build may take on the disk of its node; without it, as the limits of the
    namespace say."""
    cache_claim: _Text = ""
    """The PersistentVolumeClaim, in each namespace with builds, that keeps pulled images, steps and
    caches from one build of a BuildConfig to its next; without it nothing is kept, and builds of a
    namespace without that claim do without."""


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
    admission_port: Annotated[
        int | None, Field(ge=1, le=65535), AllowedValues("a port", blank=True)
    ] = None
    """The port at which the cluster asks about writes of Upwell's kinds, beside that of `--listen`;
    without one it cannot, and nobody is known to stand for an object."""
    replica_address: Annotated[
        str, BeforeValidator(_replica_address), AllowedValues("HOST or HOST:PORT", blank=True)
    ] = ""
    """The address at which other replicas reach this one, as the address of its Pod;
    `--replica-address` comes first, and without one it is that of `--listen`."""
    gateway: Annotated[
        str, BeforeValidator(_gateway), AllowedValues("NAMESPACE/NAME of a Gateway", blank=True)
    ] = ""
    """The Gateway (Gateway API) that serves Routes; without one, the default IngressClass does, or
    the only one, or where there is none the only Gateway."""
    builds: KubernetesBuildSettings = KubernetesBuildSettings()

    def at(self, kubeconfig: Path | None, replica_address: str = "") -> Self:
        """Return the settings with another kubeconfig and address, if these are given.

        Raises ValueError for an address that is none.
        """
        changes: dict[str, Any] = {}
        if kubeconfig is not None:
            changes["kubeconfig"] = kubeconfig.absolute()
        if replica_address:
            changes["replica_address"] = _replica_address(replica_address)
        return self.model_copy(update=changes)
