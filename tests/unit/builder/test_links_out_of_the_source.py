"""Files of a source that decide how it is built: none of them is read from outside the source."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest

from upwell.builder.context import context_of, read_dockerfile
from upwell.builder.interface import BuildError
from upwell.builder.strategies import source
from upwell.builder.strategies.s2i_scripts import ScriptSources, collect_scripts
from upwell.formats.s2i.contract import S2iError
from upwell.outbound.dialing import unrestricted

if TYPE_CHECKING:
    from upwell.builder.workspace import Workspace

SECRET = "SECRET=of-the-machine\n"
NAMES = [".s2i/environment", ".s2iignore", ".s2i/bin/assemble", "Dockerfile"]
WAYS = ["absolute", "relative", "folder", "chain", "magic"]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A source, beside a folder of the machine with files of the same names."""
    for name in NAMES:
        path = tmp_path / "machine" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(SECRET)
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def link_out(tree: Path, name: str, way: str) -> None:
    """Let a name in the source lead to the file of that name in the machine's folder."""
    machine = tree.parent / "machine"
    if way == "folder":
        first = Path(name).parts[0]
        (tree / first).symlink_to(machine / first)
        return
    targets = {
        "absolute": machine / name,
        "relative": Path(os.path.relpath(machine / name, (tree / name).parent)),
        "chain": tree / "up" / "machine" / name,
        "magic": Path(f"/proc/self/root{machine / name}"),
    }
    (tree / "up").symlink_to("..")
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).symlink_to(targets[way])


async def read(tree: Path, name: str) -> str:
    """Return what a build takes from a file of its source."""
    work = cast("Workspace", SimpleNamespace(context=tree, say=lambda _: None, plan=_PLAN))
    if name == "Dockerfile":
        return read_dockerfile(tree, name)
    if name == ".s2iignore":
        return source._ignore_rules(work)
    if name == ".s2i/environment":
        return str(source._environment(work))
    upload = tree.parent / "upload"
    upload.mkdir(exist_ok=True)
    own = ScriptSources("", tree, "image:///scripts", unrestricted(), allow_local=False)
    await collect_scripts(own, upload)
    return (upload / "assemble").read_text()


_PLAN: Any = SimpleNamespace(build_env=(), env=(), source=SimpleNamespace(exclude=None))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", NAMES)
async def test_a_link_out_of_the_source_is_refused_by_name(tree: Path, name: str, way: str) -> None:
    link_out(tree, name, way)
    assert (tree / name).read_text() == SECRET, "whoever follows links gets there"
    with pytest.raises((BuildError, S2iError), match=name):
        await read(tree, name)


@pytest.mark.parametrize("name", NAMES)
async def test_a_link_that_stays_in_the_source_is_followed(tree: Path, name: str) -> None:
    (tree / "kept").write_text("SECRET=own\n")
    (tree / name).parent.mkdir(parents=True, exist_ok=True)
    (tree / name).symlink_to("../" * name.count("/") + "kept")
    assert "own" in await read(tree, name)


@pytest.mark.parametrize(
    "context_dir", ["out", "in/../out", "out/below", "../machine", "up/machine"]
)
def test_a_context_is_a_folder_of_the_source(tree: Path, context_dir: str) -> None:
    (tree.parent / "machine" / "below").mkdir()
    (tree / "in").mkdir()
    (tree / "up").symlink_to("..")
    (tree / "out").symlink_to(tree.parent / "machine")
    with pytest.raises(BuildError, match="does not exist"):
        context_of(tree, context_dir)
    assert context_of(tree, "/in/") == tree / "in"
