"""`upwell image mirror` beside crane, skopeo and oras, in turns, in one run.

pytest -m benchmark -s tests/benchmarks/images/test_mirroring.py

Each peer that PATH has is measured: `apt install skopeo oras`, and `go build ./cmd/crane` in the
sources of go-containerregistry. Skopeo remembers in which repositories of a registry blobs are, and
mounts them: of what it has copied there before it sends nothing.
"""

import base64
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.benchmarks.ratios import Ratios
from tests.support.installation.installation import installation
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.layered_images import push_index, push_layered

from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher

pytestmark = pytest.mark.benchmark

MIB = 1024 * 1024
OURS = "upwell"


@dataclass(frozen=True)
class CommandCost:
    """Seconds of a command: by the clock, and of the processor."""

    wall: float
    cpu: float


@dataclass(frozen=True)
class Case:
    """Copy that is measured; `there` copies into a repository that has the blobs already."""

    title: str
    source: str
    turns: int
    options: tuple[str, ...] = ()
    there: bool = False


CASES = (
    Case("small image", "small", 9),
    Case("300 MB", "large", 3),
    Case("300 MB, there already", "large", 7, there=True),
    Case("index of 4 platforms", "index", 5, options=("--all",)),
)


def commands(options: Sequence[str]) -> dict[str, Callable[[str, str], list[str]]]:
    """Return how each client that is here copies an image."""
    made: dict[str, Callable[[str, str], list[str]]] = {
        OURS: lambda source, target: [
            *(sys.executable, "-m", "upwell", "image", "mirror", "--insecure"),
            *(source, target),
        ],
        "crane": lambda source, target: ["crane", "copy", "--insecure", source, target],
        "skopeo": lambda source, target: [
            *("skopeo", "copy", "--quiet", *options),
            *("--src-tls-verify=false", "--dest-tls-verify=false"),
            *(f"docker://{source}", f"docker://{target}"),
        ],
        "oras": lambda source, target: [
            *("oras", "cp", "--no-tty", "--from-plain-http", "--to-plain-http"),
            *(source, target),
        ],
    }
    return {name: made[name] for name in made if name == OURS or shutil.which(name)}


def measured(command: Sequence[str], environment: dict[str, str]) -> CommandCost:
    began = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return CommandCost(time.perf_counter() - began, used.ru_utime + used.ru_stime)


async def push_sources(host: str) -> None:
    """Push the images that are copied; what they hold is noise, so that nothing compresses it."""
    async with RegistryClient(unrestricted()) as client:
        pusher = RegistryPusher(client.connection)
        await push_layered(pusher, f"{host}/bench/small:1", os.urandom(10_000))
        large = [os.urandom(100_000_000) for _ in range(3)]
        await push_layered(pusher, f"{host}/bench/large:1", *large)
        children = {
            platform: await push_layered(
                *(pusher, f"{host}/bench/index:{platform}", os.urandom(MIB), os.urandom(MIB)),
                config=json.dumps({"architecture": platform, "os": "linux"}).encode(),
            )
            for platform in ("amd64", "arm64", "ppc64le", "s390x")
        }
        await push_index(pusher, f"{host}/bench/index:1", **children)


def compare(
    case: Case, source: str, target: str, login: dict[str, str]
) -> dict[str, list[CommandCost]]:
    clients = commands(case.options)
    costs: dict[str, list[CommandCost]] = {name: [] for name in clients}
    name = f"{target}/bench/{case.source}"
    for turn in range(case.turns + 1):
        for client, command in clients.items():
            tag = f"{client}{turn}"
            goal = f"{name}-there-{client}:{tag}" if case.there else f"{name}-{tag}:1"
            cost = measured(command(f"{source}/bench/{case.source}:1", goal), login)
            if turn:  # the first warms what is read, and puts there what is to be there
                costs[client].append(cost)
    return costs


def tell(title: str, costs: dict[str, list[CommandCost]]) -> dict[str, tuple[float, float]]:
    """Print what each client took; return by client by what ours took longer, with its spread."""
    print(f"\n{title}")  # noqa: T201 - the figures are the result
    found = {}
    for client, rounds in costs.items():
        walls = [cost.wall for cost in rounds]
        cpu = statistics.median(cost.cpu for cost in rounds)
        pairs = list(zip(costs[OURS], rounds, strict=True))
        by_wall = [ours.wall / theirs.wall for ours, theirs in pairs]
        by_cpu = [ours.cpu / theirs.cpu for ours, theirs in pairs]
        low, _, high = statistics.quantiles(by_wall)
        found[client] = statistics.median(by_wall), statistics.median(by_cpu)
        print(  # noqa: T201
            f"  {client:7} {statistics.median(walls):7.3f} s (least {min(walls):.3f}),"
            f" processor {cpu:6.3f} s; ours took {found[client][0]:5.2f} of its time"
            f" ({low:.2f} to {high:.2f}), {found[client][1]:5.2f} of its processor time"
        )
    return found


def login_of(host: str, token: str, folder: Path) -> dict[str, str]:
    """Return an environment in which every client finds the login of the registry."""
    auth = base64.b64encode(f"bench:{token}".encode()).decode()
    file = folder / "config.json"
    file.write_text(json.dumps({"auths": {host: {"auth": auth}}}))
    return {**os.environ, "DOCKER_CONFIG": str(folder), "REGISTRY_AUTH_FILE": str(file)}


@pytest.mark.parametrize("into", ["docker-registry", "upwell serve"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
async def test_mirroring(case: Case, into: str, tmp_path: Path, ratios: Ratios) -> None:
    (tmp_path / "target").mkdir()
    async with (
        installation("--log-level", "info") as made,
        docker_registry(tmp_path / "target") as other,
    ):
        await push_sources(made.vendor)
        project = made.upwell("new-project", "bench")
        assert project.returncode == 0, project.stderr
        target = other if into == "docker-registry" else f"127.0.0.1:{made.port}"
        login = login_of(f"127.0.0.1:{made.port}", made.token, tmp_path)
        costs = compare(case, made.vendor, target, login)
    found = tell(f"{case.title} into {into}", costs)
    for client in found.keys() - {OURS}:
        wall, cpu = found[client]
        ratios.note_cost(f"mirror, {case.title}, into {into}, time of {client}", wall)
        ratios.note_cost(f"mirror, {case.title}, into {into}, processor of {client}", cpu)
