"""A store, a real Podman and a real HAProxy under the reconcilers: `serve` is one process."""

import asyncio
import json
import tempfile
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from tests.support.ports import free_port
from tests.support.registry.memory import RegistryInMemory
from tests.support.router.haproxy_folder import haproxy_folder
from tests.support.workload.podman_home import PodmanHome, podman_home_in
from tests.support.workload.waiting import eventually

from upwell.actions.rollouts import RolloutActions
from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.api.conditions import find
from upwell.api.core import ConfigMap, Service
from upwell.api.meta import Condition, Resource
from upwell.api.route import Route
from upwell.controller import ObjectCache
from upwell.machine.folder import remove_deep
from upwell.oci import Reference
from upwell.reconcilers import rollouts
from upwell.reconcilers.images.insecure import InsecureRegistries
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.reconcilers.jobs.cron_jobs import cron_job_controller
from upwell.reconcilers.jobs.jobs import job_controller
from upwell.reconcilers.rollouts.index import WorkloadIndex
from upwell.reconcilers.rollouts.triggers import workload_trigger_controller
from upwell.reconcilers.routing.reconciler import routing_controller
from upwell.router.haproxy.router import HaproxyRouter, HaproxySettings
from upwell.server.asgi.tls import generated
from upwell.store.interface import ConflictError
from upwell.store.memory import MemoryStore
from upwell.workload.podman.bridge import leave
from upwell.workload.podman.runtime import PodmanRuntime, PodmanSettings
from upwell.workload.podman.volumes.pins import Pins

HOST = "web.shop.localhost"
SERVE = "mkdir /www && echo $VERSION > /www/index.html && exec httpd -f -p 8080 -h /www"
NEVER_READY = "echo no database; exec sleep 600"
CRASH = "echo bad configuration; exit 3"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture(scope="module")
def podman_home() -> Iterator[PodmanHome]:
    # Not below pytest's folder: a Unix socket's path may have 107 characters only.
    with podman_home_in(Path(tempfile.mkdtemp(prefix="upwell-rollouts-"))) as home:
        yield home


async def make_certificate(hosts: Sequence[str]) -> str:
    """Return a certificate for these hosts, made by an authority that nobody knows."""
    with tempfile.TemporaryDirectory() as folder:
        made = generated(Path(folder) / "tls", hosts, now())
        return made.chain.read_text() + made.key.read_text()


