"""Test the input of a Pod: its source is whole, whatever breaks off or comes twice."""

import asyncio
import tarfile
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from tests.support.builds.memory_pods import SocketChannel

from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.builder.kubernetes import handover
from upwell.builder.kubernetes.documents import PodInput
from upwell.builder.kubernetes.handover import InputReceiver, hand_over
from upwell.builder.kubernetes.pods import HandoverError

PLAN = BuildPlan(
    id="uid-1",
    namespace="shop",
    name="app-1",
    strategy=BuilderStrategy.DOCKER,
    context=None,
    images={},
    push=None,
)


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[InputReceiver, Path]]:
    # Not in pytest's folders: a path of a socket has 107 bytes at most.
    with TemporaryDirectory(prefix="input-") as name:
        source = Path(name) / "source"
        receiver = InputReceiver(Path(name), source, lambda _: not source.exists())
        ready = asyncio.Event()
        serving = asyncio.create_task(receiver.serve(ready.set))
        await ready.wait()
        yield receiver, source
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving


def made(folder: Path) -> Path:
    folder.mkdir()
    return folder


async def give(source: Path, context: Path, folder: Path) -> None:
    streams = await asyncio.open_unix_connection(source.parent / "input.sock")
    try:
        await hand_over(SocketChannel(*streams), PodInput(replace(PLAN, context=context)), folder)
    finally:
        streams[1].close()


async def test_a_source_that_was_not_unpacked_whole_is_asked_for_again(
    receiver: tuple[InputReceiver, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    receiving, source = receiver
    context = made(tmp_path / "context")
    (context / "Dockerfile").write_text("FROM scratch\n")

    def full(_: Path, tree: Path) -> None:
        tree.mkdir()
        raise tarfile.ReadError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(handover, "unpack", full)
        with pytest.raises(HandoverError, match="no space left"):
            await give(source, context, made(tmp_path / "first"))
    assert not source.exists()
    assert not receiving.complete.is_set()

    await give(source, context, made(tmp_path / "second"))
    assert (source / "Dockerfile").read_text() == "FROM scratch\n"
    assert receiving.complete.is_set()
    assert {one.name for one in source.parent.iterdir()} == {"input.sock", "source"}


async def test_two_servers_that_give_it_at_once_leave_one_source(
    receiver: tuple[InputReceiver, Path], tmp_path: Path
) -> None:
    _, source = receiver
    context = made(tmp_path / "context")
    (context / "data").write_bytes(b"x" * 500_000)

    await asyncio.gather(*(give(source, context, made(tmp_path / name)) for name in ("one", "two")))

    assert (source / "data").stat().st_size == 500_000
    assert {one.name for one in source.parent.iterdir()} == {"input.sock", "source"}
