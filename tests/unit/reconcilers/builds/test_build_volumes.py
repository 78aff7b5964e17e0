"""Builds with volumes: what they wait for, what the builder gets, when they are built again."""

import json
from collections.abc import Mapping
from pathlib import Path

import pytest
from tests.support.builds.memory_builds import (
    NAMESPACE,
    BuildMachine,
    docker_build,
    image_stream,
    until,
)

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import BuildStrategy
from upwell.api.core import ConfigMap, Secret
from upwell.api.meta import ObjectMeta

KEY = {
    "name": "key",
    "source": {"type": "Secret", "secret": {"secretName": "key"}},
    "mounts": [{"destinationPath": "/root/.ssh"}, {"destinationPath": "/srv/ssh"}],
}
SETTINGS = {
    "name": "settings",
    "source": {"configMap": {"name": "settings", "items": [{"key": "a", "path": "m2/a.xml"}]}},
    "mounts": [{"destinationPath": "/etc/settings"}],
}
MAYBE = {
    "name": "maybe",
    "source": {"secret": {"secretName": "none", "optional": True}},
    "mounts": [{"destinationPath": "/maybe"}],
}


@pytest.fixture
async def machine(tmp_path: Path) -> BuildMachine:
    machine = BuildMachine(tmp_path)
    await machine.store.create(image_stream("app"))
    return machine


def with_volumes(number: int, *volumes: Mapping[str, object]) -> Build:
    document = {"type": "Docker", "dockerStrategy": {"volumes": volumes}}
    strategy = BuildStrategy.model_validate_json(json.dumps(document))
    return docker_build(number, strategy=strategy)


async def ended(machine: BuildMachine, name: str) -> Build:
    async def is_over() -> bool:
        return (await machine.build(name)).status.phase.is_terminal

    await until(is_over)
    return await machine.build(name)


async def test_a_build_waits_for_its_volumes_and_gets_their_files(machine: BuildMachine) -> None:
    await machine.store.create(with_volumes(1, KEY, SETTINGS, MAYBE))

    async def waits_for_both() -> bool:
        message = (await machine.build("app-1")).status.message or ""
        return "waits for Secret key, ConfigMap settings: create" in message

    async with machine.building():
        await until(waits_for_both)
        key = ObjectMeta(name="key", namespace=NAMESPACE)
        await machine.store.create(Secret(metadata=key, data={"id": "c2VjcmV0"}))
        settings = ObjectMeta(name="settings", namespace=NAMESPACE)
        await machine.store.create(ConfigMap(metadata=settings, data={"a": "x", "b": "y"}))
        done = await ended(machine, "app-1")
    assert done.status.phase is BuildPhase.COMPLETE, done.status.message
    [plan] = machine.builder.plans
    assert [(v.name, dict(v.files), v.targets, v.secret) for v in plan.volumes] == [
        ("key", {"id": b"secret"}, ("/root/.ssh", "/srv/ssh"), True),
        ("settings", {"m2/a.xml": b"x"}, ("/etc/settings",), False),
        ("maybe", {}, ("/maybe",), True),
    ]


async def test_other_content_is_another_input(machine: BuildMachine) -> None:
    metadata = ObjectMeta(name="settings", namespace=NAMESPACE)
    stored = await machine.store.create(ConfigMap(metadata=metadata, data={"a": "x"}))
    hashes = []
    async with machine.building():
        for number, value in enumerate(("x", "x", "y"), 1):
            changed = stored.model_copy(update={"data": {"a": value}})
            stored = await machine.store.update(changed)
            await machine.store.create(with_volumes(number, SETTINGS))
            hashes.append((await ended(machine, f"app-{number}")).status.inputs)
    assert hashes[0] == hashes[1] != hashes[2]
    assert len(machine.builder.plans) == 2


async def test_a_key_that_is_missing_fails_the_build(machine: BuildMachine) -> None:
    metadata = ObjectMeta(name="settings", namespace=NAMESPACE)
    await machine.store.create(ConfigMap(metadata=metadata, data={"b": "x"}))
    await machine.store.create(with_volumes(1, SETTINGS))
    async with machine.building():
        failed = await ended(machine, "app-1")
    assert failed.status.phase is BuildPhase.FAILED
    assert "ConfigMap settings has no key 'a'" in (failed.status.message or "")
