"""A vendor's PostgreSQL: Debian's package as it is installed here, with the libraries it needs."""

import gzip
import io
import re
import subprocess
import tarfile
from functools import cache
from pathlib import Path

import pytest
from tests.support.installation.vendor_images import busybox_layer, layer, push

from upwell.oci import Digest

DATA = "/var/lib/db"
_PLACES = (Path("/usr/lib/postgresql"), Path("/usr/share/postgresql"))
_PROGRAMS = ("postgres", "initdb", "psql")
_MODULES = ("plpgsql.so", "dict_snowball.so")
_SETTINGS = "-c unix_socket_directories=/tmp -c fsync=off -c shared_buffers=16MB"
START = f"""\
chown postgres {DATA} && chmod 700 {DATA}
[ -s {DATA}/PG_VERSION ] || \\
  su postgres -c 'initdb -D {DATA} -U postgres --auth=trust --no-sync --locale=C'
"""
SERVE = f"exec su postgres -c 'exec postgres -D {DATA} -c listen_addresses=* {_SETTINGS}'\n"
SPOIL = f"echo spoilt > {DATA}/PG_VERSION\n"
"""Start of a version that changes the files, so that it does not start on them, nor any other."""


async def publish_postgresql(registry: str, name: str, version: str, before: str = "") -> Digest:
    """Push a PostgreSQL that does `before` first; return its digest."""
    files = {
        "etc/passwd": b"root:x:0:0::/root:/bin/sh\npostgres:x:999:999::/tmp:/bin/sh\n",
        "etc/group": b"root:x:0:\npostgres:x:999:\n",
        "etc/image-version": f"{version}\n".encode(),
        "bin/start": f"#!/bin/sh -e\n{START}{before}{SERVE}".encode(),
    }
    layers = [
        busybox_layer(),
        _postgresql_layer(),
        layer(files, folders={"etc": 0o755, "bin": 0o755, "var/lib/db": 0o700}),
    ]
    return await push(
        registry,
        name,
        layers,
        ["/bin/start"],
        Volumes={DATA: {}},
        ExposedPorts={"5432/tcp": {}},
    )


@cache
def _postgresql_layer() -> bytes:
    """Pack what a server needs, at its own paths: it finds its files from where it stands."""
    found = sorted(_PLACES[0].glob("*/bin/postgres"))
    if not found:
        pytest.skip("PostgreSQL is missing: apt install postgresql")
    home = found[-1].parents[1]
    programs = [home / "bin" / name for name in _PROGRAMS]
    modules = [home / "lib" / name for name in _MODULES]
    share = [path for path in (_PLACES[1] / home.name).rglob("*") if _is_needed(path)]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        for path in sorted({*programs, *modules, *share, *_libraries([*programs, *modules])}):
            entry = archive.gettarinfo(path.resolve(), arcname=str(path).lstrip("/"))
            with path.open("rb") as file:
                archive.addfile(entry, file)
        for name in _PROGRAMS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, str(home / "bin" / name)
            archive.addfile(link)
    return gzip.compress(content.getvalue(), compresslevel=1, mtime=0)


def _is_needed(path: Path) -> bool:
    """Return whether a shared file is of the server itself: manuals and extensions are not."""
    if not path.is_file() or path.suffix in {".gz", ".mo"}:
        return False
    return path.parent.name != "extension" or path.name.startswith("plpgsql")


def _libraries(programs: list[Path]) -> set[Path]:
    listed = subprocess.run(
        ["ldd", *map(str, programs)], check=False, capture_output=True, text=True, timeout=60
    )
    words = re.findall(r"(?:=> |^\s+)(/\S+) \(0x", listed.stdout, re.MULTILINE)
    return {Path(word) for word in words}
