"""From the restrictions of a container to the fields of Podman's "create" request.

Podman's own defaults stay in force: its seccomp profile, and the masked paths of /proc and /sys.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any

from upwell.api.values.security_context import ContainerSecurity
from upwell.oci import Reference
from upwell.workload.errors import ForbiddenError
from upwell.workload.instance_spec import ContainerSpec, InstanceSpec
from upwell.workload.podman.users.ids import is_id

_NOT_BY_DEFAULT = ("AUDIT_WRITE", "MKNOD", "NET_RAW", "SETFCAP", "SETPCAP")
"""Capabilities that Podman and Docker grant, here or there, and that we do not. What is left is
enough to begin as root, to take an own user, and to change its files: CHOWN, DAC_OVERRIDE, FOWNER,
FSETID, KILL, NET_BIND_SERVICE, SETGID, SETUID, SYS_CHROOT."""
_ALL = "ALL"
_SHOWN = 64
"""Letters of an image's user."""
_CPU_PERIOD_MICROSECONDS = 100_000
_NETWORK_SYSCTLS = {"net.ipv4.ip_unprivileged_port_start": "0"}
"""As containerd and Docker have it: who is not root serves port 80 without any capability, which
`no new privileges` would keep an image's file capabilities from giving."""


@dataclass(frozen=True, slots=True)
class DefaultLimits:
    """Limits of each container that has none of its own; None: none."""

    memory_bytes: int | None = None
    pids: int | None = None


def confine(container: ContainerSpec, limits: DefaultLimits, *, joins: bool) -> dict[str, Any]:
    """Return the fields that restrict a container; `joins`: it has the network of another one."""
    security = container.security
    body: dict[str, Any] = {"no_new_privileges": not security.new_privileges}
    if user := _user(security):
        body["user"] = user
    if security.groups:
        body["groups"] = [str(group) for group in security.groups]
    if security.read_only_root:
        # As Kubernetes has it: /tmp and /run are read-only too, unless a volume is there.
        body |= {"read_only_filesystem": True, "read_write_tmpfs": False}
    if security.privileged:
        body["privileged"] = True
    else:
        body |= _capabilities(security)
    if security.seccomp:
        body["seccomp_profile_path"] = security.seccomp
    if security.apparmor:
        body["apparmor_profile"] = security.apparmor
    if security.selinux:
        body["selinux_opts"] = list(security.selinux)
    if security.unmasked:
        body["unmask"] = [_ALL]
    if not joins:
        body["sysctl"] = {**_NETWORK_SYSCTLS, **dict(security.sysctls)}
    if resources := _resources(container, limits):
        body["resource_limits"] = resources
    return body


def _user(security: ContainerSecurity) -> str:
    if security.user is None:
        return ""
    return f"{security.user}" if security.group is None else f"{security.user}:{security.group}"


def _capabilities(security: ContainerSecurity) -> dict[str, list[str]]:
    dropped = set(security.drop)
    # Podman refuses what is added and dropped: a name that is dropped is not added.
    added = {name for name in security.add if name not in dropped or name == _ALL}
    if _ALL in added:
        dropped.discard(_ALL)
    elif _ALL not in dropped:
        dropped |= set(_NOT_BY_DEFAULT) - added
    return {"cap_add": sorted(added), "cap_drop": sorted(dropped)}


def _resources(container: ContainerSpec, limits: DefaultLimits) -> dict[str, Any]:
    found: dict[str, Any] = {}
    memory = container.memory_bytes or limits.memory_bytes
    if memory is not None:
        found["memory"] = {"limit": memory}
    if limits.pids is not None:
        found["pids"] = {"limit": limits.pids}
    if container.cpus is not None:
        quota = max(1000, round(container.cpus * _CPU_PERIOD_MICROSECONDS))
        found["cpu"] = {"quota": quota, "period": _CPU_PERIOD_MICROSECONDS}
    return found


async def with_users(
    spec: InstanceSpec, image_user: Callable[[Reference], Awaitable[str]]
) -> InstanceSpec:
    """Return the instance with the users of its images where its restrictions depend on them.

    `image_user` returns what an image's configuration says, `user[:group]`; its images are there.
    Raises ForbiddenError for a container that must not run as root, and would or might.
    """

    async def settled(container: ContainerSpec) -> ContainerSpec:
        security = container.security
        if security.user is None and (security.non_root or security.group is not None):
            user = (await image_user(container.image)).partition(":")[0]
            if not user or is_id(user):
                security = replace(security, user=int(user or 0))
            elif security.group is not None or security.non_root:
                raise ForbiddenError(
                    f"container {container.name} of {spec.name}: its image has user"
                    f" {user[:_SHOWN]!r}, and runAsNonRoot and runAsGroup need a number: set"
                    " securityContext.runAsUser"
                )
        if security.non_root and security.user == 0:
            raise ForbiddenError(
                f"container {container.name} of {spec.name}: runAsNonRoot is true, and it would"
                " run as root: set securityContext.runAsUser, or a USER in the image"
            )
        return replace(container, security=security)

    return replace(
        spec,
        init=tuple([await settled(one) for one in spec.init]),
        containers=tuple([await settled(one) for one in spec.containers]),
    )
