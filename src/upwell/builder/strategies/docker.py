"""The Docker strategy: a Dockerfile whose images are pinned, and whose environment is set."""

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from upwell.builder.commands import Recipe
from upwell.builder.context import read_dockerfile
from upwell.builder.inputs import fill_context, secret_files, volume_mounts
from upwell.builder.interface import BuildError
from upwell.builder.steps.marks import mark_lines
from upwell.builder.steps.store import may_find_steps
from upwell.builder.workspace import Workspace
from upwell.formats.dockerfile.environment import environment_lines
from upwell.formats.dockerfile.isolation import (
    Download,
    check_isolation,
    check_trigger,
    downloads,
)
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.normalise import normalise
from upwell.formats.dockerfile.parse import Dockerfile, parse
from upwell.formats.dockerfile.secrets import check_secret_variables
from upwell.formats.s2i.contract import S2iError
from upwell.oci import ImageConfig, Reference

_ONLY_IN_DOCKER_FORMAT = frozenset({"HEALTHCHECK", "ONBUILD", "SHELL"})
"""Instructions whose result an OCI image configuration has no field for."""

_FAILED = "Dockerfile build strategy has failed"
_REASON = "ManageDockerfileFailed"


async def build(work: Workspace) -> str:
    """Build the plan's Dockerfile; return the image's id in the store. Raises BuildError.

    That is the store of kept steps, if the build may find some.
    """
    try:
        text = await asyncio.to_thread(_dockerfile, work)
        bases = await _bases(work)
        await _check(work, text, bases)
        context = await fill_context(work)
        document = await asyncio.to_thread(parse, text, dict(work.plan.build_args))
        triggered = any(config.on_build for config in bases.values())
        recipe = await asyncio.to_thread(_prepare, work, document, context, triggered=triggered)
        if document.mounts_context and context.is_relative_to(work.folder.path):
            await work.commands.give(context, work.folder.path)
        if any(config.needs_docker_format for config in bases.values()):
            recipe = replace(recipe, docker_format=True)
    except (DockerfileError, S2iError) as error:
        raise BuildError(_REASON, str(error)) from error
    commands = work.steps.commands if work.steps else work.commands
    outcome, image = await commands.build(recipe, work.folder.path, work.log)
    work.check(outcome, "DockerBuildFailed", _FAILED)
    return image


def _prepare(
    work: Workspace, document: Dockerfile, context: Path, *, triggered: bool = False
) -> Recipe:
    """Return what to build; `triggered`: a base's ONBUILD instructions run before any scope."""
    plan = work.plan
    arguments = dict(plan.build_args)
    images = {name: str(reference) for name, reference in plan.images.items()}
    for image in plan.source_images:
        images |= dict.fromkeys(image.as_names, str(image.reference))
    final = str(plan.final_image) if plan.final_image else None
    check_secret_variables(document.script, work.secret_variables)
    escape = document.script.escape
    lines, values = environment_lines(plan.env, "UPWELL_ENV", escape)
    # As in OpenShift at the end: a build's name before a RUN would be in no later build's cache.
    own_lines, own_values = environment_lines(plan.build_env, "UPWELL_BUILD", escape)
    after_from = (*mark_lines(work.step_mark, plan.pulled), *lines)
    written = normalise(document, images, after_from, at_end=own_lines, final=final)
    for name, value in arguments.items():
        if "\n" in value or "=" in name or not name:
            raise BuildError(_REASON, f"build argument {name!r} has a line break or a bad name")
    argument_lines = "".join(f"{name}={value}\n" for name, value in arguments.items())
    return Recipe(
        containerfile=work.folder.write("Dockerfile", written),
        context=context,
        arguments_file=work.folder.write("build-args", argument_lines) if arguments else None,
        environment={**work.proxies, **values, **own_values},
        secret_variables=work.secret_variables,
        labels=plan.labels,
        annotations=work.annotations,
        mounts=volume_mounts(work),
        secrets=secret_files(work),
        sandbox=work.sandbox,
        layers=not plan.squash,
        squash=plan.squash,
        use_cache=_may_use_kept(work, triggered=triggered),
        images_of=work.steps.bases if work.steps else None,
        docker_format=not document.keywords.isdisjoint(_ONLY_IN_DOCKER_FORMAT),
        all_stages=True,  # as in OpenShift: a stage may be there to test
    )


def _may_use_kept(work: Workspace, *, triggered: bool) -> bool:
    if work.plan.step_scope:
        return work.steps is not None
    return may_find_steps(work.plan) and not triggered


async def _bases(work: Workspace) -> Mapping[Reference, ImageConfig]:
    """Return the images that the Dockerfile builds upon, or takes files from."""
    plan = work.plan
    wanted = {*plan.images.values(), *([plan.final_image] if plan.final_image else [])}
    return {base: await work.commands.image_config(str(base), work.folder.path) for base in wanted}


async def _check(work: Workspace, text: str, bases: Mapping[Reference, ImageConfig]) -> None:
    """Refuse what reaches out of the build; the bases' ONBUILD instructions are part of it."""
    allowed = work.sandbox.has_machine_network
    check_isolation(text, host_network=allowed)
    for base, config in bases.items():
        try:
            for trigger in config.on_build:
                check_trigger(trigger, host_network=allowed)
                await _check_downloads(trigger, {}, allowed=allowed)
        except DockerfileError as error:
            message = f"the image {base} has an ONBUILD instruction that is refused: {error}"
            raise BuildError(_REASON, message) from error
    await _check_downloads(text, dict(work.plan.build_args), allowed=allowed)


async def _check_downloads(text: str, arguments: dict[str, str], *, allowed: bool) -> None:
    """Refuse ADD from this machine itself: Buildah fetches outside of the build's network."""
    if allowed:
        return
    for download in downloads(text, arguments):
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(download.host, None, type=socket.SOCK_STREAM)
        except OSError:
            continue  # the build will say that there is no such host
        if any(_is_own(str(entry[4][0])) for entry in found):
            raise DockerfileError(download.line, _refusal(download))


def _is_own(address: str) -> bool:
    found = ipaddress.ip_address(address.partition("%")[0])
    return found.is_loopback or found.is_link_local or found.is_unspecified


def _refusal(download: Download) -> str:
    return f"ADD from {download.host}: an address of the building machine itself"


def _dockerfile(work: Workspace) -> str:
    if work.plan.dockerfile is not None:
        return work.plan.dockerfile
    return read_dockerfile(work.context, work.plan.dockerfile_path)
