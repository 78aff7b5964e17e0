"""Damage of the embedded registry is a fault until all is whole again."""

from pathlib import Path

import pytest
from tests.support.component_reports import running, state
from tests.support.registry.hosted_images import push

from upwell.app import cleanup
from upwell.app.cleanup import watch_registry
from upwell.machine.components import Components
from upwell.registry.embedded import EmbeddedRegistry


async def test_a_damaged_manifest_is_told_with_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cleanup, "_DAMAGE_SECONDS", 0.01)
    digest = await push(EmbeddedRegistry(tmp_path, "registry.test"), "team/app")
    (tmp_path / "blobs" / "sha256" / digest.hex[:2] / digest.hex).write_bytes(b"damaged")
    registry, components = EmbeddedRegistry(tmp_path, "registry.test"), Components()
    async with running(watch_registry(registry, components)):
        await registry.collect_garbage()
        found = await state(components, lambda one: one.faulty)
        assert (found.name, found.reason, found.required) == ("registry", "ContentDamaged", False)
        assert f"manifest {digest} of team/app" in found.message
        assert "push or build it again" in found.message

        await push(registry, "team/app")
        await state(components, lambda one: not one.faulty)
