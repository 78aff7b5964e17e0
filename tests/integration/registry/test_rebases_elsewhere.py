"""Rebases of builds whose output is in a registry that is not the server's own."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, override

import pytest
from tests.support.builds.memory_builds import INTERNAL, NAMESPACE, VENDOR
from tests.support.builds.rebased_builds import APP, NEW, OLD, RebaseMachine, app, digest
from tests.support.registry.docker_registry import ALICE, HTPASSWD, docker_registry
from tests.support.registry.logins import OneLogin
from tests.support.registry.made_images import MadeImage, made_image, push_made

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.inputs import BuildOutput, BuildStrategy, DockerBuildStrategy
from upwell.api.core import Secret
from upwell.api.meta import LocalReference, ObjectMeta, ObjectReference
from upwell.oci import Digest, Manifest, Reference
from upwell.oci.rebase.images import LayeredImage
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import RegistryUnavailableError, UnauthorizedError
from upwell.registry.forwarding import ForwardingRegistry
from upwell.registry.interface import Credential, Registry

LOGIN = LocalReference(name="login")


class Remotes(ForwardingRegistry):
    """The vendor's registry in memory, and all others by a client."""

    def __init__(self, vendor: Registry, client: Registry) -> None:
        super().__init__(client)
        self._vendor = vendor

    @override
    def _for(self, reference: Reference) -> Registry:
        return self._vendor if reference.registry == VENDOR else self._registry


class ElsewhereMachine(RebaseMachine):
    """One whose builds go to a registry that wants a login; the client has none of its own."""

    def __init__(self, folder: Path, host: str, user: RegistryClient) -> None:
        super().__init__(folder, folder / "layers")
        self.host, self.user = host, user
        self.remote = Remotes(self.vendor, self.client)

    @override
    async def push(self, target: Reference, image: MadeImage) -> Digest:
        name = f"{target.registry}/{target.repository}:{target.tag}"
        return await push_made(RegistryPusher(self.user.connection), name, image)

    async def update_base_beside(self, *layers: bytes) -> None:
        """Push a base into the registry that the builds go to."""
        self.layers |= {Digest.of(layer): layer for layer in layers}
        pusher = RegistryPusher(self.user.connection)
        await push_made(pusher, f"{self.host}/team/base:1", made_image(*layers))

    def app(self, number: int, answer: str | None = None, **spec: Any) -> Build:
        to = ObjectReference(kind="DockerImage", name=f"{self.host}/team/app:1")
        return app(number, answer, output=BuildOutput(to=to, push_secret=LOGIN), **spec)

    async def tagged(self) -> LayeredImage:
        """Return what the output's tag names, all layers of which are there."""
        name = Reference.parse(f"{self.host}/team/app:1")
        manifest = await self.user.manifest(name)
        assert isinstance(manifest, Manifest)
        for layer in manifest.layers:
            assert len(await self.user.blob(name, layer.digest, layer.size)) == layer.size
        raw = await self.user.blob(name, manifest.config.digest, manifest.config.size)
        return LayeredImage.parse(manifest, raw)


