"""Workers of a fork server of the test's own."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest
from tests.support.workers import with_task

from upwell.workers import runner
from upwell.workers.fork_server import ForkServer


@pytest.fixture
def bootstrap(tmp_path: Path) -> str:
    return with_task(tmp_path / "tasks")


@pytest.fixture(autouse=True)
def fork_server(bootstrap: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    made = ForkServer(bootstrap)
    monkeypatch.setattr(runner, "_fork_server", made)
    yield made
    made.end()


@pytest.fixture
def source() -> Iterator[IO[bytes]]:
    with tempfile.TemporaryFile() as file:
        file.write(b"input")
        file.seek(0)
        yield file
