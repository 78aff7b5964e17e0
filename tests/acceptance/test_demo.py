"""`upwell demo` as a user runs it: with real parts, to its end or to Ctrl-C."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tests.support.faults.machine_faults import ALL_STEPS
from tests.support.faults.on_demand import on_demand
from tests.support.kubernetes.cluster import started_cluster

from upwell.cli.demo.teardown import PLACE, mounts_below
from upwell.workload.podman.bridge import candidates

_TOOLS = ("apt-get", "buildah", "docker-registry", "git", "haproxy", "mmdebstrap", "podman")
_MAKING_SECONDS = 480
"""For the whole, root file systems included, which are made once and then in the cache."""
_STOPPING_SECONDS = 240


@pytest.fixture(scope="module", autouse=True)
def needs() -> None:
    if os.geteuid() != 0:
        pytest.skip("the demo has to run as root")
    for tool in _TOOLS:
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is missing: scripts/install-system-packages")
    targets = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(LABEL)"],
        capture_output=True,
        text=True,
        check=True,
    )
    if not {"Debian", "Debian-Security"} <= set(targets.stdout.split("\n")):
        pytest.skip("apt has no archives of Debian and its security updates: apt-get update")


class Demo:
    """A demo that runs, its output read all the time."""

    def __init__(self, folder: Path, *options: str, cache: Path | None = None) -> None:
        self.folder = folder
        # Ctrl-C also ends it where a shell runs the tests in the background.
        program = ("env", "--default-signal=INT", sys.executable, "-m", "upwell")
        self.process = subprocess.Popen(
            [*program, "demo", "--plain", "--data-dir", str(folder), *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env={**os.environ, **({"XDG_CACHE_HOME": str(cache)} if cache else {})},
            start_new_session=True,
        )
        self.lines: list[str] = []
        self._more = threading.Condition()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    @property
    def output(self) -> str:
        return "".join(self.lines)

    def until_it_says(self, text: str) -> None:
        with self._more:
            said = self._more.wait_for(
                lambda: text in self.output or not self._reader.is_alive(), _MAKING_SECONDS
            )
        assert said, self.output
        assert text in self.output

    def press_ctrl_c(self) -> None:
        os.killpg(self.process.pid, signal.SIGINT)

    def wait(self, seconds: float) -> int:
        code = self.process.wait(seconds)
        self._reader.join()
        return code

    def bridges(self) -> list[str]:
        """Return the names that the network interfaces of this demo can have."""
        instance = self.folder / "upwell/instance-id"
        if not instance.exists():
            return []
        upwell = instance.read_text().strip()
        bodies = candidates(f"upwell-{upwell}", upwell)
        return [str(body["network_interface"]) for body in bodies]

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._more:
                self.lines.append(line)
                self._more.notify_all()
        with self._more:
            self._more.notify_all()


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder whose name is short, for the sockets in it, and where there is room for images."""
    with tempfile.TemporaryDirectory(prefix="upwell-", dir=os.environ.get("TMPDIR", PLACE)) as made:
        place = Path(made, "demo")
        yield place
        if processes_naming(place):  # a test that failed has kept its demo
            stop = [sys.executable, "-m", "upwell", "demo", "--stop", "--data-dir", str(place)]
            subprocess.run(stop, check=False, timeout=_STOPPING_SECONDS)


@contextmanager
def demo(folder: Path, *options: str, cache: Path | None = None) -> Iterator[Demo]:
    running = Demo(folder, *options, cache=cache)
    try:
        yield running
    finally:
        if running.process.poll() is None:
            running.press_ctrl_c()
            running.wait(_STOPPING_SECONDS)
        assert running.process.stdout is not None
        running.process.stdout.close()


def assert_nothing_is_left(folder: Path, bridges: list[str]) -> None:
    assert processes_naming(folder) == []
    assert list(mounts_below(folder)) == []
    assert [name for name in bridges if Path("/sys/class/net", name).exists()] == []
    assert not folder.exists()


def processes_naming(folder: Path) -> list[str]:
    """Return the command lines that name the folder, whichever program it is."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().replace(b"\0", b" ")
        except OSError:
            continue  # it has ended
        if os.fsencode(folder) in arguments:
            found.append(arguments.decode(errors="replace"))
    return found


def test_the_fix_rises_by_itself_no_request_fails_and_a_kept_demo_goes_on(folder: Path) -> None:
    with demo(folder, "--keep") as running:
        running.until_it_says("no manual step follows")
        code = running.wait(_MAKING_SECONDS)
        bridges = running.bridges()

    try:
        report = running.output[running.output.index("\nTimeline") :]
        assert code == 0, running.output
        assert "All claims hold." in report
        assert "FALSE" not in report
        assert re.findall(r"(shop|gate): [1-9]\d+, failed: (\d+)", report) == [
            ("shop", "0"),
            ("gate", "0"),
        ]
        way = ["published", "detected", "building", "built"]
        way += ["deployed", "tested", "deployed", "tested", "live", "tested", "verified"]
        assert steps(report, "gate") == way
        assert steps(report, "shop") == way
        before, after = re.findall(r"  shop: (\S+) -> (\S+)", report)[0]
        assert before != after
        assert f"libc6 {before} -> {after}" in report
        assert re.search(r"gate-2: debian:11 went from [0-9a-f]{12} to [0-9a-f]{12}", report)
        assert_the_kept_demo_serves(running.output)
        lines = wave_of(running.output)
        assert any("6 of 6 workloads have it" in line for line in lines), lines
    finally:
        done = stop(folder)
    assert done.returncode == 0, done.stderr
    assert_nothing_is_left(folder, bridges)


def steps(report: str, application: str) -> list[str]:
    """Return the timeline's steps of one application, in their order."""
    found = []
    for step, rest in re.findall(r"^ +[+-]\d+\.\d\d  (\w+) +(.*)$", report, re.MULTILINE):
        if step in {"published", "detected"} or rest.startswith(application):
            found.append(step)
    return found


