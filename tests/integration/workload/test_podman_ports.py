"""Ports of the machine that Podman itself leads to an instance: those that no router serves."""

import contextlib
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from tests.support.workload.podman_home import PodmanHome, Workload

from upwell.workload.errors import RuntimeUnavailableError
from upwell.workload.instance_spec import InstanceSpec, PortMapping
from upwell.workload.podman.runtime import PodmanRuntime

INSIDE = 5353
SECONDS = 20


def free_port() -> int:
    """Return a UDP port of the machine that nobody has."""
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        number: int = probe.getsockname()[1]
        return number


def socket_inside(process: str) -> socket.socket:
    """Return a UDP socket at the port of a container, in its network."""
    namespace = os.open(f"/proc/{process}/ns/net", os.O_RDONLY)
    try:
        os.setns(namespace, os.CLONE_NEWNET)  # of the calling thread alone
    finally:
        os.close(namespace)
    made = socket.socket(type=socket.SOCK_DGRAM)
    made.bind(("0.0.0.0", INSIDE))
    made.settimeout(SECONDS)
    return made


async def test_datagrams_reach_the_one_instance_that_has_the_port(
    runtime: PodmanRuntime, workload: Workload, podman_home: PodmanHome
) -> None:
    mapping = PortMapping(free_port(), INSIDE, "UDP", "127.0.0.1")

    def spec(name: str) -> InstanceSpec:
        made = workload.spec(workload.container("sleep", "600"), name=name)
        return replace(made, published=(mapping,))

    async def inside(name: str) -> socket.socket:
        await runtime.start(spec(name))
        label = f"label=upwell.dev/replica={name}"
        process = podman_home.run("ps", "--format", "{{.Pid}}", "--filter", label).strip()
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(socket_inside, process).result()

    with socket.socket(type=socket.SOCK_DGRAM) as outside:
        outside.connect(("127.0.0.1", mapping.host_port))
        with await inside("dns-1-0") as first:
            outside.send(b"question")
            assert first.recv(100) == b"question"
        with pytest.raises(RuntimeUnavailableError, match=str(mapping.host_port)):
            await runtime.start(spec("dns-2-0"))

        await runtime.stop("dns-1-0", 0)
        outside.send(b"lost")
        with await inside("dns-2-0") as second:
            with contextlib.suppress(ConnectionRefusedError):  # of the one that was lost
                outside.send(b"again")
            outside.send(b"again")
            assert second.recv(100) == b"again"
