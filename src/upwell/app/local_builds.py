"""Composes the builder that works on a user's own image store, for the command line."""

import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.interface import LocalBuilder


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
