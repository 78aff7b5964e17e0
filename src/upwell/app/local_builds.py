"""Composes, for the command line, the builder of a user's own images, and git for their sources."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import LocalBuilder
from upwell.builder.strategies.s2i_scripts import ScriptSources, collect_scripts
from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import GitLimits, GitSource
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import Launcher
from upwell.outbound.dialing import unrestricted

_LOOK = GitLimits(seconds=60.0, tree_bytes=512 * 1024**2)


@dataclass(frozen=True, slots=True)
class SharedImageStore:
    """An image store that Podman and Buildah share, and how both are configured."""

    root: Path
    run_root: Path
    containers_conf: Path | None = None
    person: Mapping[str, str] = field(default_factory=dict)
    """Variables by which both find a person's logins, registries.conf and proxies."""


async def collect_own_scripts(url: str, tree: Path, image_url: str, target: Path) -> None:
    """Put the scripts into `target` that `url`, the source or `image_url` gives; raises BuildError.

    Those of an image stay there.
    """
    sources = ScriptSources(url, tree, image_url, unrestricted(), allow_local=True, optional=True)
    await collect_scripts(sources, target)


@asynccontextmanager
async def open_local_builder(
    store: SharedImageStore, pull_policy: str, network: str = "private"
) -> AsyncIterator[LocalBuilder]:
    """Yield a builder on `store`; its own folder goes with the block.

    `pull_policy` is `missing`, `always` or `never`; `network` is `private`, `none` or `host`. Who
    runs it owns the machine: its plans may name local paths and the host's network.
    """
    work = Path(tempfile.mkdtemp(prefix="upwell-builds-"))
    try:
        yield BuildahBuilder(
            BuildahSettings(
                work_dir=work,
                storage_root=store.root,
                run_root=store.run_root,
                temporary_dir=work,
                containers_conf=store.containers_conf,
                allow_local_sources=True,
                # The user's own commands, on the user's own machine.
                network=network,
                person=store.person,
                allow_host_network=True,
                pull_policy=pull_policy,
                # Podman reads the same store, and takes no layers whose owners are shifted.
                user_namespaces=False,
            ),
            dialer=None,
        )
    finally:
        shutil.rmtree(work, ignore_errors=True)


@asynccontextmanager
async def open_source_tree(uri: str, ref: str) -> AsyncIterator[Path]:
    """Yield the newest commit of a repository as a folder, which goes with the block.

    Takes at most a minute and 512 MiB; submodules are left out. git gets none of the user's own
    settings and logins. Raises GitError.
    """
    work = PrivateFolder(Path(tempfile.mkdtemp(prefix="upwell-source-")))
    try:
        tree = work.empty("tree")
        environment = {"PATH": os.environ.get("PATH", os.defpath)}
        # Who runs it may read this machine's disk anyway.
        program = GitProgram(Launcher(work.path.name), environment, allow_local=True)
        source = GitSource(uri, ref, submodules=False)
        await GitClient(program, _LOOK).fetch(source, work, tree, lambda _: None)
        yield tree
    finally:
        shutil.rmtree(work.path, ignore_errors=True)
