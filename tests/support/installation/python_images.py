"""A vendor's Python image: the Python that runs the tests, with the libraries that it needs."""

import gzip
import io
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterator
from functools import cache
from importlib.util import cache_from_source
from pathlib import Path

import pytest
from tests.support.installation.vendor_images import layer, push

from upwell.oci import Digest

_LEFT_OUT = {
    "__pycache__",
    "ensurepip",
    "idlelib",
    "pydoc_data",
    "site-packages",
    "test",
    "tkinter",
}
_LEFT_OUT_EXTENSIONS = ("_codecs_", "_curses", "_test", "_tkinter")


async def publish_python(registry: str, name: str, version: str) -> Digest:
    """Push a Python image whose system calls itself `Vendor Linux VERSION`; return its digest.

    Without a version it has no name either: applications that ask for it are not served well.
    """
    system = {"etc/os-release": f'PRETTY_NAME="Vendor Linux {version}"\n'.encode()}
    if not version:
        system = {"etc/motd": b"This system has no name.\n"}
    layers = [_python_layer(), layer(system, folders={"etc": 0o755})]
    return await push(registry, name, layers, ["python3"])


@cache
def _python_layer() -> bytes:
    """Pack Python at its own paths: it finds its library from where it stands.

    Modules are compiled, without their sources: each container would compile what it imports.
    """
    python = Path(sys.executable).resolve()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted({python, *_library(), *_shared_objects(python)}):
            packed, name = path.resolve(), path
            if path.suffix == ".py" and (found := Path(cache_from_source(path))).exists():
                packed, name = found, path.with_suffix(".pyc")
            entry = archive.gettarinfo(packed, arcname=str(name).lstrip("/"))
            with packed.open("rb") as file:
                archive.addfile(entry, file)
        link = tarfile.TarInfo("bin/python3")
        link.type, link.linkname = tarfile.SYMTYPE, str(python)
        archive.addfile(link)
    return gzip.compress(content.getvalue(), compresslevel=1, mtime=0)


def _library() -> Iterator[Path]:
    root = Path(sysconfig.get_path("stdlib"))
    for path in root.rglob("*"):
        inside = path.relative_to(root)
        unwanted = (
            _LEFT_OUT.intersection(inside.parts)
            or inside.parts[0].startswith("config-")
            or (path.suffix == ".so" and path.name.startswith(_LEFT_OUT_EXTENSIONS))
        )
        if not unwanted and path.suffix in {".py", ".so"} and path.is_file():
            yield path


def _shared_objects(python: Path) -> set[Path]:
    """Return the libraries of Python and of its extension modules, and what loads them."""
    modules = [str(path) for path in _library() if path.suffix == ".so"]
    listed = subprocess.run(
        ["ldd", str(python), *modules], check=False, capture_output=True, text=True, timeout=60
    )
    words = listed.stdout.split()
    found = {Path(word) for word in words if word.startswith("/") and not word.endswith(":")}
    if not found:
        pytest.skip("this Python is linked statically, or ldd is missing: apt install libc-bin")
    return {path for path in found if path.is_file()}
