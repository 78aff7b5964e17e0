"""Preparation of the demo: archives, cached root file systems, ports, manifests."""

import asyncio
import io
import socket
import tarfile
from pathlib import Path

import pytest

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.archive import Archive, parse_targets
from upwell.cli.demo.ports import Ports
from upwell.cli.demo.rootfs import RootFileSystems, glibc_of
from upwell.cli.demo.server import adapt_manifests
from upwell.cli.demo.source import find_example

TARGETS = """\
Local|file:/srv/packages/|Packages
Debian|http://mirror.example/debian/|Translations
Debian|http://mirror.example/debian/|Packages
Debian|http://mirror.example/backports/|Packages
Debian-Security|http://mirror.example/security/|Packages
"""
STATUS = """\
Package: libc-bin
Version: 0

Package: libc6
Status: install ok installed
Architecture: amd64
Version: {version}

Package: zlib1g
Version: 9
"""
FAKE = """\
#!/bin/sh
# mmdebstrap's last arguments: suite, file, sources
for argument; do case $argument in *.tar) tar=$argument ;; *-security*) fixed=-fixed ;; esac; done
for argument; do case $argument in {suites}) suite=$argument ;; esac; done
echo "$suite" >> {calls}
cp {folder}/"$suite$fixed".tar "$tar"
"""


def test_the_archives_are_those_of_apt() -> None:
    archive = parse_targets(TARGETS)
    assert archive == Archive("http://mirror.example/debian", "http://mirror.example/security")
    assert archive.sources("bullseye", fixed=False) == [
        "deb http://mirror.example/debian bullseye main"
    ]
    assert archive.sources("bullseye", fixed=True)[1:] == [
        "deb http://mirror.example/security bullseye-security main"
    ]


def test_an_archive_that_is_missing_is_named() -> None:
    with pytest.raises(CommandError, match=r"labelled 'Debian-Security'.*apt-get update"):
        parse_targets("Debian|http://mirror.example/debian/|Packages\n")


def write_rootfs(path: Path, version: str, name: str = "./var/lib/dpkg/status") -> None:
    content = STATUS.format(version=version).encode()
    with tarfile.open(path, "w") as tar:
        entry = tarfile.TarInfo(name)
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))


def test_the_version_is_that_of_the_package_libc6(tmp_path: Path) -> None:
    write_rootfs(tmp_path / "a.tar", "2.31-13+deb11u11")
    assert glibc_of(tmp_path / "a.tar") == "2.31-13+deb11u11"
    write_rootfs(tmp_path / "b.tar", "1", name="./etc/motd")
    with pytest.raises(CommandError, match="not a root file system"):
        glibc_of(tmp_path / "b.tar")


class FakeMmdebstrap:
    """Root file systems from a made-up mmdebstrap, which copies prepared files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.said: list[str] = []
        self.calls = folder / "calls"
        self.calls.touch()
        program = folder / "bin/mmdebstrap"
        program.parent.mkdir()
        suites = "bullseye|bookworm|trixie"
        program.write_text(FAKE.format(suites=suites, calls=self.calls, folder=folder))
        program.chmod(0o755)

    def offer(self, suite: str, old: str, new: str) -> None:
        write_rootfs(self.folder / f"{suite}.tar", old)
        write_rootfs(self.folder / f"{suite}-fixed.tar", new)

    def make(self, *, fresh: bool = False) -> tuple[str, str, str]:
        cache, work = self.folder / "cache", self.folder / "work"
        roots = RootFileSystems(Archive("http://d", "http://s"), cache, work, fresh)
        pair = asyncio.run(roots.pair(self.said.append))
        assert glibc_of(pair.old.tar) == pair.old.glibc
        assert [path.suffix for path in sorted(cache.iterdir())].count(".tar") % 2 == 0
        return pair.old.suite, pair.old.glibc, pair.new.glibc

    def made(self) -> int:
        return len(self.calls.read_text().splitlines())


@pytest.fixture
def mmdebstrap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeMmdebstrap:
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    return FakeMmdebstrap(tmp_path)


def test_a_root_file_system_is_made_once(mmdebstrap: FakeMmdebstrap) -> None:
    mmdebstrap.offer("bullseye", "1", "2")
    assert mmdebstrap.make() == ("bullseye", "1", "2")
    assert mmdebstrap.make() == ("bullseye", "1", "2")
    assert mmdebstrap.made() == 2
    mmdebstrap.make(fresh=True)
    assert mmdebstrap.made() == 4


def test_a_damaged_file_in_the_cache_is_made_again(mmdebstrap: FakeMmdebstrap) -> None:
    mmdebstrap.offer("bullseye", "1", "2")
    mmdebstrap.make()
    with (mmdebstrap.folder / "cache/bullseye.tar").open("ab") as file:
        file.write(b"x")
    assert mmdebstrap.make() == ("bullseye", "1", "2")
    assert mmdebstrap.made() == 3


def test_the_next_suite_is_taken_when_there_is_no_fix_or_no_suite(
    mmdebstrap: FakeMmdebstrap,
) -> None:
    mmdebstrap.offer("bookworm", "2", "2")
    mmdebstrap.offer("trixie", "3", "4")
    assert mmdebstrap.make() == ("trixie", "3", "4")
    lines = [line for line in mmdebstrap.said if "next suite" in line]
    assert lines[0].startswith("bullseye: mmdebstrap failed")
    assert lines[1].startswith("bookworm-security has no newer glibc than bookworm")


def test_no_suite_at_all_is_an_error_that_says_why(mmdebstrap: FakeMmdebstrap) -> None:
    with pytest.raises(CommandError, match=r"(?s)no suite of .* has a newer glibc; trixie: .*cp: "):
        mmdebstrap.make()


def test_a_taken_port_is_replaced_and_the_manifests_follow(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            holder.bind(("127.0.0.1", Ports().vendor))
            holder.listen()
        except OSError:
            pass  # somebody else holds it: as good
        ports = Ports.choose()
    numbers = [ports.api, ports.router, ports.vendor, ports.git]
    assert len(set(numbers)) == 4
    usual, changed = "127.0.0.1:5005", f"127.0.0.1:{ports.vendor}"
    assert ports.moved()[usual] == changed

    adapt_manifests(find_example() / "manifests", tmp_path / "out", {usual: changed})

    text = "".join(path.read_text() for path in sorted((tmp_path / "out").iterdir()))
    assert usual not in text
    assert f"{changed}/vendor/debian:11" in text


def test_a_change_that_finds_nothing_is_an_error(tmp_path: Path) -> None:
    manifests = find_example() / "manifests"
    with pytest.raises(CommandError, match="does not mention nothing-like-it"):
        adapt_manifests(manifests, tmp_path / "out", {"nothing-like-it": "x"})


def test_the_example_names_the_usual_ports() -> None:
    manifests = find_example() / "manifests"
    text = "".join(path.read_text() for path in manifests.glob("*.yaml"))
    assert f"127.0.0.1:{Ports().vendor}/vendor/debian:11" in text
    assert f"git://127.0.0.1:{Ports().git}/applications.git" in text
    assert "upwell.dev/import-interval: 2s" in text