@dataclass
class RealRollouts:
    """The store and the parts that outlive a process; `serve` is one process."""

    image: Reference
    podman: PodmanSettings
    router: HaproxyRouter
    store: MemoryStore = field(init=False)
    actions: RolloutActions = field(init=False)
    traffic: rollouts.Traffic = field(init=False)
    """Of the process that serves last."""
    ahead: timedelta = timedelta()
    """Span by which the time of the store and the reconcilers is ahead of the machine's."""

    def __post_init__(self) -> None:
        self.store = MemoryStore(self.clock)
        self.actions = RolloutActions(self.store, self.clock)

    def clock(self) -> datetime:
        return now() + self.ahead

    async def pass_time(self, time: timedelta, kind: type[Resource], name: str) -> None:
        """Move the time on, and have an object looked at once more."""
        self.ahead += time

        def touched(current: Resource) -> Resource:
            annotations = {**current.annotations, "test/ahead": str(self.ahead)}
            return current.with_metadata(annotations=annotations)

        await self.change(kind, name, touched)

    async def change[R: Resource](
        self, kind: type[R], name: str, change: Callable[[R], Resource]
    ) -> None:
        """Write a change of an object that reconcilers write too."""

        async def written() -> bool:
            try:
                await self.store.update(change(await self.store.get(kind, "shop", name)))
            except ConflictError:
                return False
            return True

        await eventually(written, bool)

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[PodmanRuntime]:
        async with PodmanRuntime.open(self.podman) as runtime, asyncio.TaskGroup() as group:
            self.traffic = rollouts.Traffic(now)
            machine = rollouts.RolloutPorts(
                runtime, self.router, self.traffic, runtime.service_network
            )
            images = rollouts.TemplateImages(
                RegistryInMemory(),  # every image is in the storage already, pinned by digest
                PullSecrets(self.store),
                InsecureRegistries(self.store),
            )
            cache = ObjectCache(self.store)
            index = WorkloadIndex(cache)
            running = (
                cache,
                rollouts.rollout_controller(index, machine, images, self.clock),
                routing_controller(cache, machine, now),
                job_controller(cache, machine, images, self.clock),
                cron_job_controller(cache, self.clock),
                workload_trigger_controller(index, now),
            )
            tasks = [group.create_task(one.run()) for one in running]
            yield runtime
            for task in tasks:
                task.cancel()

    async def apply(self, version: str, script: str = SERVE, replicas: int = 1) -> None:
        spec = self._deployment(version, script, replicas).spec
        await self.change(Deployment, "web", lambda now: now.model_copy(update={"spec": spec}))

    async def begin(self, version: str, replicas: int = 1) -> None:
        place: dict[str, Any] = {"namespace": "shop", "name": "web"}
        await self.store.create(
            decode_as(ConfigMap, {"metadata": place, "data": {"GREETING": "hello"}})
        )
        ports = [{"name": "http", "port": free_port(), "targetPort": "http"}]
        spec = {"selector": {"app": "web"}, "ports": ports}
        await self.store.create(decode_as(Service, {"metadata": place, "spec": spec}))
        to = {"to": {"kind": "Service", "name": "web"}}
        await self.store.create(decode_as(Route, {"metadata": place, "spec": to}))
        await self.store.create(self._deployment(version, SERVE, replicas))

    def _deployment(self, version: str, script: str, replicas: int) -> Deployment:
        container = {
            "name": "web",
            "image": str(self.image),
            "command": ["/bin/busybox", "sh", "-c"],
            "args": [script],
            "env": [{"name": "VERSION", "value": version}],
            "envFrom": [{"configMapRef": {"name": "web"}}],
            "ports": [{"name": "http", "containerPort": 8080}],
            "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 1},
        }
        template = {
            "metadata": {"labels": {"app": "web"}},
            "spec": {"containers": [container], "terminationGracePeriodSeconds": 1},
        }
        # What serves has all the time that a slow machine needs; the others are waited for.
        deadline = 60 if script == SERVE else 4
        spec = {"replicas": replicas, "progressDeadlineSeconds": deadline, "template": template}
        return decode_as(
            Deployment, {"metadata": {"namespace": "shop", "name": "web"}, "spec": spec}
        )

    async def deployment(self) -> Deployment:
        return await self.store.get(Deployment, "shop", "web")

    async def progressing(self) -> Condition:
        found = find((await self.deployment()).status.conditions, "Progressing")
        return found or Condition(type="Progressing", status="Unknown")

    async def until_live(self, revision: int) -> None:
        def live(deployment: Deployment) -> bool:
            return any(
                one.revision == revision and one.phase == "Complete" and one.live_at is not None
                for one in deployment.status.revisions
            )

        await eventually(self.deployment, live)


@pytest.fixture
async def real_rollouts(podman_home: PodmanHome) -> AsyncIterator[RealRollouts]:
    name = uuid.uuid4().hex[:8]
    podman = PodmanSettings(
        data_dir=podman_home.root / name,
        instance_id=name,
        storage_root=podman_home.root / "storage",
        run_root=podman_home.root / "run",
        containers_conf=podman_home.conf,
    )
    async with AsyncExitStack() as stack:
        settings = HaproxySettings(
            stack.enter_context(haproxy_folder()),
            f"127.0.0.1:{free_port()}",
            https_address=f"127.0.0.1:{free_port()}",
            make_certificate=make_certificate,
        )
        router = HaproxyRouter(settings)
        stack.push_async_callback(router.stop)
        stack.push_async_callback(_remove_all, podman_home, podman)
        yield RealRollouts(podman_home.image, podman, router)


async def _remove_all(home: PodmanHome, podman: PodmanSettings) -> None:
    name = f"name=^{podman.network_name}$"
    made = json.loads(home.run("network", "ls", "--format=json", "--filter", name))
    home.clear(podman.instance_id, podman.network_name)
    remove_deep(podman.temporary_root)
    Pins(podman.pins_root, ()).clear()
    for network in made:  # a test that was skipped has made none
        _, upper = IPv4Network(network["subnets"][0]["subnet"]).subnets()
        await leave(upper)
