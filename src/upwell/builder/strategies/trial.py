"""Runs a command inside an image and keeps nothing of what it did to it."""

import asyncio
from collections.abc import Sequence

from upwell.builder.commands import BuildMount, Recipe
from upwell.builder.workspace import Workspace
from upwell.formats.s2i.recipe import ARTIFACTS_FILE, STATE_FOLDER, artifacts_recipe
from upwell.machine.beneath import read_beneath
from upwell.machine.process import ProcessResult

_MAX_OUTPUT = 1024 * 1024


async def run_inside(
    work: Workspace,
    recipe: str,
    mounts: Sequence[BuildMount] = (),
    environment: dict[str, str] | None = None,
) -> ProcessResult:
    """Run the instructions of `recipe` in their image; what they leave is thrown away."""
    wanted = Recipe(
        containerfile=work.folder.write("Containerfile.trial", recipe),
        context=work.folder.empty("nothing"),
        mounts=mounts,
        environment={**work.proxies, **(environment or {})},
        secret_variables=work.secret_variables,
        sandbox=work.sandbox,
        docker_format=True,  # an OCI image would warn of what it cannot keep
    )
    outcome, image = await work.commands.build(wanted, work.folder.path, work.log)
    if image:
        await work.commands.remove_image(image, work.folder.path)
    return outcome


async def script_output(work: Workspace, image: str, script: str) -> bytes:
    """Return what a script of an image prints, at most 1 MiB; raises BuildError."""
    state = work.folder.empty("saved")
    state.chmod(0o777)  # the image's user writes here; the folder above it is private
    mount = BuildMount(state, STATE_FOLDER, writable=True)
    outcome = await run_inside(work, artifacts_recipe(image, "", script), [mount])
    work.check(outcome, "GenericBuildFailed", f"{script} exited with {outcome.code}")
    return await asyncio.to_thread(read_beneath, state, ARTIFACTS_FILE, _MAX_OUTPUT, links=False)
