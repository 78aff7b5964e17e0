"""Rebases over real updates of Debian 11 and Alpine: safe ones equal a build, traps are told.

It notes no ratio: it measures whether files are equal, and fails where they are not; what rebases
cost is measured by `test_rebase.py`. Takes ten minutes and a gigabyte. Run with
`pytest -m benchmark -s tests/benchmarks/images/test_rebase_matrix.py`.
"""

import shutil
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.paths import SHARED
from tests.support.registry.rebased_images import BuildSetup, build_setup, output

from upwell.cli.demo.archive import Archive, find_archive

pytestmark = pytest.mark.benchmark

PATHS = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TAGS = ("old", "rebased", "built")


@dataclass(frozen=True)
class SampleApplication:
    """A Dockerfile, and what it does on its new base."""

    base: str
    dockerfile: str
    command: tuple[str, ...] = ()
    """Command that shows that it runs; its output begins with `says`."""
    says: str = ""
    faults: frozenset[str] = frozenset()
    """Reasons for which it has to be built instead; none says that a rebase is safe."""
    platforms: tuple[str, ...] = ("linux/amd64",)


FILES = {
    "content": "content\n",
    "control": """\
Package: own
Version: 1
Architecture: all
Maintainer: Shop <shop@example.test>
Description: a package of the application's own
""",
    "shop.py": 'import json, sqlite3, ssl\nNAME = json.dumps("ran")\n',
    "nginx.conf": """\
events {}
http { server { listen 127.0.0.1:8080; root /srv/site; } }
""",
    "linked.c": """\
#include <math.h>
#include <netinet/in.h>
#include <resolv.h>
#include <stdio.h>
int main(int count, char **words) { res_init(); printf("ran %.1f", cos(count - 1)); return 0; }
""",
}
"""Files that Dockerfiles copy, besides `busybox`."""

