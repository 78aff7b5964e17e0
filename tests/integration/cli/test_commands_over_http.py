"""The command line against the real server, over HTTP, with the real client."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner, Result
from tests.support.server.memory_actions import memory_actions

from upwell.actions.builds import BuildActions, BuildClient
from upwell.api.builds.build import (
    BUILD_CONFIG_LABEL,
    BUILD_NUMBER_ANNOTATION,
    Build,
    BuildPhase,
    BuildRequest,
)
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import ObjectMeta
from upwell.builder.logs.files import FileBuildLogs
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.controller import ObjectCache
from upwell.reconcilers.builds.index import BuildIndex
from upwell.server.admission.quota import LimitedStore
from upwell.server.asgi.app import create_app
from upwell.server.asgi.dependencies import ServerDependencies
from upwell.server.http.limits import DEFAULT_LIMITS
from upwell.store.memory import MemoryStore

MANIFESTS = """\
apiVersion: build.openshift.io/v1
kind: BuildConfig
metadata: {name: shop}
spec:
  source: {dockerfile: "FROM debian:11"}
  strategy: {dockerStrategy: {from: {kind: ImageStreamTag, name: "debian:11"}}}
  output: {to: {kind: ImageStreamTag, name: "shop:latest"}}
  triggers: [{type: ImageChange, imageChange: {}}]
---
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata: {name: debian}
spec: {tags: [{name: "11", from: {kind: DockerImage, name: "vendor.test/debian:11"}}]}
---
apiVersion: apps/v1
kind: Deployment
metadata:
  name: shop
  annotations:
    image.openshift.io/triggers: >-
      [{"from": {"kind": "ImageStreamTag", "name": "shop:latest"},
        "fieldPath": "spec.template.spec.containers[0].image"}]
spec:
  selector: {matchLabels: {app: shop}}
  template:
    metadata: {labels: {app: shop}}
    spec: {containers: [{name: web, image: " "}]}
