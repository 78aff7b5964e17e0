"""Composes, for the command line, the builder of a user's own images, and git for their sources."""

import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.interface import LocalBuilder
from upwell.git.client import GitClient
from upwell.git.commands import GitProgram
from upwell.git.interface import GitLimits, GitSource
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import Launcher

_LOOK = GitLimits(seconds=60.0, tree_bytes=512 * 1024**2)


@dataclass(frozen=True, slots=True)
class SharedImageStore:
    """An image store that Podman and Buildah share, and how both are configured."""

    root: Path
    run_root: Path
    containers_conf: Path | None = None


@asynccontextmanager
async def open_local_builder(
    store: SharedImageStore, pull_policy: str
) -> AsyncIterator[LocalBuilder]:
    """Yield a builder on `store`; its own folder goes with the block.

    `pull_policy` is `missing`, `always` or `never`. Who runs it owns the machine: its plans may
    name local paths and the host's network.
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
                network="private",
                allow_host_network=True,
                pull_policy=pull_policy,
                # Podman reads the same store, and takes no layers whose owners are shifted.
                user_namespaces=False,
            )
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
