"""Import into a cluster: whole, and once, however often it is interrupted."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, override

import pytest

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.api.core import Namespace, Secret, ServiceAccount
from upwell.api.meta import ObjectKey, ObjectMeta, Resource
from upwell.cli.core.errors import CommandError
from upwell.cli.transfer.archive import write_archive
from upwell.cli.transfer.importing import ClusterImport, ImportOutcome
from upwell.policy.transfer.objects import UNFINISHED, from_cluster
from upwell.store.interface import NotFoundError, RejectedError, StoreError, UnavailableError
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.memory import MemoryStore

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient


def now() -> datetime:
    return datetime.now(UTC)


CONFIG = decode_as(
    BuildConfig,
    {
        "metadata": {"name": "shop", "namespace": "shop", "uid": "config", "generation": 3},
        "spec": {"strategy": {"type": "Docker", "dockerStrategy": {}}},
        "status": {"lastVersion": 7},
    },
)
BUILD = decode_as(
    Build,
    {
        "metadata": {
            "name": "shop-7",
            "namespace": "shop",
            "uid": "build",
            "generation": 1,
            "ownerReferences": [
                {"apiVersion": "v1", "kind": "BuildConfig", "name": "shop", "uid": "config"}
            ],
        },
        "spec": {"strategy": {"type": "Docker", "dockerStrategy": {}}},
        "status": {"phase": "Complete"},
    },
)
OBJECTS: list[Resource] = [BUILD, CONFIG]


class FailingWritesStore(MemoryStore):
    """A store that cannot be reached, or refuses, after a number of writes."""

    writes_left = 0
    fault: StoreError = UnavailableError("cut off")

    def _count(self) -> None:
        if not self.writes_left:
            raise self.fault
        self.writes_left -= 1

    @override
    async def create[R: Resource](self, resource: R) -> R:
        self._count()
        return await super().create(resource)

    @override
    async def update[R: Resource](self, resource: R) -> R:
        self._count()
        return await super().update(resource)

    @override
    async def update_status[R: Resource](self, resource: R) -> R:
        self._count()
        return await super().update_status(resource)


async def imported(store: MemoryStore) -> ImportOutcome:
    return await importing(store, OBJECTS)


async def importing(store: MemoryStore, resources: Sequence[Resource]) -> ImportOutcome:
    into = ClusterImport(store, lambda _: None)
    return await into.run(await into.check(resources))


@pytest.mark.parametrize("writes", range(6))
async def test_an_import_goes_on_where_it_was_interrupted(writes: int) -> None:
    store = FailingWritesStore(now)
    store.writes_left = writes
    with pytest.raises(UnavailableError):
        await imported(store)

    store.writes_left = 100
    await imported(store)
    config = await store.get(BuildConfig, "shop", "shop")
    build = await store.get(Build, "shop", "shop-7")
    assert config.status.last_version == 7
    assert build.status.phase == "Complete"
    assert [owner.uid for owner in build.metadata.owner_references] == [config.uid]
    assert UNFINISHED not in config.annotations
    assert UNFINISHED not in build.annotations
    assert {one.uid for one in from_cluster([config, build])} == {"config", "build"}

    again = await imported(store)
    assert (again.written, again.there) == (0, 2)


async def test_a_status_that_went_on_is_not_put_back() -> None:
    store = MemoryStore(now)
    await imported(store)
    config = await store.get(BuildConfig, "shop", "shop")
    await store.update_status(
        config.with_status(config.status.model_copy(update={"last_version": 8}))
    )
    await imported(store)
    assert (await store.get(BuildConfig, "shop", "shop")).status.last_version == 8


async def test_with_another_object_in_the_way_nothing_is_written() -> None:
    store = MemoryStore(now)
    await store.create(CONFIG)
    with pytest.raises(CommandError, match=r"BuildConfig shop/shop exists already"):
        await imported(store)
    assert not (await store.list(Build)).items


def test_with_another_object_in_the_way_no_audit_log_is_written_either(
    upwell: "Callable[..., Result]", client: "FakeClient", tmp_path: Path
) -> None:
    asyncio.run(client.create(CONFIG))
    write_archive(tmp_path / "objects.gz", OBJECTS, [_audit_log(tmp_path)])
    folder = tmp_path / "audit"
    refused = upwell("import", str(tmp_path / "objects.gz"), "--audit-folder", str(folder))
    assert "BuildConfig shop/shop exists already" in refused.stderr
    assert not folder.exists()


def _audit_log(folder: Path) -> Path:
    log = folder / "audit.log"
    log.write_text("a line\n")
    return log


async def test_a_namespace_that_is_there_is_kept() -> None:
    store = MemoryStore(now)
    await store.create(Namespace(metadata=ObjectMeta(name="shop", labels={"kept": "yes"})))
    moved: list[Resource] = [
        Namespace(metadata=ObjectMeta(name="shop", uid="old")),
        Secret(metadata=ObjectMeta(name="login", namespace="shop", uid="secret")),
    ]
    outcome = await importing(store, moved)
    assert (outcome.written, outcome.there) == (1, 1)
    assert (await store.get(Namespace, "", "shop")).labels["kept"] == "yes"


def refused_by_admission() -> StoreError:
    error = StoreForbiddenError('BuildConfig shop/shop: admission webhook "w" denied the request')
    error.by_admission = True
    return error


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            NotFoundError(ObjectKey("Namespace", "", "shop")),
            "Namespace shop does not exist: `kubectl create namespace shop`",
        ),
        (
            refused_by_admission(),
            'admission webhook "w" denied the request: have what refuses it let it in',
        ),
        (RejectedError("spec: Invalid value"), "spec: Invalid value: correct it where it comes"),
        (StoreForbiddenError("cannot create; grant create"), "cannot create; grant create"),
    ],
)
async def test_a_refusal_names_the_object_the_cause_and_the_next_step(
    error: StoreError, told: str
) -> None:
    store = FailingWritesStore(now)
    store.fault = error
    outcome = await importing(store, [CONFIG])
    [refusal] = outcome.refused
    assert refusal.startswith(f"BuildConfig shop/shop: {told}")
    assert refusal.count("BuildConfig shop/shop") == 1


async def test_an_account_that_the_cluster_makes_meanwhile_is_kept() -> None:
    store = MemoryStore(now)
    account = ObjectMeta(name="default", namespace="shop")
    moved: list[Resource] = [
        Namespace(metadata=ObjectMeta(name="shop", uid="old")),
        ServiceAccount(metadata=account.model_copy(update={"uid": "account"})),
    ]
    into = ClusterImport(store, lambda _: None)
    wanted = await into.check(moved)
    await store.create(ServiceAccount(metadata=account))  # as its controller does
    outcome = await into.run(wanted)
    assert (outcome.written, outcome.there, outcome.refused) == (1, 1, [])
