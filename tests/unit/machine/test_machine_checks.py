import os
import pwd
import socket
from dataclasses import replace
from pathlib import Path

import pytest

from upwell.machine.checks import (
    HostCheck,
    HostCheckStatus,
    Tool,
    check_build_isolation,
    check_cgroups,
    check_firewall,
    check_oci_runtime,
    check_overlay,
    check_own_ids,
    check_path_length,
    check_port,
    check_privileges,
    check_python,
    check_rootless_network,
    check_routes,
    check_tool,
)
from upwell.machine.containers_conf import decide
from upwell.machine.host import Cgroups, Host, Limit
from upwell.machine.process import run_command

HOST = Host(
    cgroups=Cgroups.HYBRID,
    systemd=False,
    journald=False,
    root=True,
    raises_limits=True,
    open_files=Limit(1024, 4096),
    processes=Limit(-1, -1),
    tools=frozenset({"runc", "nft"}),
    overlay=True,
)


def test_an_old_python_is_refused() -> None:
    assert check_python((3, 12, 0)).status is HostCheckStatus.OK
    old = check_python((3, 11, 9))
    assert (old.status, old.detail) == (HostCheckStatus.FAIL, "3.11.9 is too old")
    assert "3.12" in old.remedy


async def test_a_missing_tool_names_its_package() -> None:
    check = await check_tool(Tool("no-such-program", "its-package", "does a thing"))
    expected = "not found; it does a thing"
    assert check == HostCheck(
        "no-such-program", HostCheckStatus.FAIL, expected, "apt install its-package"
    )
    optional = await check_tool(Tool("no-such-program", "p", "x", HostCheckStatus.WARN))
    assert optional.status is HostCheckStatus.WARN


async def test_a_tool_in_a_folder_beside_the_path_is_found(tmp_path: Path) -> None:
    tool = tmp_path / "helper"
    tool.write_text("#!/bin/sh\necho helper 1.2\n")
    tool.chmod(0o755)
    found = await check_tool(Tool("helper", "p", "helps", folders=(str(tmp_path),)))
    assert found == HostCheck("helper", HostCheckStatus.OK, "helper 1.2")


async def test_a_tool_that_does_not_run_is_to_be_reinstalled(tmp_path: Path) -> None:
    tool = tmp_path / "helper"
    tool.write_text("#!/bin/sh\necho no library >&2; exit 1\n")
    tool.chmod(0o755)
    broken = await check_tool(Tool("helper", "p", "helps", folders=(str(tmp_path),)))
    assert broken.status is HostCheckStatus.FAIL
    assert "no library" in broken.detail


def test_crun_alone_does_not_do_on_old_cgroups() -> None:
    crun = frozenset({"crun"})
    assert check_oci_runtime(replace(HOST, tools=crun)).remedy == "apt install runc"
    modern = replace(HOST, tools=crun, cgroups=Cgroups.UNIFIED)
    assert check_oci_runtime(modern).status is HostCheckStatus.OK


def test_a_bridge_needs_nft_or_iptables() -> None:
    assert check_firewall(HOST).status is HostCheckStatus.OK
    assert check_firewall(replace(HOST, tools=frozenset())).remedy == "apt install nftables"


@pytest.mark.parametrize(
    ("cgroups", "status"),
    [
        (Cgroups.UNIFIED, HostCheckStatus.OK),
        (Cgroups.HYBRID, HostCheckStatus.WARN),
        (Cgroups.LEGACY, HostCheckStatus.WARN),
        (Cgroups.ABSENT, HostCheckStatus.FAIL),
    ],
)
def test_cgroups_are_judged(cgroups: Cgroups, status: HostCheckStatus) -> None:
    host = replace(HOST, cgroups=cgroups)
    check = check_cgroups(host, decide(host, private_storage=True))
    assert check.status is status
    assert bool(check.remedy) == (status is not HostCheckStatus.OK)


async def test_root_needs_no_user_namespaces() -> None:
    assert await check_privileges(HOST) == HostCheck("privileges", HostCheckStatus.OK, "root")


