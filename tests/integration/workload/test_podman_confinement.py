"""Restrictions of real containers: as the kernel has them, not as they were asked for."""

from dataclasses import replace
from typing import Any

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload
from tests.support.workload.waiting import eventually

from upwell.api.values.security_context import ContainerSecurity, VolumeGroup
from upwell.workload.errors import ForbiddenError
from upwell.workload.instance_spec import EmptyDir, Files, InstanceMount, InstanceSpec
from upwell.workload.interface import Instance, State
from upwell.workload.podman.confinement import DefaultLimits
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings

_CAPABILITIES = {
    "CHOWN": 0,
    "DAC_OVERRIDE": 1,
    "FOWNER": 3,
    "FSETID": 4,
    "KILL": 5,
    "SETGID": 6,
    "SETUID": 7,
    "NET_BIND_SERVICE": 10,
    "NET_RAW": 13,
    "SYS_CHROOT": 18,
}
"""Numbers of linux/capability.h."""
_DEFAULT = set(_CAPABILITIES) - {"NET_RAW"}


def secured(workload: Workload, script: str, **security: Any) -> InstanceSpec:
    container = workload.container("sh", "-c", script)
    return workload.spec(replace(container, security=ContainerSecurity(**security)))


async def output(runtime: PodmanRuntime, spec: InstanceSpec) -> str:
    """Run an instance to its end, and return what it printed."""
    await runtime.start(spec)

    async def only() -> Instance:
        [instance] = await runtime.instances()
        return instance

    await eventually(only, lambda one: one.state is State.EXITED)
    text = b"".join([piece async for piece in runtime.logs(spec.name)]).decode()
    await runtime.stop(spec.name, 0)
    return text


async def status(runtime: PodmanRuntime, spec: InstanceSpec) -> dict[str, str]:
    """Return the fields of /proc/self/status of a container's process."""
    lines = (await output(runtime, spec)).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def mask(names: set[str]) -> int:
    return sum(1 << _CAPABILITIES[name] for name in names)


async def test_a_container_that_says_nothing_is_restricted(
    settings: PodmanSettings, workload: Workload
) -> None:
    limited = replace(settings, limits=DefaultLimits(memory_bytes=64 * 2**20, pids=50))
    script = (
        "cat /proc/self/status; [ -f /proc/kcore ] && echo kcore: open;"
        " (echo x > /proc/sys/kernel/core_pattern) 2>/dev/null && echo sysctl: open;"
        " echo root: $(touch /file && echo writable)"
    )
    async with PodmanRuntime.open(limited) as runtime:
        found = await status(runtime, secured(workload, script))

        assert found["NoNewPrivs"] == "1"
        assert found["Seccomp"] == "2"
        for kind in ("CapEff", "CapPrm", "CapBnd"):
            assert int(found[kind], 16) == mask(_DEFAULT)
        assert int(found["CapInh"], 16) == int(found["CapAmb"], 16) == 0
        assert found.keys().isdisjoint({"kcore", "sysctl"})
        assert found["root"] == "writable"
        await runtime.teardown()


async def test_limits_hold_for_a_container_that_states_none(
    settings: PodmanSettings, podman_home: PodmanHome, workload: Workload
) -> None:
    limited = replace(settings, limits=DefaultLimits(memory_bytes=64 * 2**20, pids=50))
    async with PodmanRuntime.open(limited) as runtime:
        own = replace(workload.container("sleep", "60"), memory_bytes=32 * 2**20)
        await runtime.start(workload.spec(workload.container("sleep", "60"), name="a"))
        await runtime.start(workload.spec(own, name="b"))
        limits = podman_home.run(
            *("ps", "-q", "--filter", f"label=upwell.dev/instance={settings.instance_id}")
        ).split()
        shown = {
            podman_home.run(
                "inspect", "--format", "{{.HostConfig.Memory}} {{.HostConfig.PidsLimit}}", one
            ).strip()
            for one in limits
        }

        assert shown == {f"{64 * 2**20} 50", f"{32 * 2**20} 50"}
        await runtime.teardown()


