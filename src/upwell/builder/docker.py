"""The Docker strategy: a Dockerfile whose images are pinned, and whose environment is set."""

import asyncio

from upwell.builder.commands import Recipe
from upwell.builder.context import read_dockerfile
from upwell.builder.interface import BuildError
from upwell.builder.workspace import Workspace
from upwell.policy.dockerfile import DockerfileError, parse, rewrite
from upwell.policy.s2i import S2iError, environment_instructions

_ONLY_IN_DOCKER_FORMAT = frozenset({"HEALTHCHECK", "ONBUILD", "SHELL"})
"""Instructions whose result an OCI image configuration has no field for."""

_FAILED = "Dockerfile build strategy has failed"


async def build(work: Workspace) -> str:
    """Build the plan's Dockerfile; return the image's id in the store. Raises BuildError."""
    recipe = await asyncio.to_thread(_prepare, work)
    outcome, image = await work.commands.build(recipe, work.folder.path, work.log)
    work.check(outcome, "DockerBuildFailed", _FAILED)
    return image


def _prepare(work: Workspace) -> Recipe:
    plan = work.plan
    arguments = dict(plan.build_args)
    images = {name: str(reference) for name, reference in plan.images.items()}
    try:
        text = _dockerfile(work)
        lines, values = environment_instructions(plan.env)
        pinned = rewrite(text, images, arguments, lines)
        keywords = parse(text, arguments).keywords
    except (DockerfileError, S2iError) as error:
        raise BuildError("ManageDockerfileFailed", str(error)) from error
    for name, value in arguments.items():
        if "\n" in value or "=" in name or not name:
            raise BuildError(
                "ManageDockerfileFailed", f"build argument {name!r} has a line break or a bad name"
            )
    text = "".join(f"{name}={value}\n" for name, value in arguments.items())
    docker_format = not keywords.isdisjoint(_ONLY_IN_DOCKER_FORMAT)
    return Recipe(
        containerfile=work.folder.write("Dockerfile", pinned),
        context=work.context,
        arguments_file=work.folder.write("build-args", text) if arguments else None,
        environment=values,
        # Docker's format has no annotations: there, labels carry what they would have said.
        labels={**work.annotations, **plan.labels} if docker_format else plan.labels,
        annotations=work.annotations,
        limits=work.limits,
        network=work.network,
        layers=True,
        use_cache=not plan.no_cache,
        docker_format=docker_format,
    )


def _dockerfile(work: Workspace) -> str:
    if work.plan.dockerfile is not None:
        return work.plan.dockerfile
    return read_dockerfile(work.context, work.plan.dockerfile_path)