async def test_root_has_builds_run_as_nobody() -> None:
    if os.geteuid() != 0:
        pytest.skip("run the tests as root")
    found = await check_build_isolation(HOST)
    works = (
        await run_command("unshare", "--user", "--map-users=0:1000000:65536", "true")
    ).code == 0
    assert found.status is (HostCheckStatus.OK if works else HostCheckStatus.WARN)
    assert ("root outside" in found.detail) == (not works)


def test_a_user_needs_ids_for_containers(tmp_path: Path) -> None:
    user = pwd.getpwuid(0)
    (tmp_path / "subuid").write_text(f"other:1:2\n{user.pw_name}:100000:65536\n")
    found = check_own_ids(user, tmp_path)
    assert (found.status, found.detail) == (
        HostCheckStatus.FAIL,
        "root has no ids for containers in subgid",
    )
    assert found.remedy.startswith("usermod --add-subuids")
    (tmp_path / "subgid").write_text("0:100000:65536\n")
    assert check_own_ids(user, tmp_path).status is HostCheckStatus.OK


def test_without_root_a_network_needs_a_helper_and_its_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert check_rootless_network().remedy == "apt install passt"
    helper = tmp_path / "pasta"
    helper.write_text("#!/bin/sh\n")
    helper.chmod(0o755)
    absent = check_rootless_network(tmp_path / "tun")
    assert (absent.status, absent.remedy) == (
        HostCheckStatus.FAIL,
        f"chmod 0666 {tmp_path / 'tun'}, as udev has it",
    )
    assert check_rootless_network(helper).status is HostCheckStatus.OK


@pytest.mark.parametrize(
    ("root", "systemd", "cgroups", "limits"),
    [
        (True, False, Cgroups.HYBRID, True),
        (False, True, Cgroups.UNIFIED, True),
        (False, True, Cgroups.HYBRID, False),
        (False, False, Cgroups.UNIFIED, False),
    ],
)
def test_without_root_only_systemd_hands_out_limits(
    *, root: bool, systemd: bool, cgroups: Cgroups, limits: bool
) -> None:
    host = replace(HOST, root=root, systemd=systemd, cgroups=cgroups)
    assert decide(host, private_storage=True).limits_resources is limits


def test_storage_without_overlay_is_slow_not_broken() -> None:
    without = decide(replace(HOST, overlay=False), private_storage=True)
    assert check_overlay(without).status is HostCheckStatus.WARN


def test_a_data_directory_leaves_room_for_the_names_of_sockets() -> None:
    assert check_path_length(Path("/" + "d" * 66)).status is HostCheckStatus.OK
    too_long = check_path_length(Path("/" + "d" * 67))
    assert (too_long.status, "67 bytes" in too_long.remedy) == (HostCheckStatus.FAIL, True)


def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as squatter:
        squatter.bind(("127.0.0.1", 0))
        squatter.listen()
        port = squatter.getsockname()[1]
        taken = check_port("127.0.0.1", port)
    assert taken.status is HostCheckStatus.FAIL
    assert f":{port}" in taken.remedy
    assert check_port("127.0.0.1", port).status is HostCheckStatus.OK


def test_routes_are_served_where_nobody_or_our_own_router_listens(tmp_path: Path) -> None:
    folder = tmp_path / "router"
    folder.mkdir()
    with socket.socket() as listener, socket.socket(socket.AF_UNIX) as control:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        place = ("127.0.0.1", listener.getsockname()[1])
        taken = check_routes(place, tmp_path)
        assert (taken.status, "no Route is served" in taken.detail) == (HostCheckStatus.WARN, True)
        assert "--router" in taken.remedy

        control.bind(str(folder / "haproxy.sock"))
        control.listen()
        config = folder / "haproxy.cfg"
        config.write_text("frontend upwell_http_waiting\n  bind unix@/x/waiting.sock\n")
        assert check_routes(place, tmp_path).status is HostCheckStatus.WARN, (
            "it waits for the port itself"
        )
        config.write_text(f"frontend upwell_http\n  bind 127.0.0.1:{place[1]} ssl crt x.pem\n")
        assert check_routes(place, tmp_path).status is HostCheckStatus.OK
    assert check_routes(place, tmp_path).detail == "free"


async def test_a_command_that_hangs_is_ended() -> None:
    answer = await run_command("sleep", "60", seconds=0.05)
    assert answer.code == 124
    assert "more than 0.05 s" in answer.tail
