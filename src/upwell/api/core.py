"""Kinds of Kubernetes core/v1 but Pods: data, accounts, quotas, limits, Services, Events."""

import base64
from typing import Annotated, Any, ClassVar

from pydantic import Field

from upwell.api.columns import core, networking
from upwell.api.meta import (
    Condition,
    KeptText,
    Kind,
    LocalReference,
    Model,
    ObjectReference,
    Resource,
    Scope,
    Time,
)
from upwell.api.write_only.fields import WriteOnly


class Namespace(Resource):
    """A scope for names."""

    KIND: ClassVar[Kind] = Kind(
        "", "v1", "Namespace", "namespaces", ("ns",), Scope.CLUSTER, columns=core.NAMESPACE
    )

    spec: dict[str, Any] = Field(default_factory=dict)
    status: dict[str, Any] = Field(default_factory=dict)


class Secret(Resource):
    """Sensitive data: base64 in `data`, plain in `stringData` on the way in."""

    KIND: ClassVar[Kind] = Kind(
        "", "v1", "Secret", "secrets", has_status=False, columns=core.SECRET
    )

    type: str = "Opaque"
    data: Annotated[dict[str, str], WriteOnly()] = Field(default_factory=dict, repr=False)
    string_data: Annotated[dict[str, str], WriteOnly()] = Field(default_factory=dict, repr=False)
    immutable: bool | None = None

    @staticmethod
    def encode_values(values: dict[str, bytes]) -> dict[str, str]:
        """Return plain values as `data` holds them."""
        return {key: base64.b64encode(value).decode() for key, value in values.items()}

    def decoded(self) -> dict[str, bytes]:
        """Return the plain values."""
        return {key: base64.b64decode(text) for key, text in self.data.items()} | {
            key: text.encode() for key, text in self.string_data.items()
        }


class ConfigMap(Resource):
    """Plain data: text in `data`, base64 in `binaryData`."""

    KIND: ClassVar[Kind] = Kind(
        "", "v1", "ConfigMap", "configmaps", ("cm",), has_status=False, columns=core.CONFIG_MAP
    )

    data: dict[str, str] = Field(default_factory=dict)
    binary_data: dict[str, str] = Field(default_factory=dict)
    immutable: bool | None = None

    def decoded(self) -> dict[str, bytes]:
        """Return the values as bytes."""
        return {key: text.encode() for key, text in self.data.items()} | {
            key: base64.b64decode(text) for key, text in self.binary_data.items()
        }


BUILD_ACCOUNT, DEFAULT_ACCOUNT = "builder", "default"
"""ServiceAccounts of builds, and of instances whose template names none."""
PROJECT_ACCOUNTS = (BUILD_ACCOUNT, DEFAULT_ACCOUNT, "deployer")
"""Names of the ServiceAccounts that every namespace has, as in OpenShift."""
GRANTS_ANNOTATION = "upwell.dev/grants"
"""Of a ServiceAccount: `ROLE@NAMESPACE[,NAMESPACE…]`, several apart by spaces."""


class ServiceAccount(Resource):
    """A name for programs, which get short-lived tokens; its grants stand in an annotation."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "ServiceAccount",
        "serviceaccounts",
        ("sa",),
        has_status=False,
        columns=core.SERVICE_ACCOUNT,
    )

    secrets: tuple[ObjectReference, ...] = ()
    image_pull_secrets: tuple[LocalReference, ...] = ()
    automount_service_account_token: bool | None = None


IMAGE_STORAGE = "upwell.dev/image-storage"
"""Name by which a quota limits the bytes that its namespace has in the embedded registry."""
BUILD_STORAGE = "upwell.dev/build-storage"
"""Name by which a quota limits the bytes that all builds of its namespace take while they run."""
UPLOAD_STORAGE = "upwell.dev/upload-storage"
"""Name by which a quota limits the bytes of uploads for builds and of evidence."""


class ResourceQuotaSpec(Model):
    """Limits by the name of what is counted."""

    hard: dict[str, str | int] = Field(default_factory=dict)
    """Quantities."""


class ResourceQuotaStatus(Model):
    """Limits in force, and what is used of them."""

    hard: dict[str, str | int] = Field(default_factory=dict)
    used: dict[str, str | int] = Field(default_factory=dict)
    conditions: tuple[Condition, ...] = ()
    """Upwell's own: whether much of a limit is used."""