APPLICATIONS = {
    "static": SampleApplication(
        "debian:11",
        'FROM HOST/debian:11\nCOPY busybox /opt/busybox\nENTRYPOINT ["/opt/busybox"]',
        ("/opt/busybox", "echo", "ran"),
        "ran",
    ),
    "linked": SampleApplication(
        "debian:11",
        """
        FROM HOST/compilers:11 AS compiled
        COPY linked.c /
        RUN gcc /linked.c -o /a -lresolv -lm
        FROM HOST/debian:11
        COPY --from=compiled /a /opt/linked
        CMD ["/opt/linked"]
        """,
        ("/opt/linked",),
        "ran 1.0",
    ),
    "python": SampleApplication(
        "debian:11",
        """
        FROM HOST/debian:11
        WORKDIR /srv/app
        COPY shop.py shop/__init__.py
        RUN python3 -m compileall -q shop
        ENV PYTHONPATH=/srv/app
        USER 1000:1000
        CMD ["python3", "-c", "import shop; print(shop.NAME)"]
        """,
        ("python3", "-c", "import shop; print(shop.NAME)"),
        '"ran"',
    ),
    "node": SampleApplication(
        "node:12",
        """
        FROM HOST/node:12
        WORKDIR /srv/app
        RUN mkdir -p node_modules/shop && echo 'module.exports = "ran"' > node_modules/shop/index.js
        RUN echo 'console.log(require("shop"))' > server.js
        ENV NODE_ENV=production PATH=/srv/app/bin:$PATH
        EXPOSE 8080
        CMD ["node", "server.js"]
        """,
        ("sh", "-c", "cd /srv/app && node server.js"),
        "ran",
    ),
    "own-packages": SampleApplication(
        "debian:11",
        """
        FROM HOST/debian:11
        COPY control /own/DEBIAN/
        RUN dpkg-deb -b /own /own.deb && dpkg -i /own.deb && rm -r /own
        """,
        faults=frozenset({"PackageDatabase"}),
    ),
    "overwritten": SampleApplication(
        "debian:11",
        "FROM HOST/debian:11\nRUN echo 2026z > /usr/share/zoneinfo/tzdata.zi",
        faults=frozenset({"FileOverlap"}),
    ),
    "copied-library": SampleApplication(
        "debian:11",
        "FROM HOST/debian:11\nRUN mkdir /own && cp -L /lib/x86_64-linux-gnu/libc.so.6 /own/",
        faults=frozenset({"CopyOfBaseFile"}),
    ),
    "removed": SampleApplication(
        "debian:11",
        "FROM HOST/debian:11\nRUN rm /usr/share/zoneinfo/tzdata.zi",
        faults=frozenset({"Whiteout"}),
    ),
    "alpine": SampleApplication(
        "alpine:3.10",
        """
        FROM HOST/alpine:3.10
        RUN mkdir /srv/own
        COPY --chown=7:7 busybox /opt/busybox
        USER 7
        """,
        ("/opt/busybox", "echo", "ran"),
        "ran",
    ),
    "alpine-alone": SampleApplication(
        "alpine:3.10",
        "FROM HOST/alpine:3.10\nRUN mkdir /srv/own && echo own > /srv/own/file",
        ("cat", "/srv/own/file"),
        "own",
    ),
    "configuration": SampleApplication(
        "alpine:3.10",
        """
        FROM HOST/alpine:3.10
        COPY nginx.conf /etc/nginx/nginx.conf
        COPY content /srv/site/index.html
        EXPOSE 8080
        STOPSIGNAL SIGQUIT
        """,
        ("cat", "/srv/site/index.html"),
        "content",
    ),
    "stages": SampleApplication(
        "alpine:3.10",
        """
        FROM HOST/alpine:3.10 AS made
        RUN mkdir -p /srv/venv/bin && echo 'version = 3.9.2' > /srv/venv/pyvenv.cfg
        RUN ln -s /usr/bin/env /srv/venv/bin/python3
        FROM HOST/alpine:3.10
        COPY --from=made /srv/venv /srv/venv
        ENV PATH=/srv/venv/bin:$PATH
        """,
        ("cat", "/srv/venv/pyvenv.cfg"),
        "version",
    ),
    "reads-variable": SampleApplication(
        "alpine:3.10",
        "FROM HOST/alpine:3.10\nRUN echo ${BASE_UPDATE:-none} > /own",
        faults=frozenset({"BuildSetting"}),
    ),
    "platforms": SampleApplication(
        "multi:11",
        "FROM HOST/multi:11\nCOPY content /srv/content\nENV KIND=content",
        platforms=("linux/amd64", "linux/arm64"),
    ),
}


@dataclass(frozen=True)
class Base:
    """A base image, whose root file systems are made before and after the security updates."""

    include: str
    architecture: str = "amd64"
    updated: bool = True
    """False for a platform that the update has not reached yet."""

    async def made(self, folder: Path, archive: Archive, *, fixed: bool) -> Path:
        name = self.include.replace(",", "-")
        tar = folder / f"{name}-{self.architecture}{'-fixed' if fixed else ''}.tar"
        # Nothing is run that is for another machine.
        variant = "minbase" if self.architecture == "amd64" else "extract"
        await output(
            "mmdebstrap",
            "--quiet",
            f"--variant={variant}",
            f"--architectures={self.architecture}",
            f"--include={self.include}",
            '--aptopt=Acquire::Check-Valid-Until "false"',
            *(f"--dpkgopt=path-exclude=/usr/share/{one}/*" for one in ("doc", "locale", "man")),
            "--skip=output/dev",
            "bullseye",
            str(tar),
            *archive.sources("bullseye", fixed=fixed and self.updated),
        )
        return tar


DEBIAN = Base("python3,tzdata")
BASES: dict[str, tuple[Base, ...]] = {
    "debian:11": (DEBIAN,),
    "node:12": (Base("nodejs"),),
    "multi:11": (Base("libc6"), Base("libc6", "arm64", updated=False)),
    "compilers:11": (Base("gcc,libc6-dev"),),
}
"""Images of Debian 11, each for one platform or more."""
ALPINES = ("3.10.3", "3.10.9")


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[BuildSetup]:
    async with build_setup(tmp_path) as started:
        yield started