@pytest.mark.parametrize(
    "moment",
    [
        pytest.param(
            "checking this",
            marks=on_demand(
                "tests/acceptance/test_demo.py::test_ctrl_c_stops_the_making_of_root_file_systems"
            ),
        ),
        "upwell serve listens",
    ],
)
def test_ctrl_c_stops_everything(folder: Path, moment: str) -> None:
    with demo(folder) as running:
        running.until_it_says(moment)
        bridges = running.bridges()
        running.press_ctrl_c()
        running.press_ctrl_c()  # impatience does not cut the clearing up short
        assert running.wait(_STOPPING_SECONDS) == 130, running.output

    assert "error: interrupted" in running.output
    assert_nothing_is_left(folder, bridges)


def test_ctrl_c_stops_the_making_of_root_file_systems(folder: Path) -> None:
    cache = folder.parent / "cache"
    with demo(folder, cache=cache) as running:
        running.until_it_says("with mmdebstrap")
        bridges = running.bridges()
        running.press_ctrl_c()
        assert running.wait(_STOPPING_SECONDS) == 130, running.output

    assert processes_naming(cache) == []
    assert [path for path in cache.rglob("*") if path.is_file()] == []
    assert_nothing_is_left(folder, bridges)


@pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all")
def test_a_killed_demo_is_removed_by_stop(folder: Path) -> None:
    with demo(folder) as running:
        running.until_it_says("upwell serve listens")
        bridges = running.bridges()
        refused = stop(folder)
        running.process.kill()
        running.wait(_STOPPING_SECONDS)
        (serve,) = (line for line in processes_naming(folder) if "upwell serve" in line)
        assert serve

        done = stop(folder)

    assert (refused.returncode, "is running" in refused.stderr) == (1, True)
    assert (done.returncode, done.stderr) == (0, "")
    assert_nothing_is_left(folder, bridges)


def stop(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "upwell", "demo", "--stop", "--data-dir", folder],
        capture_output=True,
        text=True,
        timeout=_STOPPING_SECONDS,
        check=False,
    )


def assert_the_kept_demo_serves(output: str) -> None:
    curl = re.search(r"curl -H '(Host: shop.localhost)' (\S+)", output)
    assert curl is not None
    answer = subprocess.run(
        ["curl", "--silent", "--max-time", "5", "-H", curl[1], curl[2]],
        capture_output=True,
        text=True,
        check=True,
    )
    assert '"application": "shop"' in answer.stdout


def wave_of(output: str) -> list[str]:
    """Return the lines that describe the one Wave of a kept demo."""
    server = re.search(r"UPWELL_SERVER=(\S+)", output)
    assert server is not None

    def wave(*arguments: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "upwell", "wave", *arguments, "--server", server[1]],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    [name] = wave("list", "-o", "name").split()
    return wave("describe", name).splitlines()


def assert_the_wave_tells_who_has_the_fix_and_why_the_others_have_not(output: str) -> None:
    lines = wave_of(output)
    assert any("libc6 2.31-13+deb11u11 -> 2.31-13+deb11u14" in line for line in lines)
    [shop] = [line for line in lines if "Deployment production/shop" in line]
    assert "runs it" in shop
    [gate] = [line for line in lines if "─ DeploymentConfig dev/gate" in line]
    assert "Release gate-2 is rejected" in gate
    [status] = [line for line in lines if "workloads have it" in line]
    assert "Waiting" in status
    assert "3 of 6 workloads" in status
    assert "held back, DeploymentConfig" in status


@pytest.mark.skipif(not ALL_STEPS, reason="on demand: UPWELL_FAULT_STEPS=all")
def test_a_base_on_which_tests_fail_stays_in_dev(folder: Path) -> None:
    with demo(folder, "--break", "--keep", "--webhook") as running:
        assert running.wait(_MAKING_SECONDS) == 0, running.output
        bridges = running.bridges()

    try:
        report = running.output[running.output.index("\nTimeline") :]
        assert "FALSE" not in report
        assert "refused    gate: gate-2 in dev: check in-situ" in report
        assert "gate-1 was restored" in report
        assert "No time zone found with key Asia/Tokyo" in report
        assert "live       shop: shop-2 serves in production" in report
        assert not re.search(r"gate: gate-2 .* in (staging|production)", report)
        assert_the_kept_demo_serves(running.output)
        assert_the_wave_tells_who_has_the_fix_and_why_the_others_have_not(running.output)
    finally:
        done = stop(folder)
    assert done.returncode == 0, done.stderr
    assert_nothing_is_left(folder, bridges)


@pytest.mark.skipif(
    not ALL_STEPS,
    reason="on demand: UPWELL_FAULT_STEPS=all (minutes: a cluster, a build, two promotions)",
)
def test_a_fixed_base_gets_to_production_on_a_cluster_and_nothing_is_left(
    folder: Path, tmp_path: Path
) -> None:
    with started_cluster(tmp_path / "kube", "real", crds=False) as cluster:
        options = ("--on", "kubernetes", "--kubeconfig", str(cluster.kubeconfig))
        with demo(folder, *options) as running:
            assert running.wait(_MAKING_SECONDS) == 0, running.output
        assert "All claims hold." in running.output
        assert "true   the cluster runs that image alone in production" in running.output
        assert "upwell-demo" not in cluster.kubectl("get", "namespaces", "-o", "name")
        assert not cluster.kubectl("get", "crd", "-o", "name")
    assert not folder.exists()
