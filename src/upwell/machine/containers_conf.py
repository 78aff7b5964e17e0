"""Upwell's own containers.conf: only what this machine needs other than the default, with reasons.

It is passed to Buildah and Podman by name; the machine's own files stay as they are.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from upwell.machine.host import Cgroups, Host, Limit, read_host
from upwell.machine.private_file import write_whole

type Value = str | int | list[str]


@dataclass(frozen=True, slots=True)
class ConfigurationLine:
    """One line of the file (`[table] key = value`) and why it is there."""

    table: str
    key: str
    value: Value
    reason: str


@dataclass(frozen=True, slots=True)
class ContainersConf:
    """Decisions for containers.conf; the storage driver is an option of the tools."""

    decisions: tuple[ConfigurationLine, ...]
    storage_driver: str
    storage_reason: str
    limits_resources: bool = True
    """True if containers can have limits of memory and processors."""


_EXEC_CLEANUP = ConfigurationLine(
    "engine",
    "exit_command_delay",
    10,
    "each exec probe would leave its conmon behind for the 300 s that are the default",
)


def decide(host: Host, *, private_storage: bool) -> ContainersConf:
    """Say what has to differ from the defaults on this machine."""
    decisions = [_EXEC_CLEANUP, *_runtime(host), *_limits(host)]
    if not host.journald:
        decisions.append(
            ConfigurationLine(
                "engine", "events_logger", "file", "there is no journald to keep events in"
            )
        )
    if private_storage:
        reason = "another Podman on this machine would reset the locks that all share by default"
        decisions.append(ConfigurationLine("engine", "lock_type", "file", reason))
    if "nft" not in host.tools and "iptables" in host.tools:
        reason = "nft is not installed, iptables is"
        decisions.append(ConfigurationLine("network", "firewall_driver", "iptables", reason))
    driver, reason = "overlay", "overlayfs works on the storage folder"
    if not host.overlay:
        driver = "vfs"
        reason = "overlayfs cannot be mounted on the storage folder; vfs copies every layer"
    return ContainersConf(tuple(decisions), driver, reason, _limits_resources(host))


def _limits_resources(host: Host) -> bool:
    """Others than root get control groups from systemd alone, and only of the new kind."""
    return host.root or (host.systemd and host.cgroups is Cgroups.UNIFIED)


def render(decisions: Iterable[ConfigurationLine]) -> str:
    """Return the file (containers.conf(5), TOML), its tables in alphabetical order."""
    lines = ["# Written by upwell at every start; changes are lost."]
    table = ""
    for decision in sorted(decisions, key=lambda each: (each.table, each.key)):
        if decision.table != table:
            table = decision.table
            lines += ["", f"[{table}]"]
        # JSON's strings, integers and lists of strings are TOML's too.
        lines += [f"# {decision.reason}", f"{decision.key} = {json.dumps(decision.value)}"]
    return "\n".join(lines) + "\n"


async def write_containers_conf(
    path: Path, storage: Path, *, private_storage: bool = True
) -> ContainersConf:
    """Look at the machine, write the file atomically, and return what was decided and why.

    `storage` is the folder that will hold images; `private_storage` says that it is Upwell's own
    and not the one of the machine's Podman, whose locks we must share then.
    """
    conf = decide(await read_host(storage), private_storage=private_storage)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, render(conf.decisions))
    return conf


def _runtime(host: Host) -> list[ConfigurationLine]:
    if host.cgroups is not Cgroups.UNIFIED:
        why = f"cgroups are {host.cgroups}"
        return [
            ConfigurationLine("engine", "runtime", "runc", f"{why}; crun wants v2 alone"),
            ConfigurationLine(
                "engine", "cgroup_manager", "cgroupfs", f"{why}; systemd manages v2 alone"
            ),
        ]
    decisions = []
    if "crun" not in host.tools and "runc" in host.tools:
        decisions.append(
            ConfigurationLine("engine", "runtime", "runc", "crun is not installed, runc is")
        )
    if not host.systemd:
        reason = "systemd does not run here"
        decisions.append(ConfigurationLine("engine", "cgroup_manager", "cgroupfs", reason))
    return decisions


def _limits(host: Host) -> list[ConfigurationLine]:
    if host.raises_limits:
        return []
    limits = [_ulimit("nofile", host.open_files), _ulimit("nproc", host.processes)]
    reason = "without CAP_SYS_RESOURCE a container cannot have higher limits than we have"
    return [ConfigurationLine("containers", "default_ulimits", limits, reason)]


def _ulimit(name: str, limit: Limit) -> str:
    return f"{name}={limit.soft}:{limit.hard}"