class ResourceQuota(Resource):
    """Limits of what a namespace holds."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "ResourceQuota",
        "resourcequotas",
        ("quota",),
        columns=core.RESOURCE_QUOTA,
    )

    spec: ResourceQuotaSpec = Field(default_factory=ResourceQuotaSpec)
    status: ResourceQuotaStatus = Field(default_factory=ResourceQuotaStatus)


type Quantity = str | int | float

CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
IMAGE, IMAGE_STREAM = "openshift.io/Image", "openshift.io/ImageStream"
STORAGE = "storage"
IMAGES, IMAGE_TAGS = "openshift.io/images", "openshift.io/image-tags"


class LimitRangeItem(Model):
    """Bounds of one type, by the name of what is bounded: `cpu`, `memory`, `storage`."""

    type: str
    max: dict[str, Quantity] = Field(default_factory=dict)
    min: dict[str, Quantity] = Field(default_factory=dict)
    default: dict[str, Quantity] = Field(default_factory=dict)
    """Limits of a container that states none."""
    default_request: dict[str, Quantity] = Field(default_factory=dict)
    max_limit_request_ratio: dict[str, Quantity] = Field(default_factory=dict)


class LimitRangeSpec(Model):
    """Bounds of several types."""

    limits: tuple[LimitRangeItem, ...] = ()


class LimitRange(Resource):
    """Defaults and bounds of what a single thing in a namespace takes."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "LimitRange",
        "limitranges",
        ("limits",),
        has_status=False,
        has_age=False,
        columns=core.LIMIT_RANGE,
    )

    spec: LimitRangeSpec = Field(default_factory=LimitRangeSpec)


class ServicePort(Model):
    """A port of a Service; `targetPort` defaults to `port`."""

    port: int = Field(ge=1, le=65535)
    name: str = ""
    protocol: str = "TCP"
    target_port: int | str | None = None
    node_port: int | None = Field(default=None, ge=0, le=65535)
    app_protocol: str | None = None


class ServiceSpec(Model):
    """Selector of the instances that answer, and the ports."""

    selector: dict[str, str] = Field(default_factory=dict)
    ports: tuple[ServicePort, ...] = ()
    cluster_ip: str | None = Field(default=None, alias="clusterIP")
    type: str = "ClusterIP"
    session_affinity: KeptText = "None"


class Service(Resource):
    """A stable address for the instances of a workload."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "Service",
        "services",
        ("svc",),
        columns=networking.SERVICE,
    )

    class Status(Model):
        """Status that the router reports."""

        conditions: tuple[Condition, ...] = ()
        places: tuple[str, ...] = ()
        """`ADDRESS:PORT` that it has: nobody else gets them while it wants them."""

    spec: ServiceSpec = Field(default_factory=ServiceSpec)
    status: Status = Field(default_factory=Status)


class Event(Resource):
    """Event of an object, for people."""

    KIND: ClassVar[Kind] = Kind(
        "",
        "v1",
        "Event",
        "events",
        ("ev",),
        has_status=False,
        has_age=False,
        has_name=False,
        columns=core.EVENT,
    )

    involved_object: ObjectReference = Field(default_factory=ObjectReference)
    reason: str = ""
    message: str = ""
    type: str = "Normal"
    count: int = 1
    first_timestamp: Time | None = None
    last_timestamp: Time | None = None
    source: dict[str, Any] = Field(default_factory=dict)
