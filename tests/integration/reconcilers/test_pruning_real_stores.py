"""Pruning against a real registry, real logs, uploads and inventory: what goes, what stays."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from tests.support.inventory.layer_archives import ImageInMemory
from tests.support.pruning.pruned_stores import HOST, MONTH, PrunedStores, once
from tests.support.pruning.stopped_runs import stopped_after
from tests.support.registry.hosted_images import push
from tests.support.s3.strict_server import bucket_at, strict_s3

from upwell.api.builds.build import Build
from upwell.api.core import ConfigMap
from upwell.api.image import Image, ImageStream
from upwell.api.requests.prune import PruneStatus
from upwell.oci import Digest, Manifest, Reference
from upwell.policy.builds.identity import inputs_tag
from upwell.policy.pruning.rules import Rules
from upwell.reconcilers.pruning import Pruning, PruningSchedule
from upwell.registry.bucket.registry import BucketRegistry
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.errors import BlobUnknownError, ManifestUnknownError
from upwell.uploads.interface import InputMissingError
from upwell.workload.errors import RuntimeUnavailableError


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[PrunedStores]:
    machine = PrunedStores(tmp_path)
    yield machine
    machine.inventory.close()


def found(status: PruneStatus, what: str) -> list[str]:
    return sorted(item.name for item in status.items if item.what == what)


async def test_old_images_go_and_what_is_named_or_runs_is_whole(machine: PrunedStores) -> None:
    old, rollback, running, now = [
        await machine.push("shop/web:latest", mark) for mark in ("old", "back", "running", "now")
    ]
    await machine.stream("web", now, running, rollback, old)
    await machine.deploy("web", f"{HOST}/shop/web@{rollback}")
    await machine.run("web-1", running)
    machine.grow_old()
    before = machine.size()

    listed = await machine.pruning.run(machine.rules, confirm=False)
    assert await machine.manifests("shop/web") == {old, rollback, running, now}
    removed = await machine.pruning.run(machine.rules, confirm=True)

    assert listed == removed
    assert found(removed, "image") == [f"shop/web@{old}"]
    assert found(removed, "tag revision") == [f"shop/web:latest@{old}"]
    assert await machine.manifests("shop/web") == {rollback, running, now}
    assert await machine.history("web") == [str(now), str(running), str(rollback)]
    assert before - machine.size() == removed.bytes > 0
    for digest in (rollback, running, now):
        await assert_whole(machine, "shop/web", digest)
    again = await machine.pruning.run(machine.rules, confirm=True)
    assert again.items == ()


async def assert_whole(machine: PrunedStores, repository: str, digest: Digest) -> None:
    reference = Reference(HOST, repository, digest=digest)
    manifest = await machine.registry.manifest(reference)
    assert isinstance(manifest, Manifest)
    for blob in manifest.references:
        await machine.registry.blob(reference, blob.digest, 10_000)


async def test_what_is_young_stays(machine: PrunedStores) -> None:
    young = await machine.push("shop/web:latest", "young")
    await machine.push("shop/web:latest", "newer")

    status = await machine.pruning.run(machine.rules, confirm=True)

    assert status.items == ()
    await assert_whole(machine, "shop/web", young)
    reasons = {kept.image: kept.reason for kept in status.kept}
    assert reasons[f"shop/web@{young}"].startswith("pushed at")


async def test_records_logs_uploads_and_builder_images_go_with_what_they_were_of(
    machine: PrunedStores,
) -> None:
    kept, gone = [await machine.push(f"shop/{name}:latest", name) for name in ("web", "lost")]
    await machine.registry.untag("shop/lost", "latest")
    build = await machine.put(
        "Build",
        "build.openshift.io/v1",
        "web-1",
        status={"phase": "Complete", "output": {"to": {"imageDigest": str(kept)}}},
    )
    for digest in (kept, gone):
        await machine.put("Image", "image.openshift.io/v1", str(digest))
        await machine.inventory.index(digest, ImageInMemory())
    for uid in (build.uid, "gone-uid"):
        machine.logs.sink(uid)(b"hello\n")
        machine.logs.close(uid)
    upload = await machine.inputs.save(once(b"source"))
    machine.builder.old = {kept, gone}
    machine.grow_old()

    status = await machine.pruning.run(machine.rules, confirm=True)

    assert found(status, "build log") == ["gone-uid"]
    assert [log.build_id for log in machine.logs.stored()] == [build.uid]
    assert found(status, "Image") == found(status, "package list") == [str(gone)]
    assert [image.name for image in (await machine.store.list(Image)).items] == [str(kept)]
    assert await machine.inventory.digests() == [kept]
    assert [item.bytes for item in status.items if item.what == "uploads"] == [upload.size]
    assert machine.builder.old == {kept}
    assert found(status, "image") == [f"shop/lost@{gone}"]


async def test_what_somebody_else_has_removed_meanwhile_is_not_reported(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = await machine.push("shop/lost:latest", "lost")
    await machine.registry.untag("shop/lost", "latest")
    await machine.inventory.index(gone, ImageInMemory())
    machine.logs.sink("gone-uid")(b"hello\n")
    machine.logs.close("gone-uid")
    machine.grow_old()
    collect = machine.registry.collect

    async def after_another(before: datetime) -> None:
        machine.logs.remove("gone-uid")
        await machine.inventory.forget(gone)
        await collect(before)

    monkeypatch.setattr(machine.registry, "collect", after_another)
    status = await machine.pruning.run(machine.rules, confirm=True)

    assert found(status, "build log") == found(status, "package list") == []
    assert found(status, "image") == [f"shop/lost@{gone}"]


async def test_evidence_goes_with_the_promotions_that_named_it(machine: PrunedStores) -> None:
    kept, gone = [await machine.evidence.save(once(text)) for text in (b"named", b"not named")]
    named = {"name": "report.xml", "digest": str(kept.digest)}
    check = {"name": "report", "phase": "Passed", "evidence": [named]}
    await machine.put("Promotion", "upwell.dev/v1alpha1", "web-1", status={"checks": [check]})
    machine.grow_old()
    young = await machine.evidence.save(once(b"young"))

    for confirm in (False, True):
        status = await machine.pruning.run(machine.rules, confirm=confirm)
        assert [item.bytes for item in status.items if item.what == "evidence"] == [gone.size]
        assert [item.reason for item in status.items] == ["no Promotion names it"]
        if not confirm:
            assert (await machine.evidence.path(gone.digest)).exists()
    with pytest.raises(InputMissingError):
        await machine.evidence.path(gone.digest)
    for stays in (kept, young):
        assert (await machine.evidence.path(stays.digest)).exists()


async def test_a_build_that_starts_between_the_plan_and_the_removal_keeps_its_result(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    inputs = "a" * 64
    digest = await machine.push(f"shop/web:{inputs_tag(inputs)}", "made before")
    machine.grow_old()
    expire_tag = machine.registry.expire_tag

    async def build_meanwhile(repository: str, tag: str, digest: Digest) -> bool:
        # It wrote its inputs down, and found the tag, just before the tag goes.
        await machine.put(
            "Build", "build.openshift.io/v1", "web-2", status={"phase": "Running", "inputs": inputs}
        )
        return await expire_tag(repository, tag, digest)

    monkeypatch.setattr(machine.registry, "expire_tag", build_meanwhile)
    await machine.pruning.run(machine.rules, confirm=True)

    await machine.registry.tag("shop/web", "latest", digest)
    await assert_whole(machine, "shop/web", digest)


async def test_a_stream_that_changes_meanwhile_loses_nothing_now(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, now = [await machine.push("shop/web:latest", mark) for mark in ("old", "now")]
    await machine.stream("web", now, old)
    machine.grow_old()
    update_status = machine.store.update_status

    async def conflicting(resource: object) -> object:
        monkeypatch.setattr(machine.store, "update_status", update_status)
        stale = resource.with_metadata(resource_version="1")  # type: ignore[attr-defined]
        return await update_status(stale)

    monkeypatch.setattr(machine.store, "update_status", conflicting)
    first = await machine.pruning.run(machine.rules, confirm=True)
    assert not found(first, "image")
    await assert_whole(machine, "shop/web", old)
    second = await machine.pruning.run(machine.rules, confirm=True)
    assert found(second, "image") == [f"shop/web@{old}"]


async def test_pushes_of_known_content_beside_pruning_lose_nothing(machine: PrunedStores) -> None:
    marks = [f"image {at}" for at in range(12)]
    shared = b"a layer that all have"
    for mark in marks:
        await machine.push("shop/web:latest", mark, shared)
        await machine.push("shop/other:latest", mark, mark.encode())
    for repository in ("shop/web", "shop/other"):
        await machine.registry.untag(repository, "latest")
    machine.grow_old()
    done = asyncio.Event()

    async def push_again() -> None:
        for mark in marks:
            name = "shop/web:" + mark.replace(" ", "-")
            digest = await machine.push_what_is_missing(name, mark, shared)
            await assert_whole(machine, "shop/web", digest)
        done.set()

    async with asyncio.TaskGroup() as group:
        group.create_task(push_again())
        while not done.is_set():
            await machine.pruning.run(machine.rules, confirm=True)

    assert len(await machine.manifests("shop/web")) == len(marks)
    assert await machine.manifests("shop/other") == set()
    for digest in await machine.manifests("shop/web"):
        await assert_whole(machine, "shop/web", digest)


async def test_stopped_after_any_step_nothing_dangles_and_the_next_run_ends_the_same(
    tmp_path: Path,
) -> None:
    for steps in range(100):
        machine = PrunedStores(tmp_path / str(steps))
        old, now = [await machine.push("shop/web:latest", mark) for mark in ("old", "now")]
        await machine.push(f"shop/web:{inputs_tag('a' * 64)}", "forgotten")
        await machine.stream("web", now, old)
        await machine.put("Image", "image.openshift.io/v1", str(old))
        machine.grow_old()
        whole = await stopped_after(steps, machine.stores, machine.rules)

        for repository in await machine.registry.survey():
            present = {manifest.digest for manifest in repository.manifests}
            assert {tag.digest for tag in repository.tags.values()} <= present
            assert {Digest.parse(image) for image in await machine.history("web")} <= present
        await machine.pruning.run(machine.rules, confirm=True)
        assert await machine.manifests("shop/web") == {now}
        assert not (await machine.store.list(Image)).items
        await assert_whole(machine, "shop/web", now)
        machine.inventory.close()
        if whole:
            assert steps > 5, "the run was stopped at several steps"
            return
    raise AssertionError("the run never came to its end")


@pytest.fixture(params=["folder", "bucket"])
async def hosted(
    request: pytest.FixtureRequest, machine: PrunedStores
) -> AsyncIterator[EmbeddedRegistry | BucketRegistry]:
    if request.param == "folder":
        yield machine.registry
        return
    async with strict_s3() as s3, bucket_at(s3.url, machine.folder) as bucket:
        registry = BucketRegistry(bucket, HOST)
        await registry.recover()
        yield registry


async def test_what_was_pushed_to_a_deleted_stream_goes_and_its_record_after_it(
    machine: PrunedStores, hosted: EmbeddedRegistry | BucketRegistry
) -> None:
    digest = await push(hosted, "shop/web", "v1")
    unknown = await push(hosted, "shop/unknown", "v1", "of a stream that no record tells of")
    reference = f"{HOST}/shop/web@{digest}"
    await machine.put("Image", "image.openshift.io/v1", str(digest), dockerImageReference=reference)
    await machine.stream("web", digest)
    now = machine.stores.clock

    async def prune(later: timedelta) -> list[str]:
        stores = replace(machine.stores, registry=hosted, clock=lambda: now() + later)
        status = await Pruning(stores).run(machine.rules, confirm=True)
        return sorted(f"{item.what} {item.name}: {item.reason}" for item in status.items)

    assert await prune(MONTH) == []
    await machine.store.delete(ImageStream, "shop", "web")
    assert await prune(timedelta(0)) == [], "the grace time is not over"
    image, tag = await prune(MONTH)
    assert image.startswith(f"image shop/web@{digest}: nothing names it")
    assert tag == "tag shop/web:v1: its ImageStream does not exist any more"
    assert await prune(MONTH) == [f"Image {digest}: "]
    assert await prune(MONTH) == []
    assert await hosted.tag_digest("shop/web", "v1") is None
    assert not await hosted.has_manifest("shop/web", digest)
    assert await hosted.tag_digest("shop/unknown", "v1") == unknown


async def test_one_run_is_bounded_and_the_next_goes_on(machine: PrunedStores) -> None:
    for at in range(5):
        await machine.push("shop/web:latest", f"image {at}")
    await machine.registry.untag("shop/web", "latest")
    machine.grow_old()
    pruning = Pruning(machine.stores, max_removals=2)

    counts = []
    for _ in range(4):
        status = await pruning.run(machine.rules, confirm=True)
        counts.append((len(status.items), status.more))

    assert counts == [(2, True), (2, True), (1, False), (0, False)]


async def test_a_removed_blob_is_unknown_and_a_removed_manifest_too(machine: PrunedStores) -> None:
    digest = await machine.push("shop/web:latest", "gone")
    await machine.registry.untag("shop/web", "latest")
    machine.grow_old()

    await machine.pruning.run(machine.rules, confirm=True)

    with pytest.raises(ManifestUnknownError):
        await machine.registry.find_manifest("shop/web", digest)
    with pytest.raises(BlobUnknownError):
        await machine.registry.blob_size("shop/web", Digest.of(b"gone" * 100))


async def test_the_last_run_is_remembered_by_the_next_process(machine: PrunedStores) -> None:
    day = timedelta(days=1)
    schedule = PruningSchedule(machine.pruning, machine.stores, Rules(), day)

    assert await schedule.last_run() is None
    assert await schedule.prune_if_due() == day
    record = await machine.store.get(ConfigMap, "upwell-system", "upwell-pruning")
    assert datetime.now(UTC) - datetime.fromisoformat(record.data["lastRun"]) < day
    after_restart = PruningSchedule(machine.pruning, machine.stores, Rules(), day)
    assert timedelta(hours=23) < await after_restart.prune_if_due() < day
    # A record that somebody has broken counts as none.
    await machine.store.update(record.model_copy(update={"data": {"lastRun": "yesterday"}}))
    assert await after_restart.prune_if_due() == day


async def test_a_fault_puts_the_next_run_off_and_ends_nothing(
    machine: PrunedStores, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 2:
            monkeypatch.undo()
        if len(pauses) == 3:
            raise asyncio.CancelledError

    async def away() -> None:
        raise RuntimeUnavailableError("podman does not answer")

    monkeypatch.setattr(machine.runtime, "instances", away)
    schedule = PruningSchedule(
        machine.pruning, machine.stores, Rules(), timedelta(days=1), sleep=sleep
    )
    with pytest.raises(asyncio.CancelledError):
        await schedule.run()

    assert pauses == [10 * 60, 30 * 60, 24 * 3600]


async def test_a_build_object_keeps_its_log_while_it_exists(machine: PrunedStores) -> None:
    build = await machine.put("Build", "build.openshift.io/v1", "web-1", status={"phase": "Failed"})
    machine.logs.sink(build.uid)(b"x")
    machine.logs.close(build.uid)
    machine.grow_old()

    assert not (await machine.pruning.run(machine.rules, confirm=True)).items
    await machine.store.delete(Build, "shop", "web-1")
    status = await machine.pruning.run(machine.rules, confirm=True)
    assert found(status, "build log") == [build.uid]
