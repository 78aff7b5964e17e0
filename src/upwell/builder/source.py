"""The Source strategy: a builder image turns a source tree into an image (Source-to-Image)."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

from upwell.builder.commands import Recipe
from upwell.builder.interface import BuildError
from upwell.builder.scripts import ScriptSources, collect_scripts
from upwell.builder.workspace import Workspace
from upwell.policy import s2i

_MAX_FILE_BYTES = 1024 * 1024


async def build(work: Workspace) -> str:
    """Run assemble on the source; return the image's id in the store. Raises BuildError."""
    try:
        return await _build(work)
    except s2i.S2iError as error:
        raise BuildError("GenericBuildFailed", str(error)) from error


async def _build(work: Workspace) -> str:
    plan, folder = work.plan, work.folder.path
    builder = plan.images.get("builder")
    if builder is None:
        raise BuildError("GenericBuildFailed", "the plan names no builder image")
    image = s2i.BuilderImage.of(await work.commands.image_config(str(builder), folder))
    scripts = work.folder.empty("scripts")
    in_image = await collect_scripts(
        ScriptSources(
            plan.scripts_url, work.context, image.scripts_url, allow_local=work.allow_local_scripts
        ),
        scripts,
    )
    metadata = work.folder.empty("metadata")
    metadata.chmod(0o777)  # the assemble user writes here; the folder above it is private
    recipe = await asyncio.to_thread(_prepare, work, str(builder), image, in_image)
    outcome, built = await work.commands.build(recipe, folder, work.log)
    work.check(outcome, "GenericBuildFailed", f"assemble exited with {outcome.code}")
    raw = _read_inside(metadata, s2i.METADATA_FILE)
    return built if raw is None else await _relabel(work, recipe, built, raw)


def _prepare(
    work: Workspace, builder: str, image: s2i.BuilderImage, in_image: dict[str, str]
) -> Recipe:
    plan, folder = work.plan, work.folder
    declared = _text(work.context / ".s2i", "environment")
    # In one mapping, so that the plan's value replaces the file's.
    env = dict(s2i.parse_environment(declared)) | dict(plan.env)
    lines, values = s2i.environment_instructions(env.items())
    rules = s2i.ignore_rules(_text(work.context, ".s2iignore"))
    scripts = folder.path / "scripts"
    text = s2i.containerfile(builder, image, in_image, lines, upload_scripts=any(scripts.iterdir()))
    return Recipe(
        containerfile=folder.write("Containerfile", text),
        context=work.context,
        contexts={"scripts": scripts},
        ignore_file=folder.write("ignore", "\n".join(rules) + "\n"),
        environment=values,
        labels=s2i.generated_labels(plan.labels, builder, str(plan.push or "")),
        annotations=work.annotations,
        volumes={folder.path / "metadata": s2i.METADATA_FOLDER},
        limits=work.limits,
        network=work.network,
    )


async def _relabel(work: Workspace, recipe: Recipe, built: str, raw: bytes) -> str:
    """Add the labels that assemble asked for; those of the plan still win."""
    labels = {**s2i.metadata_labels(raw), **work.plan.labels}
    text = f"FROM {built}\n"
    again = replace(
        recipe,
        containerfile=work.folder.write("Containerfile.labels", text),
        context=work.folder.temporary,
        contexts={},
        ignore_file=None,
        environment={},
        labels=labels,
        volumes={},
        layers=True,  # adds no layer of files
    )
    outcome, image = await work.commands.build(again, work.folder.path, lambda _: None)
    work.check(outcome, "GenericBuildFailed", "labels could not be set")
    return image


def _text(folder: Path, name: str) -> str:
    return (_read_inside(folder, name) or b"").decode(errors="replace")


def _read_inside(folder: Path, name: str) -> bytes | None:
    """Read a regular file; a link, which the build may have made, is not followed."""
    try:
        with open(folder / name, "rb", opener=_open_no_link) as file:
            content = file.read(_MAX_FILE_BYTES + 1)
    except OSError:
        return None
    if len(content) > _MAX_FILE_BYTES:
        raise s2i.S2iError(f"{name} is over {_MAX_FILE_BYTES} bytes")
    return content


def _open_no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW | os.O_NONBLOCK)
