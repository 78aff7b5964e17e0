"""cp and rsync: files as they come and go, with the container's own programs or hostile ones."""

import asyncio
import io
import json
import os
import tarfile
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, override

import pytest
from tests.unit.cli.conftest import FakeClient, ScriptedConversation

from upwell.api.meta import Resource
from upwell.cli.workloads.file_choice import FileChoice
from upwell.cli.workloads.rsync import surplus

if TYPE_CHECKING:
    from click.testing import Result

type Upwell = Callable[..., "Result"]

DONE = b"\x03" + json.dumps({"status": "Success"}).encode()


class RealProcess(ScriptedConversation):
    """Implements Conversation by a program of this machine, as the server does by a container's."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        super().__init__()
        self.process = process

    @override
    async def send(self, message: bytes) -> None:
        assert self.process.stdin is not None
        if message[0] == 255:
            self.process.stdin.close()
            return
        assert message[0] == 0
        self.process.stdin.write(message[1:])
        await self.process.stdin.drain()

    @override
    async def messages(self) -> AsyncGenerator[bytes]:
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        yield b"\x01"
        while piece := await self.process.stdout.read(65536):
            yield b"\x01" + piece
        yield b"\x02" + await self.process.stderr.read()
        code = await self.process.wait()
        causes = [{"reason": "ExitCode", "message": str(code)}]
        failed = {"status": "Failure", "details": {"causes": causes}}
        yield b"\x03" + json.dumps(failed).encode() if code else DONE


class ContainerClient(FakeClient):
    """A client whose containers are this machine."""

    @override
    @asynccontextmanager
    async def converse(
        self,
        kind: type[Resource],
        namespace: str,
        name: str,
        subresource: str,
        params: Sequence[tuple[str, str]],
        protocol: str,
    ) -> AsyncGenerator[ScriptedConversation]:
        self.calls.append((protocol, f"{namespace}/{kind.KIND.plural}/{name}", list(params)))
        assert subresource == "exec"
        if name in self.conversations:
            yield self.conversations[name]
            return
        words = [value for key, value in params if key == "command"]
        pipe = asyncio.subprocess.PIPE
        stdin = pipe if ("stdin", "true") in params else asyncio.subprocess.DEVNULL
        process = await asyncio.create_subprocess_exec(
            *words, stdin=stdin, stdout=pipe, stderr=pipe
        )
        try:
            yield RealProcess(process)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()


@pytest.fixture
def client() -> ContainerClient:
    return ContainerClient()


@pytest.fixture
def here(tmp_path: Path) -> Path:
    folder = tmp_path / "here"
    (folder / "sub" / "empty").mkdir(parents=True)
    (folder / "run.sh").write_text("#!/bin/sh\n")
    (folder / "run.sh").chmod(0o755)
    (folder / "sub" / "data").write_bytes(os.urandom(700_001))
    (folder / "sub" / ("long " * 40)).write_text("a long name")
    (folder / "link").symlink_to("run.sh")
    return folder


def tree(folder: Path) -> dict[str, object]:
    """Return what is in a folder, by path."""
    return {
        path.relative_to(folder).as_posix(): (
            f"-> {path.readlink()}"
            if path.is_symlink()
            else (path.stat().st_mode & 0o777, path.read_bytes() if path.is_file() else None)
        )
        for path in sorted(folder.rglob("*"))
    }


def test_a_folder_goes_there_and_comes_back(
    upwell: Upwell, client: ContainerClient, here: Path, tmp_path: Path
) -> None:
    there, back = tmp_path / "there", tmp_path / "back"

    sent = upwell("cp", str(here), f"web/shop-1:{there}", "-c", "db")

    assert (sent.output, sent.exit_code) == ("", 0)
    assert tree(there) == tree(here)
    protocol, path, params = client.calls[-1]
    assert (protocol, path) == ("v5.channel.k8s.io", "web/pods/shop-1")
    assert ("container", "db") in params

    received = upwell("cp", f"deployment/shop:{there}", str(back))

    assert received.exit_code == 0
    assert "skipping" in received.stderr  # the link, as kubectl does
    without = {path: content for path, content in tree(here).items() if path != "link"}
    assert tree(back) == without
    assert client.calls[-1][1] == "default/deployments/shop"


def test_a_file_goes_into_a_folder_that_is_there(
    upwell: Upwell, here: Path, tmp_path: Path
) -> None:
    (tmp_path / "there").mkdir()
    assert upwell("cp", str(here / "run.sh"), f"shop-1:{tmp_path}/there").exit_code == 0
    assert upwell("cp", f"shop-1:{here}/run.sh", str(tmp_path / "copy")).exit_code == 0
    assert upwell("cp", f"shop-1:{here}/sub/data", str(tmp_path / "there")).exit_code == 0
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["data", "run.sh"]
    assert (tmp_path / "copy").read_text() == "#!/bin/sh\n"


@pytest.mark.parametrize(
    ("words", "code", "text"),
    [
        (("a",), 2, "source and destination are required"),
        (("a", "b"), 2, "must be in a pod"),
        (("p:a", "q:b"), 2, "must be a local path"),
        (("x/y/z:a", "b"), 2, "write [[NAMESPACE/]POD:]PATH"),
        (("p:", "b"), 2, "names no path"),
        (("missing-file", "p:/tmp/x"), 2, "doesn't exist in local filesystem"),
        (("p:/missing/file", "x"), 1, "/missing"),
        (("p:/etc/passwd", "x", "--max-size=1k"), 1, "more than 1000 bytes"),
    ],
)
def test_what_cannot_be_copied_is_told(
    upwell: Upwell, tmp_path: Path, words: tuple[str, ...], code: int, text: str
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        result = upwell("cp", *words)
    assert result.exit_code == code, result.output
    assert text in " ".join(result.stderr.split())


def archive(*entries: tuple[str, bytes, str]) -> bytes:
    """Return an archive of entries: name, type, and content or where a link leads."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.GNU_FORMAT) as made:
        for name, kind, text in entries:
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = kind, 0o4755
            if kind == tarfile.REGTYPE:
                entry.size = len(text)
            else:
                entry.linkname = text
            made.addfile(entry, io.BytesIO(text.encode()))
    return content.getvalue()


