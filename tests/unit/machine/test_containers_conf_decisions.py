import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from upwell.machine.containers_conf import ContainersConf, decide, render
from upwell.machine.host import Cgroups, Host, Limit, read_host

MODERN = Host(
    cgroups=Cgroups.UNIFIED,
    systemd=True,
    journald=True,
    root=True,
    raises_limits=True,
    open_files=Limit(1024, 4096),
    processes=Limit(-1, -1),
    tools=frozenset({"crun", "nft"}),
    overlay=True,
)


def conf(*, private_storage: bool = False, **facts: Any) -> ContainersConf:
    return decide(replace(MODERN, **facts), private_storage=private_storage)


def parsed(made: ContainersConf) -> dict[str, Any]:
    """Return the settings that are written beside the one line that every machine gets."""
    tables = tomllib.loads(render(made.decisions))
    del tables["engine"]["exit_command_delay"]
    return {name: table for name, table in tables.items() if table}


def test_a_machine_as_podman_expects_it_needs_nothing() -> None:
    assert parsed(conf()) == {}
    assert conf().storage_driver == "overlay"


def test_what_exec_probes_leave_behind_goes_soon() -> None:
    assert tomllib.loads(render(conf().decisions)) == {"engine": {"exit_command_delay": 10}}


@pytest.mark.parametrize("cgroups", [Cgroups.HYBRID, Cgroups.LEGACY])
def test_old_cgroups_get_runc_and_cgroupfs(cgroups: Cgroups) -> None:
    engine = parsed(conf(cgroups=cgroups))["engine"]
    assert engine == {"runtime": "runc", "cgroup_manager": "cgroupfs"}


def test_without_systemd_nobody_else_manages_cgroups() -> None:
    assert parsed(conf(systemd=False)) == {"engine": {"cgroup_manager": "cgroupfs"}}


def test_the_runtime_that_is_there_is_used() -> None:
    assert parsed(conf(tools=frozenset({"runc", "nft"}))) == {"engine": {"runtime": "runc"}}


def test_without_the_capability_limits_stay_as_they_are() -> None:
    containers = parsed(conf(raises_limits=False))["containers"]
    assert containers == {"default_ulimits": ["nofile=1024:4096", "nproc=-1:-1"]}


def test_events_go_to_a_file_without_a_journal() -> None:
    assert parsed(conf(journald=False)) == {"engine": {"events_logger": "file"}}


def test_iptables_stands_in_for_nft() -> None:
    made = conf(tools=frozenset({"crun", "iptables"}))
    assert parsed(made) == {"network": {"firewall_driver": "iptables"}}


def test_private_storage_has_locks_of_its_own() -> None:
    assert parsed(conf(private_storage=True)) == {"engine": {"lock_type": "file"}}


def test_without_overlayfs_layers_are_copied_and_the_reason_is_told() -> None:
    made = conf(overlay=False)
    assert made.storage_driver == "vfs"
    assert "overlayfs cannot be mounted" in made.storage_reason


def test_every_line_has_its_reason_above_it() -> None:
    lines = render(conf(cgroups=Cgroups.HYBRID, raises_limits=False).decisions).splitlines()
    for at, line in enumerate(lines):
        if " = " in line:
            assert lines[at - 1].startswith("# ")


def system(root: Path, *, cap_eff: str, files: tuple[str, ...] = ()) -> Path:
    (root / "proc/self").mkdir(parents=True)
    (root / "proc/self/status").write_text(f"Name:\tx\nCapEff:\t{cap_eff}\n")
    for name in files:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("sys/fs/cgroup/cgroup.controllers", Cgroups.UNIFIED),
        ("sys/fs/cgroup/unified/cgroup.procs", Cgroups.HYBRID),
        ("sys/fs/cgroup/memory/tasks", Cgroups.LEGACY),
        ("sys/fs/other", Cgroups.ABSENT),
    ],
)
async def test_the_hierarchy_is_told_by_its_files(
    tmp_path: Path, file: str, expected: Cgroups
) -> None:
    root = system(tmp_path / "root", cap_eff="0", files=(file,))
    assert (await read_host(tmp_path / "storage", root)).cgroups is expected


@pytest.mark.parametrize(
    ("mask", "expected"), [("000001ffffffffff", True), ("000001fffeffffff", False)]
)
async def test_the_capability_is_read_from_the_kernel(
    tmp_path: Path, mask: str, *, expected: bool
) -> None:
    root = system(tmp_path / "root", cap_eff=mask)
    assert (await read_host(tmp_path / "storage", root)).raises_limits is expected


async def test_the_journal_and_systemd_are_found(tmp_path: Path) -> None:
    bare = await read_host(tmp_path / "storage", system(tmp_path / "bare", cap_eff="0"))
    files = ("run/systemd/journal/socket", "run/systemd/system/x")
    full = system(tmp_path / "full", cap_eff="0", files=files)
    found = await read_host(tmp_path / "storage", full)
    assert (bare.systemd, bare.journald) == (False, False)
    assert (found.systemd, found.journald) == (True, True)
    assert list((tmp_path / "storage").iterdir()) == [], "the overlay check cleans up"
