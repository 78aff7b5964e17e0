"""Files out of archives that containers decide about."""

import io
import tarfile
from collections.abc import AsyncIterator

import pytest

from upwell.workload.errors import RuntimeUnavailableError, UnreadableFilesError
from upwell.workload.interface import ContainerFile, FileLimits
from upwell.workload.podman.containers.files import collect

LIMITS = FileLimits(content_bytes=100, entries=5)


async def read(*entries: tarfile.TarInfo) -> list[ContainerFile]:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for entry in entries:
            tar.addfile(entry, io.BytesIO(b"x" * entry.size))

    async def pieces() -> AsyncIterator[bytes]:
        for at in range(0, len(archive.getvalue()), 700):
            yield archive.getvalue()[at : at + 700]

    return list(await collect(pieces(), LIMITS))


def file(name: str, size: int = 1, kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.size, entry.type, entry.mtime = size, kind, 7
    return entry


async def test_names_are_relative_whatever_the_archive_says() -> None:
    # As Podman names what lies in a volume.
    found = await read(file("", 0, tarfile.DIRTYPE), file("/r.xml"), file("out/a"))
    assert found == [ContainerFile("out/a", b"x", 7), ContainerFile("r.xml", b"x", 7)]


async def test_what_is_no_file_or_leads_outside_is_left_out() -> None:
    kinds = (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE)
    entries = [file(f"n{number}", 0, kind) for number, kind in enumerate(kinds)]
    assert await read(*entries, file("../up"), file("good")) == [ContainerFile("good", b"x", 7)]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        ([file("a", 60), file("b", 60)], "larger than 100 bytes"),
        ([file(str(number)) for number in range(6)], "more than 5 files"),
        ([file("a", 3_000_000)], "larger than 100 bytes"),
    ],
)
async def test_limits_hold(entries: list[tarfile.TarInfo], message: str) -> None:
    with pytest.raises(UnreadableFilesError, match=message):
        await read(*entries)


async def test_an_archive_without_an_end_is_to_be_asked_for_again() -> None:
    async def nothing() -> AsyncIterator[bytes]:
        pieces: list[bytes] = []
        for piece in pieces:
            yield piece

    with pytest.raises(RuntimeUnavailableError, match="empty archive"):
        await collect(nothing(), LIMITS)
    assert await read() == []
