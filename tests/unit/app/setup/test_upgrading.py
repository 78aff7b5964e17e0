"""Upgrades that come to an end, and those that do not: the version before is there again."""

import asyncio
import os
import shutil
from pathlib import Path

import pytest

from upwell.app.setup.upgrading import InstalledEnvironment, UpgradeFailedError, upgrade

PROGRAM = "#!/bin/sh\n[ ! -e {broken} ] && echo upwell {version}\n"
UV = """\
#!/bin/sh
echo "uv $@" >> {log}
[ ! -e {folder}/no-network ] || {{ echo 'no route' >&2; exit 1; }}
[ ! -p {folder}/endless ] || {{ rm {prefix}/bin/upwell; cat {folder}/endless; }}
cp {folder}/new-program {prefix}/bin/upwell
touch {prefix}/new
echo '# changed' > {prefix}/uv-receipt.toml
"""
SYSTEMCTL = """\
#!/bin/sh
echo "systemctl $@" >> {log}
[ "$1" = restart ] || exit 0
[ -e {prefix}/new ] || exit 0
echo new > {data}/upwell.db
echo wal > {data}/upwell.db-wal
[ ! -e {folder}/does-not-serve ] || {{ echo old > {data}/upwell.db.schema-3; exit 1; }}
"""


class PlayedMachine:
    """An environment that uv looks after, and a service that runs from it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.prefix, self.data = folder, folder / "tool", folder / "data"
        self.log = folder / "log"
        programs = folder / "bin"
        for path in (self.prefix / "bin", self.data, programs):
            path.mkdir(parents=True)
        (self.prefix / "uv-receipt.toml").touch()
        (self.data / "upwell.db").write_text("old\n")
        places = {"folder": folder, "prefix": self.prefix, "data": self.data, "log": self.log}
        broken = folder / "broken"
        self._write(self.prefix / "bin/upwell", PROGRAM.format(broken="/nowhere", version="1.0"))
        self._write(folder / "new-program", PROGRAM.format(broken=broken, version="1.1"))
        self._write(programs / "uv", UV.format(**places))
        self._write(programs / "systemctl", SYSTEMCTL.format(**places))

    @staticmethod
    def _write(path: Path, text: str) -> None:
        path.write_text(text)
        path.chmod(0o755)

    async def upgrade(self, file: str = "") -> str:
        found = InstalledEnvironment.find(self.prefix)
        return await upgrade(found, file, self.data, lambda _: None)

    def calls(self) -> list[str]:
        return self.log.read_text().splitlines()

    def is_new(self) -> bool:
        return (self.prefix / "new").exists()


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PlayedMachine:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    return PlayedMachine(tmp_path)


async def test_the_new_version_serves_and_nothing_of_the_old_one_is_left(
    machine: PlayedMachine,
) -> None:
    assert await machine.upgrade() == "upwell 1.1"
    assert machine.is_new()
    assert not machine.prefix.with_name("tool.before-upgrade").exists()
    assert machine.calls() == [
        "systemctl is-active --quiet upwell.service",
        "uv tool upgrade upwell",
        "systemctl restart upwell.service",
    ]


async def test_after_the_version_of_a_file_the_newest_is_found(machine: PlayedMachine) -> None:
    assert await machine.upgrade("/root/upwell-1.1.whl") == "upwell 1.1"
    into = f"uv pip install --python {machine.prefix}/bin/python /root/upwell-1.1.whl"
    assert machine.calls()[1] == into
    assert (machine.prefix / "uv-receipt.toml").read_text() == ""


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("no-network", "`uv tool upgrade upwell` failed: no route"),
        ("broken", "the new version does not run"),
        ("does-not-serve", "the new version does not serve"),
    ],
)
async def test_an_upgrade_that_fails_half_way_leaves_the_old_one(
    machine: PlayedMachine, fault: str, message: str
) -> None:
    (machine.folder / fault).touch()
    with pytest.raises(UpgradeFailedError, match=f"{message}.*version before is in place again"):
        await machine.upgrade()
    assert not machine.is_new()
    assert (machine.data / "upwell.db").read_text() == "old\n"
    assert not (machine.data / "upwell.db-wal").exists()
    # The database is put back while nothing serves, then the old version serves again.
    assert machine.calls()[-2:] == [
        "systemctl stop upwell.service",
        "systemctl restart upwell.service",
    ]
    assert sorted(one.name for one in machine.folder.iterdir() if "tool" in one.name) == ["tool"]


async def test_an_upgrade_that_is_interrupted_leaves_the_old_one(machine: PlayedMachine) -> None:
    os.mkfifo(machine.folder / "endless")
    upgrading = asyncio.create_task(machine.upgrade())
    # It can be opened for writing once it is read: then the old program is gone.
    endless = await asyncio.to_thread(os.open, machine.folder / "endless", os.O_WRONLY)
    upgrading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await upgrading
    os.close(endless)
    assert (machine.prefix / "bin/upwell").exists()
    assert machine.calls()[-1] == "systemctl restart upwell.service"
    assert sorted(one.name for one in machine.folder.iterdir() if "tool" in one.name) == ["tool"]


async def test_a_disk_without_room_for_the_old_version_changes_nothing(
    machine: PlayedMachine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: Path, target: Path, **__: object) -> None:
        target.mkdir()
        raise shutil.Error([("a", "b", "[Errno 28] No space left on device: 'b'")] * 2)

    monkeypatch.setattr("upwell.app.setup.upgrading.shutil.copytree", full)
    message = (
        r"nothing was changed: .*/tool cannot be kept beside itself: \[Errno 28\] No space .*: 'b'$"
    )
    with pytest.raises(UpgradeFailedError, match=message):
        await machine.upgrade()
    assert machine.calls() == ["systemctl is-active --quiet upwell.service"]
    assert sorted(one.name for one in machine.folder.iterdir() if "tool" in one.name) == ["tool"]
