"""Machines beside this one: network namespaces that serve, at addresses which no other test has."""

import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from secrets import token_hex


@contextmanager
def machine_beside(network: str, port: int = 80) -> Iterator[str]:
    """Run another machine, that serves HTTP at a port; give its address, in NETWORK.0/24.

    The address before it is this machine's. Needs root.
    """
    name = f"beside-{token_hex(3)}"
    _run(f"ip netns add {name}")
    try:
        link, ours = _linked(network, name)
        try:
            with _serving(name, link, ours, port):
                yield str(ours + 1)
        finally:
            _run(f"ip link del {link}")
    finally:
        _run(f"ip netns del {name}")


def _linked(network: str, name: str) -> tuple[str, IPv4Address]:
    """Link a namespace; return the link here and its address.

    Tests have machines in one network at a time: the name of a link claims its four addresses.
    """
    said = ""
    for block in random.sample(range(0, 256, 4), 64):
        ours = IPv4Address(f"{network}.{block + 1}")
        link = f"bs{int(ours):08x}"
        command = f"ip link add {link} type veth peer name eth0 netns {name}"
        done = subprocess.run(command.split(), capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return link, ours
        said = done.stderr
    raise AssertionError(f"no addresses of {network}.0/24 are free (see `ip link`): {said}")


@contextmanager
def _serving(name: str, link: str, ours: IPv4Address, port: int) -> Iterator[None]:
    for command in (
        f"ip addr add {ours}/30 dev {link}",
        f"ip link set {link} up",
        f"ip -n {name} addr add {ours + 1}/30 dev eth0",
        f"ip -n {name} link set eth0 up",
        f"ip -n {name} route add default via {ours}",
    ):
        _run(command)
    argv = (sys.executable, "-m", "http.server", "--bind", str(ours + 1), str(port))
    with subprocess.Popen(
        ("ip", "netns", "exec", name, *argv),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={"PYTHONUNBUFFERED": "1", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin"},
    ) as server:
        try:
            assert server.stdout is not None
            assert b"Serving HTTP" in server.stdout.readline()
            yield
        finally:
            server.kill()


def _run(command: str) -> None:
    subprocess.run(command.split(), check=True, capture_output=True)
