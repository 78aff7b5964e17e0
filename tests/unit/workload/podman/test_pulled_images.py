"""Images that were pulled for instances: whose they are, when they were used, and their removal."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upwell.oci import Digest, Reference
from upwell.workload.podman.api.connection import PodmanNotFoundError, PodmanRefusedError
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.images import pulled_images
from upwell.workload.podman.images.pulled_images import PulledImages

IMAGE = Reference("registry.test", "team/web", digest=Digest.of(b"web"))
MIRRORED = replace(IMAGE, registry="mirror.test")
MANIFEST = Digest.of(b"the manifest of an index")
DAY = timedelta(days=1)


class StorageInMemory:
    """Images as Podman lists them; implements StoredImages."""

    def __init__(self) -> None:
        self.listed: list[dict[str, Any]] = []
        self.refusal: Exception | None = None
        self.gate = asyncio.Event()
        """Lets a removal go on; set unless a test clears it."""
        self.gate.set()
        self.begun = asyncio.Event()
        self.removed: list[Reference] = []

    def put(self, *names: str, containers: int = 0, **fields: object) -> None:
        self.listed.append({"Names": list(names), "Containers": containers, **fields})

    async def images(self) -> list[dict[str, Any]]:
        return self.listed

    async def remove_image(self, reference: Reference) -> None:
        self.begun.set()
        await self.gate.wait()
        if self.refusal is not None:
            raise self.refusal
        self.removed.append(reference)


class PulledUnderTest:
    """Pulled images of a folder, whose clock tests turn."""

    def __init__(self, folder: Path) -> None:
        self.time = datetime(2026, 1, 1, tzinfo=UTC)
        self.folder = folder
        self.storage = StorageInMemory()
        self.images = self.restarted()

    def now(self) -> datetime:
        return self.time

    async def sleep(self, seconds: float) -> None:
        self.time += timedelta(seconds=seconds)

    def restarted(self, storage: Path | None = None) -> PulledImages:
        """Return them as the next process reads them."""
        settings = PodmanSettings(self.folder, "test", storage_root=storage)
        made = PulledImages(settings, self.storage, self)
        made.load()
        return made

    async def found(self, images: PulledImages | None = None) -> dict[str, datetime]:
        listed = await (images or self.images).find()
        return {str(one.reference): one.used_at for one in listed}


@pytest.fixture
def pulled(tmp_path: Path) -> PulledUnderTest:
    return PulledUnderTest(tmp_path)


async def test_only_what_was_pulled_is_found_also_by_the_next_process(
    pulled: PulledUnderTest,
) -> None:
    pulled.storage.put(str(IMAGE))
    pulled.storage.put("registry.test/team/other@" + str(Digest.of(b"other")))
    pulled.storage.put()
    await pulled.images.add(IMAGE)
    began, pulled.time = pulled.time, pulled.time + DAY

    assert await pulled.found() == {str(IMAGE): began}
    assert await pulled.found(pulled.restarted()) == {str(IMAGE): began}


async def test_what_a_container_has_is_used_now(pulled: PulledUnderTest) -> None:
    pulled.storage.put(str(IMAGE), containers=1)
    await pulled.images.add(IMAGE)
    pulled.time += DAY

    assert await pulled.found() == {str(IMAGE): pulled.time}
    pulled.storage.listed[0]["Containers"] = 0
    seen, pulled.time = pulled.time, pulled.time + DAY
    assert await pulled.found() == {str(IMAGE): seen}
    assert await pulled.found(pulled.restarted()) == {str(IMAGE): seen}


async def test_an_image_of_which_nothing_is_known_counts_as_used(pulled: PulledUnderTest) -> None:
    pulled.storage.listed.append({"Names": [str(IMAGE)]})
    await pulled.images.add(IMAGE)
    pulled.time += DAY
    assert await pulled.found() == {str(IMAGE): pulled.time}


@pytest.mark.parametrize("name", ["registry.test/team/web:1", "localhost/mine:2", "not a name"])
async def test_an_image_with_a_name_of_somebody_elses_is_theirs(
    pulled: PulledUnderTest, name: str
) -> None:
    pulled.storage.put(str(IMAGE), name)
    await pulled.images.add(IMAGE)
    assert await pulled.found() == {}
    pulled.storage.listed[0]["Names"] = [str(IMAGE)]
    assert await pulled.found() == {str(IMAGE): pulled.time}


async def test_two_names_of_one_image_are_both_found(pulled: PulledUnderTest) -> None:
    pulled.storage.put(str(IMAGE), str(MIRRORED))
    await pulled.images.add(IMAGE)
    assert await pulled.found() == {}
    await pulled.images.add(MIRRORED)
    assert set(await pulled.found()) == {str(IMAGE), str(MIRRORED)}


async def test_an_image_has_the_digests_of_its_index_and_of_its_manifest(
    pulled: PulledUnderTest,
) -> None:
    pulled.storage.put(str(IMAGE), RepoDigests=[str(IMAGE), f"{IMAGE.name}@{MANIFEST}"])
    await pulled.images.add(IMAGE)
    [found] = await pulled.images.find()
    assert found.digests == {IMAGE.digest, MANIFEST}


async def test_what_somebody_has_removed_is_forgotten(pulled: PulledUnderTest) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    pulled.storage.listed.clear()
    assert await pulled.found() == {}
    pulled.storage.put(str(IMAGE))  # by hand
    assert await pulled.found() == {}


async def test_what_is_pulled_while_the_storage_is_listed_is_not_forgotten(
    pulled: PulledUnderTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def listed_before() -> list[dict[str, Any]]:
        await pulled.images.add(IMAGE)
        return []

    with monkeypatch.context() as patch:
        patch.setattr(pulled.storage, "images", listed_before)
        assert await pulled.found() == {}
    pulled.storage.put(str(IMAGE))
    assert set(await pulled.found()) == {str(IMAGE)}


async def test_a_time_to_come_counts_as_now(pulled: PulledUnderTest) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    pulled.time -= 99 * DAY
    assert await pulled.found() == {str(IMAGE): pulled.time}


async def test_a_removed_image_is_gone_for_the_next_process_too(pulled: PulledUnderTest) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    [found] = await pulled.images.find()
    assert await pulled.images.remove(found)
    assert pulled.storage.removed == [IMAGE]
    assert await pulled.found() == {}, "it is not ours, whoever has pulled it since"
    assert await pulled.found(pulled.restarted()) == {}


@pytest.mark.parametrize(
    ("refusal", "gone"),
    [
        (PodmanRefusedError("podman: image is in use by a container"), False),
        (PodmanNotFoundError("image not known"), True),
    ],
)
async def test_an_image_that_does_not_go_is_kept(
    pulled: PulledUnderTest, refusal: Exception, *, gone: bool
) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    [found] = await pulled.images.find()
    pulled.storage.refusal = refusal
    assert await pulled.images.remove(found) is gone
    assert bool(await pulled.found()) is not gone


async def test_a_start_waits_for_a_removal_and_what_it_has_used_stays(
    pulled: PulledUnderTest,
) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    [found] = await pulled.images.find()
    pulled.storage.refusal = PodmanRefusedError("podman: image is in use by a container")
    pulled.storage.gate.clear()
    removal = asyncio.create_task(pulled.images.remove(found))
    await pulled.storage.begun.wait()
    use = asyncio.create_task(pulled.images.use(IMAGE))
    await asyncio.sleep(0)
    assert not use.done()
    pulled.time += DAY
    pulled.storage.gate.set()
    await use

    assert not await removal
    assert not await pulled.images.remove(found)
    assert await pulled.found() == {str(IMAGE): pulled.time}


@pytest.mark.parametrize("elsewhere", ["another storage", "another machine"])
async def test_in_another_storage_nothing_is_ours(
    pulled: PulledUnderTest, elsewhere: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    if elsewhere == "another machine":
        (tmp_path / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        monkeypatch.setattr(pulled_images, "_MACHINE", tmp_path / "machine-id")
        assert await pulled.found(pulled.restarted()) == {}
    else:
        assert await pulled.found(pulled.restarted(tmp_path / "storage")) == {}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{}",
        json.dumps({"storage": "", "images": []}).encode(),
        json.dumps({"storage": "", "images": {"no name": "never"}}).encode(),
    ],
)
async def test_of_a_damaged_file_nothing_is_ours(
    pulled: PulledUnderTest,
    content: bytes,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pulled_images, "_storage", lambda _: "")
    (pulled.folder / "pulled-images").write_bytes(content)
    pulled.storage.put(str(IMAGE))
    assert await pulled.found(pulled.restarted()) == {}
    assert "pulled images not read" in caplog.text


async def test_on_a_full_disk_a_pull_is_still_one(
    pulled: PulledUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    (pulled.folder / "pulled-images").mkdir()  # it cannot be written
    pulled.storage.put(str(IMAGE))
    await pulled.images.add(IMAGE)
    assert "pulled images not noted" in caplog.text
    assert set(await pulled.found()) == {str(IMAGE)}
