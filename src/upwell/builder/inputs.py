"""The inputs of a build besides its source tree: files of Secrets, ConfigMaps and images."""

import asyncio
import json
import os
import posixpath
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from upwell.builder.commands import BuildMount, Recipe
from upwell.builder.interface import BuildError, ImagePath, InjectedFiles, MountedFiles
from upwell.builder.workspace import Workspace
from upwell.formats.s2i.recipe import Copy

_REASON = "FetchSourceFailed"


@dataclass(frozen=True, slots=True)
class Injections:
    """Files beside the source: all are copied, and secret ones are emptied after assemble."""

    copies: tuple[Copy, ...]
    contexts: dict[str, Path]
    emptied: tuple[str, ...]


def prepare_injections(work: Workspace, working_dir: str) -> Injections:
    """Write the plan's injected files for a Source build, relative ones below `working_dir`."""
    copies, contexts, emptied = [], {}, []
    for index, given in enumerate(work.plan.inputs):
        target = posixpath.normpath(
            posixpath.join("/", working_dir, given.destination_dir or "."),
        )
        folder = _write(work, f"input-{index}", given)
        contexts[folder.name] = folder
        copies.append(Copy(folder.name, ".", f"{target.rstrip('/')}/"))
        if given.secret:
            emptied += [
                posixpath.join(target, path.relative_to(folder).as_posix())
                for path in _files(folder)
            ]
    return Injections(tuple(copies), contexts, tuple(emptied))


def volume_mounts(work: Workspace) -> tuple[BuildMount, ...]:
    """Write the files of the plan's volumes, and return where the build's commands see them."""
    return tuple(
        BuildMount(_write(work, f"volume-{index}", volume), target)
        for index, volume in enumerate(work.plan.volumes)
        for target in volume.targets
    )


def image_copies(work: Workspace) -> tuple[Copy, ...]:
    """Return what a Source build takes out of other images into its source."""
    return tuple(
        Copy(str(image.reference), path.source, image_target(path))
        for image in work.plan.source_images
        for path in image.paths
    )


def image_target(path: ImagePath) -> str:
    """Return where a path of an image goes below the source; raises BuildError.

    `/a/b` keeps its name, be it a file or a folder; `/a/b/.` gives its content.
    """
    folder = _relative(path.destination_dir, "source image")
    if not path.source.startswith("/") or ".." in PurePosixPath(path.source).parts:
        raise BuildError(_REASON, f"source image: {path.source!r} is not an absolute path")
    if path.source.endswith("/."):
        return f"{folder}/"
    return posixpath.join(folder, posixpath.basename(path.source.rstrip("/")))


async def fill_context(work: Workspace) -> Path:
    """Return a Docker build's context with all further inputs in it.

    A source tree that is not the build's own is copied first.
    """
    plan = work.plan
    paths = [path for image in plan.source_images for path in image.paths]
    if not paths and not plan.inputs:
        return work.context
    context = await asyncio.to_thread(_own_context, work)
    if paths:
        await _extract(work, context)
    await asyncio.to_thread(_add_files, work, context)
    return context


def context_with(work: Workspace, files: Mapping[str, bytes]) -> Path:
    """Return the build's context with executable files at its root; a tree of others is copied."""
    if not files:
        return work.context
    context = _own_context(work)
    for name, content in files.items():
        _vacate(context, Path(name))
        (context / name).write_bytes(content)
        (context / name).chmod(0o755)
    return context


def _own_context(work: Workspace) -> Path:
    """Return the source tree, or a copy if it is not the build's own."""
    context = work.context
    if context.is_relative_to(work.folder.path):
        return context
    own = work.folder.empty("context")
    shutil.copytree(context, own, symlinks=True, dirs_exist_ok=True)
    return own


def secret_files(work: Workspace) -> dict[str, Path]:
    """Return the plan's Secrets as files for `RUN --mount=type=secret`, by `NAME` and `NAME/KEY`.

    A Secret with one key goes by its name too.
    """
    found = {}
    for index, given in enumerate(work.plan.inputs):
        if given.secret:
            folder = _write(work, f"secret-{index}", given)
            paths = list(_files(folder))
            for path in paths:
                found[f"{given.name}/{path.relative_to(folder).as_posix()}"] = path
            if len(paths) == 1:
                found[given.name] = paths[0]
    return found


async def _extract(work: Workspace, context: Path) -> None:
    """Copy files of the plan's images into the context, by way of a build that outputs a folder."""
    copies = (
        f"COPY --from={copy.origin} {json.dumps([copy.source, f'/{copy.target}'])}"
        for copy in image_copies(work)
    )
    target = work.folder.empty("image-files")
    recipe = Recipe(
        containerfile=work.folder.write(
            "Containerfile.images", "\n".join(["FROM scratch", *copies, ""])
        ),
        context=work.folder.empty("nothing"),
        sandbox=work.sandbox,
        output=target,
    )
    outcome, image = await work.commands.build(recipe, work.folder.path, work.log)
    work.check(outcome, "FetchImageContentFailed", "Failed to extract image content")
    await work.commands.remove_image(image, work.folder.path)
    await asyncio.to_thread(_merge, target, context)


def _merge(origin: Path, context: Path) -> None:
    """Move a tree of files over the context without following a link of either."""
    for folder, names, files in os.walk(origin):
        inside = Path(folder).relative_to(origin)
        for name in [*names, *files]:
            path = Path(folder) / name
            if path.is_dir() and not path.is_symlink():
                continue
            _vacate(context, inside / name)
            shutil.move(path, context / inside / name)


def _add_files(work: Workspace, context: Path) -> None:
    for given in work.plan.inputs:
        folder = Path(_relative(given.destination_dir, given.name))
        for name, content in given.files.items():
            inside = folder / _relative(name, given.name)
            _vacate(context, inside)
            (context / inside).write_bytes(content)
        if given.secret:
            work.say(
                f"Secret {given.name} is in the build context: what COPY takes of it stays in the"
                f" image. RUN --mount=type=secret,id={given.name} leaves nothing."
            )


def _vacate(root: Path, inside: Path) -> None:
    """Make room for a file at `inside`, below `root`; a link on the way is refused."""
    path = root
    for part in inside.parts[:-1]:
        path /= part
        if path.is_symlink() or (path.exists() and not path.is_dir()):
            raise BuildError(_REASON, f"an input cannot go to {str(inside)!r}: {part!r} is a link")
        path.mkdir(exist_ok=True)
    path /= inside.parts[-1]
    if path.is_dir() and not path.is_symlink():
        raise BuildError(_REASON, f"an input cannot go to {str(inside)!r}: a folder is there")
    path.unlink(missing_ok=True)


def _write(work: Workspace, name: str, given: InjectedFiles | MountedFiles) -> Path:
    """Write files for other users to read, in a folder that only we can enter."""
    folder = work.folder.empty(name)
    for inside, content in given.files.items():
        path = folder / _relative(inside, given.name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o644)
    return folder


def _files(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.is_file())


def _relative(text: str, what: str) -> str:
    """Return a path that stays below where it is put; raises BuildError."""
    path = posixpath.normpath(text or ".")
    if path.startswith(("/", "..")) or "\0" in path:
        raise BuildError(_REASON, f"{what}: {text!r} is not a path below the source")
    return path