@pytest.mark.parametrize(
    ("security", "effective"),
    [
        ({"drop": ("ALL",)}, set()),
        ({"drop": ("ALL",), "add": ("CHOWN",)}, {"CHOWN"}),
        ({"add": ("NET_RAW",)}, {*_DEFAULT, "NET_RAW"}),
        ({"drop": ("CHOWN",), "add": ("CHOWN",)}, _DEFAULT - {"CHOWN"}),
        ({"user": 1000}, set()),
    ],
)
async def test_capabilities_are_those_asked_for(
    settings: PodmanSettings, workload: Workload, security: dict[str, Any], effective: set[str]
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        found = await status(runtime, secured(workload, "cat /proc/self/status", **security))

        assert int(found["CapEff"], 16) == mask(effective)
        await runtime.teardown()


async def test_users_groups_and_volumes(settings: PodmanSettings, workload: Workload) -> None:
    script = "id -u; id -g; id -G; cat /key; touch /data/file; stat -c %g /data/file"
    made = secured(workload, script, user=1000, group=2000, groups=(3000, 4000))
    mounts = (InstanceMount("data", "/data"), InstanceMount("keys", "/key", sub_path="key"))
    spec = replace(
        made,
        containers=(replace(made.containers[0], mounts=mounts),),
        volumes={"data": EmptyDir(), "keys": Files({"key": b"secret\n"}, 0o400)},
        volume_group=VolumeGroup(4000),
    )
    async with PodmanRuntime.open(settings) as runtime:
        lines = (await output(runtime, spec)).splitlines()

        assert lines[:2] == ["1000", "2000"]
        assert {"3000", "4000"} <= set(lines[2].split())
        assert lines[3:5] == ["secret", "4000"]
        await runtime.teardown()


async def test_a_read_only_root_takes_no_file_but_in_volumes(
    settings: PodmanSettings, workload: Workload
) -> None:
    tries = {"root": "/a", "tmp": "/tmp/a", "volume": "/v/a"}  # noqa: S108
    script = "; ".join(f"touch {path} 2>/dev/null && echo {name}" for name, path in tries.items())
    made = secured(workload, script, read_only_root=True)
    mounted = replace(made.containers[0], mounts=(InstanceMount("v", "/v"),))
    spec = replace(made, containers=(mounted,), volumes={"v": EmptyDir()})
    async with PodmanRuntime.open(settings) as runtime:
        assert (await output(runtime, spec)).split() == ["volume"]
        await runtime.teardown()


async def test_root_is_refused_where_it_may_not_be(
    settings: PodmanSettings, workload: Workload
) -> None:
    async with PodmanRuntime.open(settings) as runtime:
        with pytest.raises(ForbiddenError, match="set securityContext"):
            await runtime.start(secured(workload, "true", non_root=True))
        assert "1000" in await output(runtime, secured(workload, "id -u", non_root=True, user=1000))
        await runtime.teardown()


async def test_who_asks_for_more_gets_it(settings: PodmanSettings, workload: Workload) -> None:
    script = "cat /proc/self/status"
    wide = {"privileged": True, "new_privileges": True}
    async with PodmanRuntime.open(settings) as runtime:
        found = await status(runtime, secured(workload, script, **wide))
        unconfined = await status(runtime, secured(workload, script, seccomp="unconfined"))

        assert found["NoNewPrivs"] == "0"
        assert int(found["CapEff"], 16) > 2**30
        assert unconfined["Seccomp"] == "0"
        await runtime.teardown()


async def test_a_user_serves_a_low_port(settings: PodmanSettings, workload: Workload) -> None:
    script = "httpd -p 80 -h / && echo serves"
    sysctls = (("net.ipv4.tcp_syncookies", "1"),)
    made = secured(workload, script, user=1000, drop=("ALL",), sysctls=sysctls)
    async with PodmanRuntime.open(settings) as runtime:
        assert "serves" in await output(runtime, made)
        await runtime.teardown()
