"""`upwell backup` and `upwell restore` as their user calls them."""

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from upwell.api.core import ConfigMap
from upwell.api.meta import ObjectMeta
from upwell.cli import main
from upwell.store.sqlite import SqliteStore


@pytest.fixture
def data(tmp_path: Path) -> Path:
    async def fill() -> None:
        folder = tmp_path / "data"
        folder.mkdir()
        store = await SqliteStore.open(folder / "upwell.db", clock=lambda: datetime.now(UTC))
        await store.create(ConfigMap(metadata=ObjectMeta(name="a", namespace="n")))
        await store.close()

    asyncio.run(fill())
    return tmp_path / "data"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(one) for one in arguments])


def test_a_backup_is_made_checked_and_restored(data: Path, tmp_path: Path) -> None:
    file = tmp_path / "b.tar"
    made = run("backup", file, "--data-dir", data, "--without", "registry", "--without", "logs")
    assert made.exit_code == 0, made.output
    assert made.stdout == f"wrote {file}: 1 files, 1 MiB (state, volumes)\n"

    checked = run("restore", "--check", file)
    assert checked.stdout.startswith(f"{file} is whole: made 20")
    done = run("restore", file, "--data-dir", tmp_path / "new")
    assert done.exit_code == 0, done.output
    assert f"of {data} (state, volumes)" in done.stdout
    assert f"next: see that {data} is not served any more" in done.stderr
    assert done.stderr.endswith(f"next: upwell serve --data-dir {tmp_path / 'new'}\n")


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (("--max-size", "1"), 1, "larger than --max-size"),
        (("--max-size", "many"), 2, "not a size such as 512Mi"),
        (("--timeout", "0.000001"), 5, "time limit has passed"),
        (("--data-dir", "/nowhere"), 1, "name the server's folder with --data-dir"),
    ],
)
def test_what_does_not_fit_is_said(
    data: Path, tmp_path: Path, options: tuple[str, ...], code: int, message: str
) -> None:
    done = run("backup", tmp_path / "b.tar", "--data-dir", data, *options)
    assert (done.exit_code, message in done.stderr) == (code, True), done.output
    assert not (tmp_path / "b.tar").exists()


def test_the_folder_that_is_not_there_is_named(data: Path, tmp_path: Path) -> None:
    done = run("backup", tmp_path / "backups" / "b.tar", "--data-dir", data)
    assert done.exit_code == 2
    assert f"{tmp_path}/backups is no folder: create it" in done.stderr


def test_a_used_folder_is_not_overwritten(data: Path, tmp_path: Path) -> None:
    assert run("backup", tmp_path / "b.tar", "--data-dir", data).exit_code == 0
    done = run("restore", tmp_path / "b.tar", "--data-dir", data)
    assert done.exit_code == 1
    assert "let --replace move it aside first" in done.stderr
    done = run("restore", tmp_path / "b.tar", "--data-dir", data, "--replace")
    assert done.exit_code == 0
    assert "what was there is in" in done.stderr