"""


class InstantBuilds(BuildActions):
    """Fake of the reconcilers: a requested build runs and ends in `phase`."""

    def __init__(self, store: MemoryStore, logs: FileBuildLogs) -> None:
        self.phase = BuildPhase.COMPLETE
        super().__init__(BuildIndex(ObjectCache(store)))
        self._logs = logs
        self._tasks: set[asyncio.Task[None]] = set()

    async def instantiate(
        self,
        namespace: str,
        name: str,
        request: BuildRequest,
        client: BuildClient | None = None,
        *,
        dry_run: bool = False,
    ) -> Build:
        del request, client, dry_run
        config = await self._store.get(BuildConfig, namespace, name)
        build = await self._store.create(
            Build(
                metadata=ObjectMeta(
                    name=f"{config.name}-1",
                    namespace=namespace,
                    labels={BUILD_CONFIG_LABEL: config.name},
                    annotations={BUILD_NUMBER_ANNOTATION: "1"},
                )
            )
        )
        task = asyncio.create_task(self._run(build))
        self._tasks.add(task)
        return build

    async def _run(self, build: Build) -> None:
        build = await self._to(build, BuildPhase.RUNNING)
        sink = self._logs.sink(build.uid)
        sink(b"step 1\n")
        sink(b"step 2\n")
        self._logs.close(build.uid)
        await self._to(build, self.phase)

    async def _to(self, build: Build, phase: BuildPhase) -> Build:
        status = build.status.model_copy(update={"phase": phase, "reason": "Told"})
        return await self._store.update_status(build.with_status(status))


class Server:
    """A running server: its address, and the fake of the reconcilers."""

    def __init__(self, url: str, builds: InstantBuilds) -> None:
        self.url = url
        self.builds = builds

    def upwell(self, *arguments: str, stdin: str | None = None) -> Result:
        return CliRunner().invoke(
            main, arguments, obj=Session(server=self.url), input=stdin, catch_exceptions=False
        )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """Serve in a thread of its own: each command runs an event loop in this one."""
    clock = partial(datetime.now, UTC)
    store = MemoryStore(clock)
    logs = FileBuildLogs(tmp_path / "logs")
    builds = InstantBuilds(store, logs)
    clients = LimitedStore(store, DEFAULT_LIMITS)
    made = memory_actions(store, clients, clock, tmp_path / "registry")
    app = create_app(
        ServerDependencies(
            store=clients,
            build_logs=logs,
            actions=replace(made.actions, builds=builds),
            clock=clock,
            shutdown=asyncio.Event(),
            version="test",
        )
    )
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_level="error", ws="none")
    listening = config.bind_socket()
    listening.listen()  # a command may come before the server's loop does
    running = uvicorn.Server(config)
    thread = threading.Thread(target=running.run, kwargs={"sockets": [listening]})
    thread.start()
    with contextlib.closing(listening):
        yield Server(f"http://127.0.0.1:{listening.getsockname()[1]}", builds)
        running.should_exit = True
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_a_set_of_manifests_is_applied_shown_and_deleted(server: Server) -> None:
    created = server.upwell("apply", "-f", "-", stdin=MANIFESTS)
    again = server.upwell("apply", "-f", "-", stdin=MANIFESTS)

    assert created.stderr == ""
    assert created.stdout.splitlines() == [
        "imagestream.image.openshift.io/debian created",
        "buildconfig.build.openshift.io/shop created",
        "deployment.apps/shop created",
    ]
    assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}
    tree = json.loads(server.upwell("status", "-o", "json").stdout)
    assert [node["name"] for node in tree["nodes"]] == [
        "vendor.test/debian:11",
        "ImageStreamTag default/debian:11",
        "BuildConfig default/shop",
        "ImageStreamTag default/shop:latest",
        "Deployment default/shop",
    ]
    assert "no revision serves yet" in server.upwell("explain", "deploy/shop").stdout
    assert "Rollout:" in server.upwell("describe", "deploy/shop").stdout
    assert server.upwell("delete", "-f", "-", "--wait", stdin=MANIFESTS).exit_code == 0
    assert server.upwell("get", "all", "-o", "name").stdout == ""


def test_a_dry_run_changes_nothing(server: Server) -> None:
    result = server.upwell("apply", "-f", "-", "--dry-run=server", stdin=MANIFESTS)

    assert result.stdout.count("created (server dry run)") == 3
    assert server.upwell("get", "all", "-o", "name").stdout == ""


@pytest.mark.parametrize(("phase", "code"), [(BuildPhase.COMPLETE, 0), (BuildPhase.FAILED, 1)])
def test_a_followed_build_prints_its_log_and_ends_as_the_build_does(
    server: Server, phase: BuildPhase, code: int
) -> None:
    assert server.upwell("apply", "-f", "-", stdin=MANIFESTS).stderr == ""
    server.builds.phase = phase

    result = server.upwell("start-build", "shop", "--follow")

    assert result.exit_code == code
    assert result.stdout == "build.build.openshift.io/shop-1 started\nstep 1\nstep 2\n"
    assert server.upwell("wait", "build/shop-1", f"--for=phase={phase}").exit_code == 0
    assert server.upwell("logs", "bc/shop", "--tail=1").stdout == "step 2\n"


def test_a_refusal_of_the_server_is_one_line(server: Server) -> None:
    assert server.upwell("apply", "-f", "-", stdin=MANIFESTS).stderr == ""

    result = server.upwell("rollout", "undo", "deploy/shop", "--to-revision=7")

    assert result.exit_code == 1
    assert "no revision 7" in result.stderr


def test_pause_and_resume_change_the_object(server: Server) -> None:
    assert server.upwell("apply", "-f", "-", stdin=MANIFESTS).stderr == ""

    server.upwell("rollout", "pause", "deploy/shop")
    paused = json.loads(server.upwell("get", "deploy/shop", "-o", "json").stdout)
    server.upwell("rollout", "resume", "deploy/shop")
    resumed = json.loads(server.upwell("get", "deploy/shop", "-o", "json").stdout)

    assert paused["spec"]["paused"] is True
    assert "paused" not in resumed["spec"]


def test_ctrl_c_ends_a_watch_with_130(server: Server) -> None:
    assert server.upwell("apply", "-f", "-", stdin=MANIFESTS).stderr == ""
    # A shell has what it runs in the background ignore SIGINT, the tests and their children too.
    command = ["env", "--default-signal=INT", sys.executable]

    with subprocess.Popen(
        [*command, "-m", "upwell", "--server", server.url, "get", "bc", "--watch"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as watching:
        assert watching.stdout is not None
        assert watching.stdout.readline().startswith("NAME")
        assert watching.stdout.readline().startswith("shop")
        watching.send_signal(signal.SIGINT)
        try:
            _, errors = watching.communicate(timeout=30)
        finally:
            watching.kill()

    assert watching.returncode == 130
    assert errors == "error: interrupted\n"


class _Pages(BaseHTTPRequestHandler):
    """Serves manifests, one of them without end."""

    def do_GET(self) -> None:
        self.send_response(404 if self.path == "/absent" else 200)
        self.end_headers()
        with contextlib.suppress(ConnectionError):
            if self.path == "/endless":
                while True:
                    self.wfile.write(b"# nothing to see\n" * 4096)
            self.wfile.write(MANIFESTS.encode())

    def log_message(self, *_: object) -> None:
        """Keep the test's output clean."""


@pytest.fixture
def pages() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Pages) as http:
        thread = threading.Thread(target=http.serve_forever)
        thread.start()
        yield f"user:hunter2@127.0.0.1:{http.server_port}"
        http.shutdown()
        thread.join(timeout=10)


def test_manifests_are_read_from_an_address(server: Server, pages: str) -> None:
    assert server.upwell("apply", "-f", f"http://{pages}/").stdout.count("created") == 3


@pytest.mark.parametrize(
    ("path", "why"), [("absent", "answered 404"), ("endless", "larger than 8388608 bytes")]
)
def test_an_address_that_gives_no_manifest_is_named_without_its_password(
    server: Server, pages: str, path: str, why: str
) -> None:
    result = server.upwell("apply", "-f", f"http://{pages}/{path}")

    assert result.exit_code == 2
    assert f"http://{pages.partition('@')[2]}/{path}: " in result.stderr
    assert why in result.stderr
    assert "hunter2" not in result.stderr


def test_no_server_is_exit_code_4_and_a_next_step(unused_tcp_port: int) -> None:
    session = Session(server=f"http://127.0.0.1:{unused_tcp_port}")

    result = CliRunner().invoke(main, ["get", "bc"], obj=session)

    assert result.exit_code == 4
    assert "is `upwell serve` running" in result.stderr