def hostile(client: ContainerClient, raw: bytes) -> None:
    client.conversations["evil"] = ScriptedConversation(b"\x01" + raw, DONE)


@pytest.mark.parametrize(
    "name", ["../up", "x/../../up", "/absolute", "y/inside", "x/a/../../../up", "xx"]
)
def test_names_that_lead_elsewhere_end_the_copy(
    upwell: Upwell, client: ContainerClient, tmp_path: Path, name: str
) -> None:
    hostile(client, archive((name, tarfile.REGTYPE, "evil")))
    result = upwell("cp", "evil:/tmp/x", str(tmp_path / "deep" / "x"))
    assert result.exit_code == 1
    assert "cannot be unpacked" in result.stderr
    assert list(tmp_path.rglob("*")) == []


def test_links_and_devices_are_never_made_nor_followed(
    upwell: Upwell, client: ContainerClient, tmp_path: Path
) -> None:
    outside, into = tmp_path / "outside", tmp_path / "into"
    outside.mkdir()
    into.mkdir()
    (into / "mine").symlink_to(outside)
    (into / "file").symlink_to(outside / "file")
    raw = archive(
        ("x", tarfile.DIRTYPE, ""),
        ("x/out", tarfile.SYMTYPE, str(outside)),
        ("x/out/through", tarfile.REGTYPE, "made in a folder of this name"),
        ("x/mine/through", tarfile.REGTYPE, "evil"),
        ("x/file", tarfile.REGTYPE, "evil"),
        ("x/hard", tarfile.LNKTYPE, "x/none"),
        ("x/pipe", tarfile.FIFOTYPE, ""),
        ("x/null", tarfile.CHRTYPE, ""),
        ("x/good", tarfile.REGTYPE, "good"),
        ("x/again", tarfile.LNKTYPE, "x/good"),
    )
    hostile(client, raw)

    result = upwell("cp", "evil:/tmp/x", str(into))

    assert result.exit_code == 0, result.output
    assert list(outside.iterdir()) == []
    assert (into / "again").read_text() == "good"
    assert (into / "good").stat().st_mode & 0o7777 == 0o755 & ~_umask()
    names = {"again", "file", "good", "mine", "out"}
    assert {path.name for path in into.iterdir()} == names
    assert not (into / "out").is_symlink()
    assert result.stderr.count("warning: skipping") == 6


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_archive_that_breaks_off_is_a_failure(
    upwell: Upwell, client: ContainerClient, tmp_path: Path
) -> None:
    raw = archive(("x", tarfile.REGTYPE, "a" * 5000))
    client.conversations["evil"] = ScriptedConversation(b"\x01" + raw[:2000])
    result = upwell("cp", "evil:/tmp/x", str(tmp_path / "x"))
    assert result.exit_code == 4
    assert "closed the connection" in result.stderr
    assert not (tmp_path / "x").exists()  # a half file would pass as whole


def test_rsync_makes_the_one_as_the_other(upwell: Upwell, here: Path, tmp_path: Path) -> None:
    there = tmp_path / "there"
    (there / "old" / "deep").mkdir(parents=True)
    (there / "kept.log").write_text("")
    (there / "-rf name").write_text("")
    (here / "sub" / "new.log").write_text("")

    sent = upwell("rsync", f"{here}/", f"shop-1:{there}", "--delete", "--exclude=*.log")

    assert sent.exit_code == 0, sent.output
    assert "deleting old" in sent.stdout
    (here / "sub" / "new.log").unlink()
    (here / "kept.log").write_text("")
    assert tree(there) == tree(here)

    back = tmp_path / "back"
    (back / "there" / "sub" / "gone").mkdir(parents=True)
    (back / "beside").write_text("")
    received = upwell("rsync", f"deploy/shop:{there}", str(back), "--delete", "-q")
    assert (received.exit_code, received.stdout) == (0, "")
    expected = {path: content for path, content in tree(here).items() if path != "link"}
    assert tree(back / "there") == expected
    assert (back / "beside").exists()


def test_nothing_is_deleted_after_a_copy_that_failed(
    upwell: Upwell, here: Path, tmp_path: Path
) -> None:
    before = tree(here)
    missing = f"shop-1:{tmp_path}/missing/"
    assert upwell("rsync", missing, str(here), "--delete").exit_code == 1
    assert tree(here) == before


def test_patterns_match_names_ends_of_paths_and_from_the_top() -> None:
    choice = FileChoice(("*.pyc", "node_modules/", "/top", "a/b"), ("keep.pyc",))
    left_out = ["x.pyc", "d/x.pyc", "d/node_modules/x/y", "top", "top/x", "q/a/b"]
    assert [path for path in left_out if not choice.leaves_out(path)] == []
    assert [path for path in ["keep.pyc", "d/top", "b", "x.py"] if choice.leaves_out(path)] == []


def test_what_is_left_out_keeps_the_folder_it_is_in() -> None:
    found = ["a", "a/x", "a/y.log", "b", "b/x", "c"]
    assert surplus(found, {"c"}, FileChoice(("*.log",))) == ["a/x", "b"]
