"""The Pod Security Standards, and which of their controls a template is at odds with; pure.

Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/. Each control is that
of the standard, by its name; those of Windows are left out, as no such container runs.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from upwell.api.pod_template import Container, Volume
from upwell.api.values.devices import device_of
from upwell.api.values.security_context import ContainerSecurity
from upwell.policy.pod_security.templates import HOST_NAMESPACES, PlacedTemplate


class Profile(StrEnum):
    """Level of the standards, from the widest to the strictest."""

    PRIVILEGED = "privileged"
    BASELINE = "baseline"
    RESTRICTED = "restricted"


class HostRight(StrEnum):
    """Part of the host, as the resource of an action of verb `use`."""

    PATHS = "hostpaths"
    NETWORK = "hostnetwork"
    DEVICES = "devices"
    PRIVILEGED = "privileged"
    USERS = "hostusers"


@dataclass(frozen=True, slots=True)
class Violation:
    """A field that a profile forbids."""

    path: str
    message: str
    """Follows the path: `privileged containers are not allowed`."""
    right: HostRight | None = None
    """Right that allows it where a namespace names no profile; None: it has no effect here, or the
    router asks for one (`policy/access/network_rights`)."""

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


_BASELINE_CAPABILITIES = frozenset(
    {
        *("AUDIT_WRITE", "CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "KILL", "MKNOD"),
        *("NET_BIND_SERVICE", "SETFCAP", "SETGID", "SETPCAP", "SETUID", "SYS_CHROOT"),
    }
)
_RESTRICTED_CAPABILITIES = frozenset({"NET_BIND_SERVICE"})
_SELINUX_TYPES = frozenset(
    {"container_t", "container_init_t", "container_kvm_t", "container_engine_t"}
)
_SAFE_SYSCTLS = frozenset(
    {
        "kernel.shm_rmid_forced",
        "net.ipv4.ip_local_port_range",
        "net.ipv4.ip_local_reserved_ports",
        "net.ipv4.ip_unprivileged_port_start",
        "net.ipv4.ping_group_range",
        "net.ipv4.tcp_fin_timeout",
        "net.ipv4.tcp_keepalive_intvl",
        "net.ipv4.tcp_keepalive_probes",
        "net.ipv4.tcp_keepalive_time",
        "net.ipv4.tcp_rmem",
        "net.ipv4.tcp_syncookies",
        "net.ipv4.tcp_wmem",
    }
)
_DEVICE_TYPES = frozenset({"CharDevice", "BlockDevice"})
_NO_NAMESPACE = frozenset({"csi", "ephemeral", "image"})
"""Kinds of volumes that `restricted` allows besides those that are fields of Volume here."""


def violations(template: PlacedTemplate, profile: Profile) -> tuple[Violation, ...]:
    """Return what `profile` forbids of a template."""
    if profile is Profile.PRIVILEGED:
        return ()
    found = _baseline(template)
    if profile is Profile.RESTRICTED:
        return (*found, *_restricted(template))
    return tuple(found)


def host_users(template: PlacedTemplate) -> Iterator[Violation]:
    """Yield what asks for the host's user ids.

    It is none of the standards' controls, which know no default: here a user namespace is one.
    """
    if template.host_users:
        path = f"{template.spec_path}.hostUsers"
        yield Violation(path, "root of the host is not allowed", HostRight.USERS)


def uses_host(template: PlacedTemplate) -> bool:
    """Return True if a template takes a right to a part of the host."""
    return any(found.right is not None for found in violations(template, Profile.BASELINE))


def _baseline(template: PlacedTemplate) -> Iterator[Violation]:
    spec = template.template.spec
    if spec.host_network:
        yield Violation(
            f"{template.spec_path}.hostNetwork",
            "the host's network is not allowed",
            HostRight.NETWORK,
        )
    for name in HOST_NAMESPACES:
        if (spec.model_extra or {}).get(name):
            yield Violation(f"{template.spec_path}.{name}", "must be false")
    for at, volume in enumerate(spec.volumes):
        yield from _host_path(volume, f"{template.spec_path}.volumes[{at}].hostPath")
    sysctls = f"{template.spec_path}.securityContext.sysctls"
    for name in sorted({name for name, _ in template.pod.sysctls} - _SAFE_SYSCTLS):
        yield Violation(sysctls, f"{name} is not allowed", HostRight.PRIVILEGED)
    for path, container, security, _ in template.secured():
        yield from _host_ports(container, path)
        yield from _devices(container, path)
        yield from _host_rights(security, f"{path}.securityContext")


def _host_path(volume: Volume, path: str) -> Iterator[Violation]:
    if volume.host_path is None:
        return
    yield Violation(path, f"{volume.host_path.path} of the host is not allowed", HostRight.PATHS)
    if volume.host_path.type in _DEVICE_TYPES:
        message = f"{volume.host_path.path} is a device of the host"
        yield Violation(path, message, HostRight.DEVICES)


def _host_ports(container: Container, path: str) -> Iterator[Violation]:
    for at, port in enumerate(container.ports):
        if port.host_port:
            yield Violation(
                f"{path}.ports[{at}].hostPort",
                f"port {port.host_port} of the host is not allowed",
            )


def _devices(container: Container, path: str) -> Iterator[Violation]:
    """Yield the devices that Podman is asked for, which the standards know as paths alone."""
    for name in container.resources.limits if container.resources else ():
        if device := device_of(name):
            message = f"device {device} of the host is not allowed"
            yield Violation(f"{path}.resources.limits", message, HostRight.DEVICES)


def _host_rights(security: ContainerSecurity, path: str) -> Iterator[Violation]:
    forbidden = sorted(set(security.add) - _BASELINE_CAPABILITIES)
    types = [part for part in security.selinux if part.startswith("type:")]
    wrong = {
        "privileged": security.privileged and "privileged containers are not allowed",
        "capabilities.add": forbidden and f"{', '.join(forbidden)} is not allowed",
        "seccompProfile": security.seccomp == "unconfined" and "Unconfined is not allowed",
        "appArmorProfile": security.apparmor == "unconfined" and "Unconfined is not allowed",
        "procMount": security.unmasked and "Unmasked is not allowed",
        "seLinuxOptions": (
            any(part.partition(":")[2] not in _SELINUX_TYPES for part in types)
            or any(part.startswith(("user:", "role:")) for part in security.selinux)
        )
        and f"user and role must be empty, and type one of {', '.join(sorted(_SELINUX_TYPES))}",
    }
    for name, message in wrong.items():
        if message:
            yield Violation(f"{path}.{name}", message, HostRight.PRIVILEGED)


def _restricted(template: PlacedTemplate) -> Iterator[Violation]:
    yield from host_users(template)
    for at, volume in enumerate(template.template.spec.volumes):
        for name in sorted(set(volume.model_extra or {}) - _NO_NAMESPACE):
            path = f"{template.spec_path}.volumes[{at}].{name}"
            yield Violation(path, "such a volume is not allowed")
    for path, container, security, _ in template.secured():
        context = container.security_context or {}
        where = f"{path}.securityContext"
        if context.get("allowPrivilegeEscalation") is not False:
            yield Violation(f"{where}.allowPrivilegeEscalation", "must be false")
        if not security.non_root:
            yield Violation(f"{where}.runAsNonRoot", "must be true, here or for the whole Pod")
        if security.user == 0:
            yield Violation(f"{where}.runAsUser", "may not be 0")
        if not _has_profile(template, container):
            message = "type must be RuntimeDefault, here or for the whole Pod"
            yield Violation(f"{where}.seccompProfile", message)
        if "ALL" not in security.drop:
            yield Violation(f"{where}.capabilities.drop", "must contain ALL")
        if others := sorted(set(security.add) - _RESTRICTED_CAPABILITIES):
            message = f"only NET_BIND_SERVICE may be added, not {', '.join(others)}"
            yield Violation(f"{where}.capabilities.add", message)


def _has_profile(template: PlacedTemplate, container: Container) -> bool:
    """Return True if a seccomp profile is named for a container."""
    contexts = (container.security_context, template.template.spec.security_context)
    return any((context or {}).get("seccompProfile") for context in contexts)
