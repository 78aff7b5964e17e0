"""Objects that went wrong, as reconcilers report them, and commands that ask what is the matter.

What is declared is brought to its state by the reconcilers and decisions themselves, over a machine
in memory: their words are those that people read.
"""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from inspect import isawaitable
from pathlib import Path
from typing import Any

from tests.support.cli.mistaken_commands import Group, Mistake
from tests.support.promotion.pipeline_objects import promotion, rejection_of, release
from tests.support.rollouts.memory_machine import CRASHING, GOOD, HANGING, RolloutSetup

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build, BuildPhase, BuildStatus
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.builder.context import context_of, read_dockerfile
from upwell.builder.diagnosis import machine_fault
from upwell.builder.interface import BuildError, MissingScriptsError
from upwell.builder.strategies.s2i_scripts import ScriptSources, collect_scripts
from upwell.machine.process import ProcessResult
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.policy.builds.failures import may_pass, retry_message, status_message, status_reason
from upwell.policy.health.builds import build_degradation
from upwell.workload.podman.api.pull_faults import failed_pull

_NOW = RolloutSetup().clock()
ASKED_AT = _NOW + timedelta(hours=2)
"""Time of the commands: later than all of this."""
_PLAIN = "server gave HTTP response to HTTPS client"
_FULL = ProcessResult(1, "Error: committing: write /var/tmp/layer: no space left on device")


async def objects(folder: Path) -> AsyncIterator[Resource]:
    """Yield the objects with their statuses; `folder` is empty, and stands for a source."""
    async for workload in _workloads():
        yield workload
    async for one in _builds(folder):
        yield one
    for one in _releases():
        yield one


async def _workloads() -> AsyncIterator[Resource]:
    """Yield workloads that do not run, each in a namespace of its own."""
    probe = {"readinessProbe": {"tcpSocket": {"port": 8001}}}
    secret = {"secretKeyRef": {"name": "dbpass", "key": "password"}}
    containers: Sequence[tuple[str, str, Mapping[str, Any]]] = (
        ("plain", GOOD, {}),
        ("deaf", HANGING, probe),
        ("crash", CRASHING, probe),
        ("unprobed", CRASHING, {}),
        ("secretless", GOOD, {"env": [{"name": "PASSWORD", "valueFrom": secret}]}),
    )
    for namespace, image, more in containers:
        yield await _settled(namespace, image, more)


async def _settled(namespace: str, image: str, more: Mapping[str, Any]) -> Resource:
    """Return a Deployment as it is after a while; that of `crash` has a revision that works."""
    setup = RolloutSetup()
    if namespace == "plain":
        setup.runtime.failures[image] = failed_pull(Reference.parse(image), _PLAIN)
    container = {"name": "web", "image": GOOD if namespace == "crash" else image, **more}
    labels = {"app": "web"}
    template = {"metadata": {"labels": labels}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"namespace": namespace, "name": "web"}
    made = decode_as(Deployment, {"metadata": metadata, "spec": spec})
    await setup.apply(made)
    await setup.settle(made.key, limit=900)
    stored = await setup.store.get(Deployment, namespace, "web")
    if namespace == "crash":
        container["image"] = image
        changed = decode_as(Deployment, {"metadata": metadata, "spec": spec})
        await setup.store.update(stored.model_copy(update={"spec": changed.spec}))
        await setup.settle(made.key, limit=900)
        stored = await setup.store.get(Deployment, namespace, "web")
    return stored


async def _builds(folder: Path) -> AsyncIterator[Resource]:
    """Yield builds that have failed, each with its BuildConfig in a namespace of its own."""
    step = 'building at STEP "RUN make": while running runtime: exit status 2'
    failed = BuildError("DockerBuildFailed", f"Dockerfile build strategy has failed: {step}")
    unscripted = ScriptSources("", folder, "", unrestricted())
    wrong: Mapping[str, Callable[[], object]] = {
        "unscripted": lambda: collect_scripts(unscripted, folder),
        "undockered": lambda: read_dockerfile(folder, "Dockerfile"),
        "contextless": lambda: context_of(folder, "nodir"),
        "full": lambda: _raise(machine_fault(_FULL)),
        "failing": lambda: _raise(failed),
    }
    for namespace, act in wrong.items():
        try:
            done = act()
            if isawaitable(done):
                await done
        except BuildError as error:
            for one in _failed(namespace, error):
                yield one


def _raise(error: BuildError | None) -> None:
    assert error is not None
    raise error


def _failed(namespace: str, error: BuildError) -> Iterator[Resource]:
    """Yield a BuildConfig and its build, as it is after its first attempt."""
    image = {"kind": "ImageStreamTag", "name": "debian:13"}
    scripted = isinstance(error, MissingScriptsError)
    spec = {
        "source": {"git": {"uri": "https://git.test/shop.git"}},
        "strategy": {"sourceStrategy": {"from": image}} if scripted else {"dockerStrategy": {}},
        "output": {"to": {"kind": "ImageStreamTag", "name": "shop:latest"}},
    }
    metadata = {"namespace": namespace, "name": "shop"}
    yield decode_as(ImageStream, {"metadata": metadata})
    labels = {"buildconfig": "shop", "openshift.io/build-config.name": "shop"}
    build = {"namespace": namespace, "name": "shop-1", "labels": labels}
    made = decode_as(Build, {"metadata": build, "spec": spec})
    again = may_pass(error, 1)
    due = _NOW + timedelta(seconds=10)
    status = BuildStatus(
        phase=BuildPhase.NEW if again else BuildPhase.FAILED,
        reason=status_reason(error.reason),
        message=retry_message(error, 2, due) if again else status_message(error.reason, str(error)),
        start_timestamp=_NOW,
        completion_timestamp=None if again else _NOW,
        attempts=1,
        retry_time=due if again else None,
    )
    made = made.with_status(status)
    yield made
    config = decode_as(BuildConfig, {"metadata": metadata, "spec": spec})
    degraded = build_degradation(made, None)
    assert degraded is not None
    yield config.with_status(config.status.model_copy(update={"conditions": (degraded,)}))


def _releases() -> Iterator[Resource]:
    """Yield a Release that a check of its first stage has rejected."""
    ended = {"phase": "Failed", "message": "check test: exit code 1: 2 tests failed"}
    ended |= {"started": "2026-01-01T00:00:00Z", "ended": "2026-01-01T00:01:00Z"}
    made = release(1, f"sha256:{'1' * 64}", f"sha256:{'2' * 64}")
    yield from rejection_of(promotion("shop-1.dev", status=ended), made)


STATES = Group(
    "States that nobody wanted",
    (
        Mistake("a registry that speaks plain http", "status -n plain"),
        Mistake("the same, explained", "explain deployment/web -n plain"),
        Mistake("a probe of a port at which nobody listens", "status -n deaf"),
        Mistake("a new image that crashes", "status -n crash"),
        Mistake("the same, explained", "explain deployment/web -n crash"),
        Mistake("an image that crashes, without a probe", "status -n unprobed"),
        Mistake("a Secret that does not exist", "status -n secretless"),
        Mistake("the same, explained", "explain deployment/web -n secretless"),
        Mistake("a Dockerfile that does not exist", "status -n undockered"),
        Mistake("a folder of the source that does not exist", "explain bc/shop -n contextless"),
        Mistake("a builder image that is none", "explain bc/shop -n unscripted"),
        Mistake("a step of a build that fails", "status -n failing"),
        Mistake("a full disk in a build", "status -n full"),
        Mistake("a rejected release", "promote shop-1 --stage staging"),
    ),
)