async def publish_bases(setup: BuildSetup, archive: Archive, *, fixed: bool) -> None:
    for name, platforms in BASES.items():
        entries = []
        for base in platforms:
            tar = await base.made(setup.folder, archive, fixed=fixed)
            entry = name if len(platforms) == 1 else f"{name}-{base.architecture}"
            entries.append(entry)
            await publish_base(setup, entry, tar, base.architecture, fixed=fixed)
            tar.unlink()
        if len(entries) > 1:
            await setup.index(name, entries)
    tar = SHARED / f"data/images/alpine-minirootfs-{ALPINES[fixed]}-x86_64.tar.gz"
    await publish_base(setup, "alpine:3.10", tar, "amd64", fixed=fixed)


async def publish_base(
    setup: BuildSetup, name: str, tar: Path, architecture: str, *, fixed: bool
) -> None:
    """Push an image with one layer, as Buildah makes it, and a variable that the update changes."""
    context = setup.folder / "base"
    context.mkdir(exist_ok=True)
    shutil.copy(tar, context / tar.name)
    await setup.build(
        "base",
        name.replace(":", "-"),
        f'FROM scratch\nADD {tar.name} /\nENV {PATHS} BASE_UPDATE={int(fixed)}\nCMD ["/bin/sh"]',
        f"--platform=linux/{architecture}",
        image=name,
    )
    (context / tar.name).unlink()


def prepare(folder: Path) -> None:
    for name in APPLICATIONS:
        context = folder / name
        context.mkdir()
        shutil.copy("/bin/busybox", context / "busybox")
        for file, text in FILES.items():
            (context / file).write_text(text)


async def build(setup: BuildSetup, name: str, tag: str) -> None:
    application = APPLICATIONS[name]
    if len(application.platforms) == 1:
        await setup.build(name, tag, application.dockerfile)
        return
    entries = []
    for platform in application.platforms:
        entries.append(f"{name}:{tag}-{platform.rpartition('/')[2]}")
        await setup.build(
            name, tag, application.dockerfile, f"--platform={platform}", image=entries[-1]
        )
    await setup.index(f"{name}:{tag}", entries)


async def outcome(setup: BuildSetup, name: str) -> str:
    """Rebase an application, build it as well, and compare; return what came of it."""
    application = APPLICATIONS[name]
    rebased = await setup.rebase(f"{setup.host}/{name}:old", "--tag=rebased", "--explain")
    if application.faults:
        assert rebased.exit_code == 1, rebased.output
        missing = {one for one in application.faults if one not in rebased.output}
        assert not missing, rebased.output
        return f"refused: {', '.join(sorted(application.faults))}"
    assert rebased.exit_code == 0, rebased.output
    await build(setup, name, "built")
    count = 0
    for platform in application.platforms:
        architecture = platform.rpartition("/")[2]
        files = [await setup.files(f"{name}:{tag}", architecture) for tag in TAGS]
        assert files[1] == files[2]
        assert (files[0] == files[1]) == (architecture == "arm64")
        configs = [await setup.config(f"{name}:{tag}", architecture) for tag in TAGS]
        assert configs[1]["settings"] == configs[2]["settings"]
        count += len(files[1])
    if application.command:
        said = await setup.run(f"{name}:rebased", *application.command)
        assert said.startswith(application.says), said
    return f"rebased: {count} paths equal those of a build"


async def test_rebases_over_real_updates(setup: BuildSetup) -> None:
    archive = await find_archive()
    prepare(setup.folder)
    await publish_bases(setup, archive, fixed=False)
    for name in APPLICATIONS:
        await build(setup, name, "old")
    await publish_bases(setup, archive, fixed=True)
    for name in APPLICATIONS:
        sys.stdout.write(f"{name:16}{await outcome(setup, name)}\n")
