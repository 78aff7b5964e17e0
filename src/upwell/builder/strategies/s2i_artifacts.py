"""Incremental builds: what save-artifacts of the previous image hands to the next assemble."""

import os
import stat
from collections.abc import Mapping
from pathlib import Path

from upwell.builder.archive import ArchiveError, ArchiveLimits
from upwell.builder.commands import BuildMount
from upwell.builder.diagnosis import disk_full, disk_pressure
from upwell.builder.interface import BuildError
from upwell.builder.strategies.trial import run_inside
from upwell.builder.unpacking import unpack
from upwell.builder.workspace import Workspace
from upwell.formats.s2i.contract import BuilderImage
from upwell.formats.s2i.recipe import ARTIFACTS_FILE, SCRIPTS_MOUNT, STATE_FOLDER, artifacts_recipe
from upwell.machine.beneath import opened_beneath
from upwell.workers.interface import WorkerFailedError

_SCRIPT = "save-artifacts"
_LIMITS = ArchiveLimits(any_links=True)


async def saved_artifacts(work: Workspace, scripts: Mapping[str, str]) -> bool:
    """Put the previous image's artifacts into the folder `artifacts`; return whether there are any.

    `scripts` says where images hold scripts that are not in the folder `scripts`. What goes wrong
    makes the build a clean one, with a warning; BuildError is raised if that is not wanted.
    """
    target = work.folder.empty("artifacts")
    previous = work.plan.source.previous
    if previous is None:
        return False
    try:
        await _save(work, _script(work, scripts))
        await _unpack_saved(work.folder.path / "saved", target)
    except (BuildError, ArchiveError, WorkerFailedError, OSError) as error:
        if disk_full(error):
            raise disk_pressure(str(error)) from error
        if work.plan.source.previous_required:
            message = f"cannot get the artifacts of {previous}: {error}"
            raise BuildError("GenericBuildFailed", message) from error
        work.say(f"Warning: a clean build is made, without artifacts of {previous}: {error}")
        work.folder.empty("artifacts")
        return False
    return any(target.iterdir())


async def _unpack_saved(folder: Path, target: Path) -> None:
    """Unpack what the script saved; it may have put a link there, to a file of this machine."""
    flags = os.O_RDONLY | os.O_NONBLOCK
    with opened_beneath(folder, ARTIFACTS_FILE, flags, links=False) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ArchiveError(f"{ARTIFACTS_FILE} is not a file")
        await unpack(Path(f"/proc/self/fd/{descriptor}"), target, _LIMITS)


def _script(work: Workspace, scripts: Mapping[str, str]) -> str:
    if (work.folder.path / "scripts" / _SCRIPT).exists():
        return f"{SCRIPTS_MOUNT}/{_SCRIPT}"
    if _SCRIPT not in scripts:
        raise BuildError("GenericBuildFailed", "there is no script save-artifacts")
    return scripts[_SCRIPT]


async def _save(work: Workspace, script: str) -> None:
    previous = str(work.plan.source.previous)
    config = await work.commands.image_config(previous, work.folder.path)
    image = BuilderImage.of(config, work.plan.source.assemble_user)
    state = work.folder.empty("saved")
    state.chmod(0o777)  # the assemble user writes here; the folder above it is private
    mounts = [
        BuildMount(state, STATE_FOLDER, writable=True),
        BuildMount(work.folder.path / "scripts", SCRIPTS_MOUNT),
        *(BuildMount(v.path, v.target, options=v.options) for v in work.plan.source.volumes),
    ]
    work.say("Saving artifacts of the previous image ...")
    recipe = artifacts_recipe(previous, image.assemble_user, script)
    outcome = await run_inside(work, recipe, mounts)
    work.check(outcome, "GenericBuildFailed", f"save-artifacts exited with {outcome.code}")
