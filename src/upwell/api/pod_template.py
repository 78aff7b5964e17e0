"""Templates of Pods (core/v1): containers, their environment and probes, and volumes."""

from typing import Any

from pydantic import Field

from upwell.api.meta import KeptText, LocalReference, Model, Seconds


class KeySelector(Model):
    """One key of a Secret or ConfigMap."""

    name: str = ""
    key: str
    optional: bool | None = None


class FieldSelector(Model):
    """A field of the object itself (downward API)."""

    field_path: str
    api_version: str = "v1"


class EnvVarSource(Model):
    """Source of a variable's value."""

    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: FieldSelector | None = None


class EnvVar(Model):
    """An environment variable."""

    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvSource(Model):
    """A Secret or ConfigMap whose name is needed, or is optional."""

    name: str = ""
    optional: bool | None = None


class EnvFromSource(Model):
    """Variables from every key of a Secret or ConfigMap."""

    prefix: str = ""
    config_map_ref: EnvSource | None = None
    secret_ref: EnvSource | None = None


class ContainerPort(Model):
    """A port that a container listens on."""

    container_port: int = Field(ge=1, le=65535)
    name: str = ""
    protocol: str = "TCP"
    host_port: int | None = Field(default=None, ge=0, le=65535)
    host_ip: str | None = Field(default=None, alias="hostIP")


class HttpHeader(Model):
    """A header of a probe's request."""

    name: str
    value: str = ""


class HttpGetAction(Model):
    """A probe's request; `port` is a number or a container port's name."""

    port: int | str
    path: str = "/"
    scheme: str = "HTTP"
    http_headers: tuple[HttpHeader, ...] = ()


class TcpSocketAction(Model):
    """A probe's connection."""

    port: int | str


class ExecAction(Model):
    """A probe's command."""

    command: tuple[str, ...] = ()


class SleepAction(Model):
    """A pause."""

    seconds: Seconds = Field(ge=0)


class LifecycleHandler(Model):
    """Action at a moment of a container's life; one of these."""

    exec: ExecAction | None = None
    http_get: HttpGetAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(Model):
    """Actions after a container's start and before its stop."""

    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Probe(Model):
    """Probe of a container; seconds."""

    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    exec: ExecAction | None = None
    initial_delay_seconds: Seconds = 0
    period_seconds: Seconds = 10
    timeout_seconds: Seconds = 1
    success_threshold: int = 1
    failure_threshold: int = 3


class ResourceRequirements(Model):
    """Quantities such as `500m` or `256Mi`."""

    limits: dict[str, str | int | float] = Field(default_factory=dict)
    requests: dict[str, str | int | float] = Field(default_factory=dict)


class VolumeMount(Model):
    """A volume in a container."""

    name: str
    mount_path: str
    read_only: bool | None = None
    sub_path: str | None = None


class Container(Model):
    """A container of a Pod template."""

    name: str
    image: str = ""
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    env: tuple[EnvVar, ...] = ()
    env_from: tuple[EnvFromSource, ...] = ()
    ports: tuple[ContainerPort, ...] = ()
    working_dir: str | None = None
    volume_mounts: tuple[VolumeMount, ...] = ()
    readiness_probe: Probe | None = None
    liveness_probe: Probe | None = None
    startup_probe: Probe | None = None
    resources: ResourceRequirements | None = None
    image_pull_policy: str | None = None
    security_context: dict[str, Any] | None = None
    lifecycle: Lifecycle | None = None
    stdin: Any = None
    """True keeps the input open for whoever attaches; earlier versions kept whatever was there."""
    tty: Any = None
    """True gives it a terminal; earlier versions kept whatever was there."""
    restart_policy: str | None = None
    """"Always" makes an init container one that serves beside the others (a sidecar)."""
    termination_message_path: KeptText = "/dev/termination-log"
    termination_message_policy: KeptText = "File"


DEFAULT_FILE_MODE = 0o644


class KeyToPath(Model):
    """A key of a Secret or ConfigMap as a file."""

    key: str
    path: str
    mode: int | None = None


class SecretVolume(Model):
    """A Secret as files."""

    secret_name: str
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None
    default_mode: int = DEFAULT_FILE_MODE


class ProjectedObject(Model):
    """A Secret or ConfigMap as files in a folder of several sources."""

    name: str = ""
    items: tuple[KeyToPath, ...] = ()
    optional: bool | None = None


class ConfigMapVolume(ProjectedObject):
    """A ConfigMap as files."""

    default_mode: int = DEFAULT_FILE_MODE


class DownwardFile(Model):
    """A field of the object itself as a file."""

    path: str = ""
    field_ref: FieldSelector | None = None
    mode: int | None = None


class ProjectedFields(Model):
    """Fields of the object itself as files in a folder of several sources."""

    items: tuple[DownwardFile, ...] = ()


class DownwardVolume(ProjectedFields):
    """Fields of the object itself as files (downward API)."""

    default_mode: int = DEFAULT_FILE_MODE


class TokenProjection(Model):
    """A token of the instance's ServiceAccount as a file."""

    path: str = ""
    audience: str = ""
    """Receiver; empty: the API."""
    expiration_seconds: Seconds = 3600


class ProjectedSource(Model):
    """One of the sources of a projected volume."""

    secret: ProjectedObject | None = None
    config_map: ProjectedObject | None = None
    downward_api: ProjectedFields | None = Field(default=None, alias="downwardAPI")
    service_account_token: TokenProjection | None = None


class ProjectedVolume(Model):
    """Files of several sources in one folder."""

    sources: tuple[ProjectedSource, ...] = ()
    default_mode: int = DEFAULT_FILE_MODE


class ClaimVolume(Model):
    """A folder that outlives instances, by its name."""

    claim_name: str
    read_only: bool | None = None


class HostPathVolume(Model):
    """A path of the host."""

    path: str
    type: str = ""


class Volume(Model):
    """A volume of a Pod template."""

    name: str
    empty_dir: dict[str, Any] | None = None
    host_path: HostPathVolume | None = None
    secret: SecretVolume | None = None
    config_map: ConfigMapVolume | None = None
    downward_api: DownwardVolume | None = Field(default=None, alias="downwardAPI")
    projected: ProjectedVolume | None = None
    persistent_volume_claim: ClaimVolume | None = None


class PodSpec(Model):
    """Containers and volumes of an instance."""

    containers: tuple[Container, ...] = ()
    init_containers: tuple[Container, ...] = ()
    volumes: tuple[Volume, ...] = ()
    restart_policy: str = "Always"
    termination_grace_period_seconds: Seconds = 30
    image_pull_secrets: tuple[LocalReference, ...] = ()
    service_account_name: str | None = None
    automount_service_account_token: Any = None
    """True or false; earlier versions kept whatever was there."""
    host_network: bool | None = None
    host_users: Any = None
    """True or false; earlier versions kept whatever was there."""
    security_context: dict[str, Any] | None = None
    dns_policy: KeptText = "ClusterFirst"
    scheduler_name: KeptText = "default-scheduler"


class PodTemplateMeta(Model):
    """Labels and annotations of each instance."""

    name: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class PodTemplate(Model):
    """The template that instances are made from."""

    metadata: PodTemplateMeta = Field(default_factory=PodTemplateMeta)
    spec: PodSpec = Field(default_factory=PodSpec)
