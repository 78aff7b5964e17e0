"""securityContext of Pods and containers as one value.

Source: core/v1 PodSecurityContext and SecurityContext.

Stored objects hold it as it came. Here it becomes what is to be done, or faults with their paths:
every field is honoured or refused, and none is passed over.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_SEGMENT = r"[a-z0-9](?:[-_a-z0-9]*[a-z0-9])?"
_SYSCTL = re.compile(rf"(?:{_SEGMENT}[./])*{_SEGMENT}")
_MAX_SYSCTL = 253
_MAX_ID = 2**31 - 1
"""Kubernetes' own limit of user and group ids."""
_SECCOMP = {"RuntimeDefault": "", "Unconfined": "unconfined"}
_UNSUPPORTED_LOCALHOST = "is not supported on one machine: use RuntimeDefault"


@dataclass(frozen=True, slots=True)
class SecurityFault:
    """A field that cannot be honoured."""

    path: str
    message: str
    is_malformed: bool = False
    """True if nobody can tell what was meant; else it is known, and not done here."""


@dataclass(frozen=True, slots=True)
class ContainerSecurity:
    """Restrictions of one container: its own, and those of its Pod where it is silent.

    The defaults are those of a container that says nothing.
    """

    user: int | None = None
    """User id; None leaves it to the image."""
    group: int | None = None
    groups: tuple[int, ...] = ()
    """Further groups, fsGroup included."""
    non_root: bool = False
    """It may not run as user 0."""
    read_only_root: bool = False
    new_privileges: bool = False
    """setuid programs and file capabilities may give more rights than the start had."""
    privileged: bool = False
    add: tuple[str, ...] = ()
    """Capabilities besides those that every container has, without `CAP_`; `ALL` is every one."""
    drop: tuple[str, ...] = ()
    """Capabilities that it does not get, added or not; `ALL`: none but those that are added."""
    seccomp: str = ""
    """Empty: the runtime's own profile; or `unconfined`."""
    apparmor: str = ""
    """Empty: the runtime's own profile; `unconfined`, or a profile's name."""
    selinux: tuple[str, ...] = ()
    """Options `part:value`, in Podman's form."""
    unmasked: bool = False
    """True if nothing of /proc is hidden."""
    sysctls: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class VolumeGroup:
    """fsGroup: the group that volumes of an instance belong to."""

    group: int
    on_root_mismatch: bool = False
    """Files are left as they are when the volume's root has the group already."""


