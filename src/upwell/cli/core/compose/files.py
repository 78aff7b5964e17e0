"""Compose files as documents: what stands beside them on disk, and the variables of the call."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from upwell.api.codec import encode
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo
from upwell.formats.compose.dotenv import DotenvError, parse_dotenv
from upwell.formats.compose.errors import ComposeError
from upwell.formats.compose.interpolation import InterpolationError
from upwell.formats.compose.model import ComposeProject, ServiceBuild
from upwell.formats.compose.project import parse_compose
from upwell.formats.compose.services import ProjectContext
from upwell.formats.dockerfile.parse import MAX_DOCKERFILE_BYTES
from upwell.policy.adoption.builds import BuildInput
from upwell.policy.adoption.names import AdoptionError, object_name
from upwell.policy.adoption.objects import project_plan
from upwell.policy.new_app.components import NewAppError, is_repository_address, parse_repository
from upwell.policy.new_app.dockerfile import DockerfileFacts, read_dockerfile

PROFILES_VARIABLE = "COMPOSE_PROFILES"
MAX_FILE_BYTES = 1024 * 1024
"""Of an environment file, a secret or a config: an object holds no more."""
_DOCKERFILES = ("Dockerfile", "Containerfile")


def compose_documents(text: str, source: str, profiles: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Return the objects of a Compose file; what is left out is told on stderr.

    `source` is its path, or a name for stdin, whose folder is the present one. Variables come from
    the environment, then from `.env` beside the file. Raises ComposeError.
    """
    folder = Path(source).absolute().parent if Path(source).is_file() else Path.cwd()
    try:
        environment = {**_dotenv(folder), **os.environ}
        active = profiles or [
            one for one in environment.get(PROFILES_VARIABLE, "").split(",") if one
        ]
        context = ProjectContext(str(folder), environment, _read)
        project = parse_compose(text, source, context, active)
        inputs, steps = _build_inputs(project)
        plan = project_plan(project, inputs)
    except (AdoptionError, NewAppError, DotenvError, InterpolationError) as error:
        raise ComposeError([f"{source}: {error}"]) from error
    for note in plan.notes:
        echo(f"warning: {note}", err=True)
    for step in steps:
        echo(f"next: {step}", err=True)
    return [encode(resource) for resource in plan.objects]


def _dotenv(folder: Path) -> dict[str, str]:
    file = folder / ".env"
    try:
        return parse_dotenv(_read(str(file)).decode(), os.environ) if file.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "not UTF-8 text"
        raise CommandError(f"{file}: {why}", Exit.USAGE) from error


def _read(path: str) -> bytes:
    if Path(path).exists() and not Path(path).is_file():  # a pipe may have no end
        raise OSError(0, "no regular file")
    with Path(path).open("rb") as file:
        content = file.read(MAX_FILE_BYTES + 1)
    if len(content) > MAX_FILE_BYTES:
        raise OSError(0, f"larger than {MAX_FILE_BYTES} bytes")
    return content


def _build_inputs(project: ComposeProject) -> tuple[Mapping[str, BuildInput], list[str]]:
    """Return what each build section is about, and what is left to do; raises NewAppError."""
    inputs: dict[str, BuildInput] = {}
    steps: list[str] = []
    for service in project.services:
        if (build := service.build) is None:
            continue
        name = object_name(service.name)
        if is_repository_address(build.context):
            inputs[service.name] = _remote_input(build)
            steps.append(
                f"`upwell logs -f bc/{name}` follows the build; a change of its base image starts"
                " one once a BuildConfig's trigger names it"
            )
        else:
            inputs[service.name] = BuildInput(_facts(service.name, build))
            if not build.inline:
                steps.append(
                    f"`upwell start-build {name} --from-dir={build.context} --follow` builds it"
                    " once; later changes of its base images build the same files again"
                )
    return inputs, steps


def _remote_input(build: ServiceBuild) -> BuildInput:
    """Return the repository of `ADDRESS[#REF[:FOLDER]]`."""
    address, mark, fragment = build.context.partition("#")
    ref, _, folder = fragment.partition(":")
    return BuildInput(
        repository=parse_repository(f"{address}{mark}{ref}" if ref else address), context_dir=folder
    )


def _facts(service: str, build: ServiceBuild) -> DockerfileFacts:
    if build.inline:
        return read_dockerfile(build.inline)
    folder = Path(build.context)
    if not folder.is_dir():
        raise AdoptionError(f"services.{service}.build: {folder} is no folder: create it")
    names = (build.dockerfile,) if build.dockerfile else _DOCKERFILES
    for name in names:
        file = folder / name
        if file.is_file():
            try:
                text = file.read_bytes()[: MAX_DOCKERFILE_BYTES + 1].decode()
            except (OSError, UnicodeDecodeError) as error:
                raise AdoptionError(f"{file}: cannot be read: {error}") from error
            if len(text) > MAX_DOCKERFILE_BYTES:
                raise AdoptionError(f"{file}: larger than {MAX_DOCKERFILE_BYTES} bytes")
            return read_dockerfile(text)
    raise AdoptionError(f"services.{service}.build: there is no {names[0]} in {folder}")