@asynccontextmanager
async def rebasing(folder: Path) -> AsyncIterator[ElsewhereMachine]:
    (folder / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    login = OneLogin(Credential(*ALICE))
    async with (
        docker_registry(folder, auth) as host,
        RegistryClient(unrestricted(), credentials=login) as user,
    ):
        machine = ElsewhereMachine(folder, host, user)
        username, password = ALICE
        auths = {"auths": {host: {"username": username, "password": password}}}
        await machine.store.create(
            Secret(
                metadata=ObjectMeta(name="login", namespace=NAMESPACE),
                type="kubernetes.io/dockerconfigjson",
                data=Secret.encode_values({".dockerconfigjson": json.dumps(auths).encode()}),
            )
        )
        async with machine.client:
            yield machine


@pytest.fixture
async def machine(tmp_path: Path) -> AsyncIterator[ElsewhereMachine]:
    async with rebasing(tmp_path) as machine:
        yield machine


async def test_an_output_in_another_registry_is_rebased_there(machine: ElsewhereMachine) -> None:
    await machine.update_base(OLD)
    first = await machine.done(machine.app(1))
    assert first.status.phase is BuildPhase.COMPLETE, first.status
    await machine.update_base(NEW)
    second = await machine.done(machine.app(2, "auto"))

    assert second.status.phase is BuildPhase.COMPLETE, second.status
    assert [plan.name for plan in machine.builder.plans] == ["app-1"]
    image = await machine.tagged()
    assert image.diff_ids == (Digest.of(NEW), Digest.of(APP))
    assert image.digest == digest(second) != digest(first)
    assert image.labels["io.openshift.build.name"] == "app-2"
    log = await machine.log(second)
    assert "0 layers mounted, 1 sent;" in log  # of the base, which was never there
    assert f"Pushed {machine.host}/team/app@{image.digest}" in log
    # And so on: the next base finds this one.
    await machine.update_base(OLD)
    third = await machine.done(machine.app(3, "rebase"))
    assert third.status.phase is BuildPhase.COMPLETE, third.status
    assert (await machine.tagged()).diff_ids == (Digest.of(OLD), Digest.of(APP))


async def test_a_base_of_the_same_registry_is_mounted(machine: ElsewhereMachine) -> None:
    docker = DockerBuildStrategy(pull_secret=LOGIN)
    spec: dict[str, Any] = {
        "strategy": BuildStrategy(type="Docker", docker_strategy=docker),
        "dockerfile": f"FROM {machine.host}/team/base:1\nRUN make\n",
    }
    await machine.update_base_beside(OLD)
    first = await machine.done(machine.app(1, **spec))
    assert first.status.phase is BuildPhase.COMPLETE, first.status
    await machine.update_base_beside(NEW)
    second = await machine.done(machine.app(2, "rebase", **spec))

    assert second.status.phase is BuildPhase.COMPLETE, second.status
    assert (await machine.tagged()).diff_ids == (Digest.of(NEW), Digest.of(APP))
    assert "1 layers mounted, 0 sent; 0 bytes" in await machine.log(second)


async def test_a_tag_that_another_has_moved_stays(machine: ElsewhereMachine) -> None:
    await machine.update_base(OLD)
    await machine.done(machine.app(1))
    pushed = await machine.push(
        Reference.parse(f"{machine.host}/team/app:1"), made_image(OLD, b"other")
    )
    await machine.update_base(NEW)
    second = await machine.done(machine.app(2, "rebase"))

    assert second.status.reason == "NotRebased", second.status
    assert str(pushed) in (second.status.message or "")
    assert (await machine.tagged()).digest == pushed


async def test_a_rebase_that_was_cut_off_after_its_tag_is_not_made_again(
    machine: ElsewhereMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.update_base(OLD)
    await machine.done(machine.app(1))
    await machine.update_base(NEW)
    put, ends = RegistryPusher.push_manifest, 0

    async def cut_off(self: RegistryPusher, reference: Reference, *arguments: Any) -> bool:
        nonlocal ends
        done = await put(self, reference, *arguments)
        if reference.tag is not None and not ends:
            ends += 1
            raise RegistryUnavailableError(reference.name, "the connection broke")
        return done

    monkeypatch.setattr(RegistryPusher, "push_manifest", cut_off)
    second = await machine.done(machine.app(2, "rebase"))

    assert second.status.phase is BuildPhase.COMPLETE, second.status
    assert digest(second) == (await machine.tagged()).digest
    assert ends == 1


async def test_a_login_that_ends_in_the_middle_leaves_the_tag_and_is_told(
    machine: ElsewhereMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machine.update_base(OLD)
    first = await machine.done(machine.app(1))
    await machine.update_base(NEW)

    async def refused(_self: RegistryPusher, reference: Reference, *_: Any) -> bool:
        raise UnauthorizedError(reference.name, "the token has expired")

    with monkeypatch.context() as patched:
        patched.setattr(RegistryPusher, "push_manifest", refused)
        second = await machine.done(machine.app(2, "rebase"))
    assert (second.status.phase, second.status.reason) == (
        BuildPhase.FAILED,
        "PushImageToRegistryFailed",
    )
    assert "the token has expired" in (second.status.message or "")
    assert (await machine.tagged()).digest == digest(first)
    third = await machine.done(machine.app(3, "rebase"))
    assert third.status.phase is BuildPhase.COMPLETE, third.status
    assert (await machine.tagged()).diff_ids == (Digest.of(NEW), Digest.of(APP))


async def test_an_output_of_the_own_registry_without_a_stream_is_built(
    machine: ElsewhereMachine,
) -> None:
    await machine.update_base(OLD)
    to = ObjectReference(kind="DockerImage", name=f"{INTERNAL}/{NAMESPACE}/other:1")
    output = BuildOutput(to=to)
    machine.builder.make = None
    await machine.done(app(1, output=output))
    await machine.update_base(NEW)
    second = await machine.done(app(2, "auto", output=output))
    assert second.status.rebase is not None
    assert "no stream's" in (second.status.rebase.message or "")