@dataclass(slots=True)
class _Reader:
    """Reads the fields of one securityContext, and notes what is wrong with them."""

    values: Mapping[str, Any]
    path: str
    faults: list[SecurityFault] = field(default_factory=list)

    def malformed(self, path: str, message: str) -> None:
        self.faults.append(SecurityFault(f"{self.path}.{path}", message, is_malformed=True))

    def unsupported(self, path: str, message: str) -> None:
        self.faults.append(SecurityFault(f"{self.path}.{path}", message))

    def flag(self, name: str) -> bool | None:
        value = self.values.get(name)
        if value is None or isinstance(value, bool):
            return value
        self.malformed(name, "expected true or false")
        return None

    def number(self, name: str) -> int | None:
        value = self.values.get(name)
        return None if value is None else self._id(value, name)

    def numbers(self, name: str) -> tuple[int, ...]:
        found = [self._id(item, f"{name}[{at}]") for at, item in enumerate(self.entries(name))]
        return tuple(item for item in found if item is not None)

    def _id(self, value: object, path: str) -> int | None:
        # Templates leave numbers as texts now and then; what they mean is plain.
        if isinstance(value, str) and value.isascii() and value.isdecimal():
            value = int(value[: _MAX_ID.bit_length()])
        if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_ID:
            return value
        self.malformed(path, f"expected a number from 0 to {_MAX_ID}")
        return None

    def entries(self, name: str) -> list[Any]:
        value = self.values.get(name)
        if value is None or isinstance(value, list | tuple):
            return list(value or ())
        self.malformed(name, "expected a list")
        return []

    def part(self, name: str) -> "_Reader | None":
        """Return a reader of an object in a field; its faults are this one's."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, Mapping):
            self.malformed(name, "expected an object")
            return None
        return _Reader(value, f"{self.path}.{name}", self.faults)

    def word(self, name: str) -> str:
        value = self.values.get(name)
        if value is None or isinstance(value, str):
            return value or ""
        self.malformed(name, "expected a string")
        return ""

    def choice(self, name: str, allowed: tuple[str, ...]) -> str:
        value = self.word(name)
        if value and value not in allowed:
            self.malformed(name, f"expected one of {', '.join(allowed)}")
            return ""
        return value

    def others(self, *known: str) -> None:
        for name in sorted(set(map(str, self.values)) - set(known)):
            self.unsupported(name, "is not known here: remove it")


_BOTH = (
    "runAsUser",
    "runAsGroup",
    "runAsNonRoot",
    "seccompProfile",
    "seLinuxOptions",
    "appArmorProfile",
    "windowsOptions",
)


@dataclass(frozen=True, slots=True)
class _Shared:
    """Fields that a Pod and a container have both; None where one is silent."""

    user: int | None
    group: int | None
    non_root: bool | None
    seccomp: str | None
    selinux: tuple[str, ...] | None
    apparmor: str | None


def _shared(reader: _Reader) -> _Shared:
    if reader.values.get("windowsOptions") is not None:
        reader.unsupported("windowsOptions", "is of no use: containers are Linux; remove it")
    return _Shared(
        reader.number("runAsUser"),
        reader.number("runAsGroup"),
        reader.flag("runAsNonRoot"),
        _seccomp(reader.part("seccompProfile")),
        _selinux(reader.part("seLinuxOptions")),
        _apparmor(reader.part("appArmorProfile")),
    )


def _seccomp(profile: _Reader | None) -> str | None:
    if profile is None:
        return None
    kind = profile.choice("type", (*_SECCOMP, "Localhost"))
    if not kind and not profile.values.get("type"):
        profile.malformed("type", "required: RuntimeDefault or Unconfined")
    if kind == "Localhost":
        profile.unsupported("type", f"Localhost {_UNSUPPORTED_LOCALHOST}")
    profile.others("type", "localhostProfile")
    return _SECCOMP.get(kind, "")


def _apparmor(profile: _Reader | None) -> str | None:
    if profile is None:
        return None
    kind = profile.choice("type", ("RuntimeDefault", "Unconfined", "Localhost"))
    if not kind and not profile.values.get("type"):
        profile.malformed("type", "required: RuntimeDefault, Unconfined or Localhost")
    name = profile.word("localhostProfile")
    if kind == "Localhost" and not name:
        profile.malformed("localhostProfile", "required: the name of a loaded profile")
    profile.others("type", "localhostProfile")
    return {"Unconfined": "unconfined", "Localhost": name}.get(kind, "")


def _selinux(options: _Reader | None) -> tuple[str, ...] | None:
    if options is None:
        return None
    parts = ("user", "role", "type", "level")
    options.others(*parts)
    return tuple(f"{part}:{value}" for part in parts if (value := options.word(part)))


def _capabilities(reader: _Reader | None, name: str) -> tuple[str, ...]:
    if reader is None:
        return ()
    found = []
    for at, item in enumerate(reader.entries(name)):
        text = item.upper().removeprefix("CAP_") if isinstance(item, str) else ""
        if text.isascii() and text.replace("_", "").isalpha():
            found.append(text)
        else:
            reader.malformed(f"{name}[{at}]", "expected a capability, such as NET_BIND_SERVICE")
    return tuple(found)


def _is_sysctl(name: str) -> bool:
    return len(name) <= _MAX_SYSCTL and _SYSCTL.fullmatch(name) is not None


def _sysctls(reader: _Reader) -> tuple[tuple[str, str], ...]:
    found: list[tuple[str, str]] = []
    for at, item in enumerate(reader.entries("sysctls")):
        entry = item if isinstance(item, Mapping) else {}
        name, value = entry.get("name"), entry.get("value")
        if isinstance(name, str) and isinstance(value, str) and _is_sysctl(name):
            if name in dict(found):
                reader.malformed(f"sysctls[{at}].name", f"{name!r} is set twice")
            found.append((name, value))
        else:
            what = "expected the lower-case name of a sysctl and a value, both strings"
            reader.malformed(f"sysctls[{at}]", what)
    return tuple(found)


_POD = (*_BOTH, "supplementalGroups", "fsGroup", "fsGroupChangePolicy", "sysctls")
_POD_POLICY = "supplementalGroupsPolicy"
_CONTAINER = (
    *_BOTH,
    "capabilities",
    "privileged",
    "readOnlyRootFilesystem",
    "allowPrivilegeEscalation",
    "procMount",
)


@dataclass(frozen=True, slots=True)
class PodSecurity:
    """securityContext of a Pod, read once for all of its containers."""

    shared: _Shared
    groups: tuple[int, ...]
    sysctls: tuple[tuple[str, str], ...]
    volumes: VolumeGroup | None
    faults: tuple[SecurityFault, ...]

    @classmethod
    def parse(cls, values: Mapping[str, Any] | None, path: str) -> "PodSecurity":
        """Read it; `path` is where it stands."""
        reader = _Reader(values or {}, path)
        reader.others(*_POD, _POD_POLICY)
        if reader.choice(_POD_POLICY, ("Merge", "Strict")) == "Strict":
            message = "Strict is not supported on one machine: groups of the image are kept"
            reader.unsupported(_POD_POLICY, message)
        group = reader.number("fsGroup")
        policy = reader.choice("fsGroupChangePolicy", ("Always", "OnRootMismatch"))
        volumes = None if group is None else VolumeGroup(group, policy == "OnRootMismatch")
        groups = reader.numbers("supplementalGroups")
        return cls(
            _shared(reader),
            groups if group is None or group in groups else (*groups, group),
            _sysctls(reader),
            volumes,
            tuple(reader.faults),
        )

    def container(
        self, values: Mapping[str, Any] | None, path: str
    ) -> tuple[ContainerSecurity, tuple[SecurityFault, ...]]:
        """Return what holds for a container that says this, and what is wrong there."""
        reader = _Reader(values or {}, path)
        reader.others(*_CONTAINER)
        own, pod = _shared(reader), self.shared
        capabilities = reader.part("capabilities")
        if capabilities is not None:
            capabilities.others("add", "drop")
        privileged = bool(reader.flag("privileged"))
        escalates = reader.flag("allowPrivilegeEscalation")
        if privileged and escalates is False:
            reader.malformed("allowPrivilegeEscalation", "cannot be false with privileged: true")
        found = ContainerSecurity(
            user=_first(own.user, pod.user),
            group=_first(own.group, pod.group),
            groups=self.groups,
            non_root=bool(_first(own.non_root, pod.non_root)),
            read_only_root=bool(reader.flag("readOnlyRootFilesystem")),
            new_privileges=bool(escalates) or privileged,
            privileged=privileged,
            add=_capabilities(capabilities, "add"),
            drop=_capabilities(capabilities, "drop"),
            seccomp=_first(own.seccomp, pod.seccomp) or "",
            apparmor=_first(own.apparmor, pod.apparmor) or "",
            selinux=_first(own.selinux, pod.selinux) or (),
            unmasked=reader.choice("procMount", ("Default", "Unmasked")) == "Unmasked",
            sysctls=self.sysctls,
        )
        return found, tuple(reader.faults)


def _first[T](own: T | None, pod: T | None) -> T | None:
    return pod if own is None else own
