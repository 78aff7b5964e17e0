"""Runs a command inside an image and keeps nothing of what it did to it."""

from collections.abc import Sequence

from upwell.builder.commands import BuildMount, Recipe
from upwell.builder.workspace import Workspace
from upwell.machine.process import ProcessResult


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
