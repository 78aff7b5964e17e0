"""The Source strategy: a builder image turns a source tree into an image (Source-to-Image)."""

import asyncio
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from upwell.builder.commands import BuildMount, Recipe
from upwell.builder.inputs import context_with, image_copies, prepare_injections, volume_mounts
from upwell.builder.interface import BuildError, RuntimeImage
from upwell.builder.strategies.s2i_artifacts import saved_artifacts
from upwell.builder.strategies.s2i_scripts import ScriptSources, collect_scripts, download_proxies
from upwell.builder.workspace import Workspace
from upwell.formats.dockerfile.isolation import check_trigger
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.regular_expressions import InvalidExpressionError, RegularExpression
from upwell.formats.s2i import contract as s2i
from upwell.formats.s2i import recipe as s2i_recipe
from upwell.formats.s2i.ignore import GIT_RULE, ignore_rules, invalid_rules, literal_rule
from upwell.formats.s2i.users import AllowedUids, onbuild_users
from upwell.machine.beneath import LeavesFolderError, read_beneath
from upwell.machine.process import ProcessResult

_REASON = "GenericBuildFailed"
_MAX_FILE_BYTES = 1024 * 1024


async def build(work: Workspace) -> str:
    """Run assemble on the source; return the image's id in the store. Raises BuildError."""
    try:
        return await _build(work)
    except s2i.S2iError as error:
        raise BuildError(_REASON, str(error)) from error


@dataclass(frozen=True, slots=True)
class _Preparation:
    """Facts that are known before the recipe is written."""

    builder: str
    image: s2i.BuilderImage
    env: Mapping[str, str]
    scripts: Mapping[str, str]
    docker_format: bool


async def _build(work: Workspace) -> str:
    plan = work.plan
    builder = plan.images.get("builder")
    if builder is None:
        raise BuildError(_REASON, "the plan names no builder image")
    config = await work.commands.image_config(str(builder), work.folder.path)
    image = s2i.BuilderImage.of(config, plan.source.assemble_user).at(plan.source.destination)
    _check_users(work, image)
    env = await asyncio.to_thread(_environment, work)
    known = _Preparation(str(builder), image, env, {}, config.needs_docker_format)
    sources = _script_sources(work, image)
    if image.on_build:
        _check_triggers(work, str(builder), image.on_build)
        await collect_scripts(replace(sources, optional=True), work.folder.empty("scripts"))
        return await _build_on_triggers(work, known)
    scripts = await collect_scripts(sources, work.folder.empty("scripts"))
    await saved_artifacts(work, scripts)
    recipe = await _recipe(work, replace(known, scripts=scripts))
    outcome, built = await work.commands.build(recipe, work.folder.path, work.log)
    _check_assembly(work, outcome)
    raw = await asyncio.to_thread(_metadata, work, built)
    return built if raw is None else await _relabel(work, recipe, built, raw)


def _check_assembly(work: Workspace, outcome: ProcessResult) -> None:
    """Raise BuildError if a step failed: the last line of the output says which."""
    ran = 'STEP "RUN' in outcome.last_line
    what = f"assemble exited with {outcome.code}" if ran else "the source cannot be uploaded"
    work.check(outcome, _REASON, what)


def _metadata(work: Workspace, built: str) -> bytes | None:
    """Return what assemble has written about the image, if it has."""
    written = work.commands.written(built)
    path = f"{s2i.METADATA_FOLDER.lstrip('/')}/{s2i.METADATA_FILE}"
    return None if written is None else _read_inside(written, path, links=False)


async def _recipe(work: Workspace, known: _Preparation) -> Recipe:
    injections = await asyncio.to_thread(prepare_injections, work, known.image.working_dir)
    uploads = [name for name in ("scripts", "artifacts") if _has_files(work.folder.path / name)]
    contexts = {name: work.folder.path / name for name in uploads}
    lines, values = s2i.environment_instructions(known.env.items())
    assembly = s2i_recipe.Assembly(
        builder=known.builder,
        image=known.image,
        scripts=known.scripts,
        environment=lines,
        uploads=uploads,
        copies=(*image_copies(work), *injections.copies),
        emptied=injections.emptied,
    )
    plain = _plain_recipe(work, known)
    if work.plan.source.runtime is None:
        text = s2i_recipe.assemble_recipe(assembly)
    else:
        runtime, needs_docker_format = await _runtime(work, work.plan.source.runtime)
        plain = replace(plain, docker_format=needs_docker_format)
        text = s2i_recipe.runtime_recipe(assembly, runtime)
        contexts["runtime-scripts"] = work.folder.path / "runtime-scripts"
    return replace(
        plain,
        containerfile=work.folder.write("Containerfile", text),
        environment={**plain.environment, **values},
        contexts={**contexts, **injections.contexts},
        ignore_file=work.folder.write("ignore", await asyncio.to_thread(_ignore_rules, work)),
        mounts=await asyncio.to_thread(_volumes, work),
    )


async def _runtime(work: Workspace, wanted: RuntimeImage) -> tuple[s2i_recipe.RuntimeRecipe, bool]:
    """Return the recipe of the runtime image, and whether it needs Docker's format."""
    name = str(wanted.reference)
    config = await work.commands.image_config(name, work.folder.path)
    image = s2i.BuilderImage.of_runtime(config, work.plan.source.assemble_runtime_user)
    artifacts = s2i_recipe.checked_artifacts(wanted.artifacts) or s2i_recipe.artifact_mappings(
        image.input_files
    )
    if not artifacts:
        raise s2i.S2iError(
            "a runtime image needs artifacts: name them, or set its label"
            " io.openshift.s2i.assemble-input-files"
        )
    folder = work.folder.empty("runtime-scripts")
    sources = replace(_script_sources(work, image), runtime=True)
    scripts = await collect_scripts(sources, folder)
    recipe = s2i_recipe.RuntimeRecipe(
        name, image, scripts, artifacts, uploads_scripts=_has_files(folder)
    )
    return recipe, config.needs_docker_format


async def _build_on_triggers(work: Workspace, known: _Preparation) -> str:
    """Build with a builder image whose ONBUILD instructions do the work.

    Scripts, from wherever they come, lie at the root of the source then.
    """
    scripts = {
        name: (work.folder.path / "scripts" / name).read_bytes()
        for name in s2i.REQUIRED_SCRIPTS
        if (work.folder.path / "scripts" / name).exists()
    }
    context = await asyncio.to_thread(context_with, work, scripts)
    files = await asyncio.to_thread(_root_files, context)
    lines, values = s2i.environment_instructions(known.env.items())
    text = s2i_recipe.onbuild_recipe(known.builder, lines, files)
    rules = await asyncio.to_thread(_ignore_rules, work)
    plain = _plain_recipe(work, known)
    recipe = replace(
        plain,
        context=context,
        containerfile=work.folder.write("Containerfile", text),
        environment={**plain.environment, **values},
        ignore_file=work.folder.write("ignore", rules + "".join(f"!/{name}\n" for name in scripts)),
        mounts=await asyncio.to_thread(_volumes, work),
    )
    outcome, built = await work.commands.build(recipe, work.folder.path, work.log)
    work.check(outcome, _REASON, "an ONBUILD instruction failed")
    return built


def _check_triggers(work: Workspace, builder: str, triggers: Sequence[str]) -> None:
    """Raise BuildError for a builder whose ONBUILD instructions reach out of the build."""
    for trigger in triggers:
        try:
            check_trigger(trigger, host_network=work.sandbox.has_machine_network)
        except DockerfileError as error:
            message = f"the image {builder} has an ONBUILD instruction that is refused: {error}"
            raise BuildError(_REASON, message) from error


def _plain_recipe(work: Workspace, known: _Preparation) -> Recipe:
    plan = work.plan
    name = plan.display_name or str(plan.push or "")
    return Recipe(
        containerfile=work.folder.path / "Containerfile",
        context=work.context,
        environment=work.proxies,
        # From the runtime: as build arguments, they would stand in the image's history.
        secret_variables={**known.env, **work.secret_variables},
        labels=s2i.generated_labels(plan.labels, known.builder, name),
        annotations=work.annotations,
        sandbox=work.sandbox,
        docker_format=known.docker_format,
    )


def _environment(work: Workspace) -> dict[str, str]:
    """Return the image's environment; in one mapping, so that the plan replaces the file."""
    declared = dict(s2i.parse_environment(_text(work.context, ".s2i/environment")))
    for name in [name for name in declared if not s2i.is_name(name)]:
        work.say(f"Warning: .s2i/environment: {name!r} is not the name of a variable: left out")
        del declared[name]
    return declared | dict(work.plan.build_env) | dict(work.plan.env)


def _check_users(work: Workspace, image: s2i.BuilderImage) -> None:
    allowed = AllowedUids.parse(work.plan.source.allowed_uids)
    for user in onbuild_users(image.on_build):
        allowed.check(user, "an ONBUILD instruction of the builder image")
    allowed.check(image.assemble_user, "assemble")
    if not image.on_build:
        allowed.check(image.user, "the builder image")


def _script_sources(work: Workspace, image: s2i.BuilderImage) -> ScriptSources:
    return ScriptSources(
        work.plan.scripts_url,
        work.context,
        image.scripts_url,
        allow_local=work.allow_local,
        proxies=download_proxies((*work.plan.env, *work.plan.secret_env)),
        dialer=work.dialer,
    )


def _volumes(work: Workspace) -> tuple[BuildMount, ...]:
    volumes = work.plan.source.volumes
    if volumes and not work.allow_local:
        raise BuildError(_REASON, "builds may not use local paths of this machine")
    own = (BuildMount(one.path, one.target, options=one.options) for one in volumes)
    return (*own, *volume_mounts(work))


def _ignore_rules(work: Workspace) -> str:
    text, exclude = _text(work.context, ".s2iignore"), work.plan.source.exclude
    for rule in invalid_rules(text):
        work.say(f"Warning: .s2iignore: {rule!r} is not a valid pattern: left out")
    rules = ignore_rules(text, (path for path, _, _ in _walk(work.context)))
    if exclude is not None:
        rules = (*(rule for rule in rules if rule != GIT_RULE), *_excluded(work.context, exclude))
    return "\n".join(rules) + "\n"


def _excluded(tree: Path, pattern: str) -> Iterator[str]:
    """Yield rules for the paths that a regular expression leaves out."""
    if not pattern:
        return
    try:
        expression = RegularExpression(pattern)
    except InvalidExpressionError as error:
        raise s2i.S2iError(f"the paths to leave out: {error}") from error
    for path, name, siblings in _walk(tree):
        if expression.search(path):
            yield literal_rule(path)
            if name in siblings:
                siblings.remove(name)  # what is below it goes along


def _walk(tree: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield each path below `tree`, its name, and the folders beside it that are entered next."""
    for folder, folders, files in os.walk(tree):
        inside = Path(folder).relative_to(tree)
        for name in [*folders, *files]:
            yield (inside / name).as_posix(), name, folders


async def _relabel(work: Workspace, recipe: Recipe, built: str, raw: bytes) -> str:
    """Add the labels that assemble asked for; those of the plan still win."""
    labels = {**s2i.metadata_labels(raw), **work.plan.labels}
    again = Recipe(
        containerfile=work.folder.write("Containerfile.labels", f"FROM {built}\n"),
        context=work.folder.temporary,
        labels=labels,
        annotations=recipe.annotations,
        sandbox=recipe.sandbox,
        docker_format=recipe.docker_format,
        layers=True,  # adds no layer of files
    )
    outcome, image = await work.commands.build(again, work.folder.path, lambda _: None)
    work.check(outcome, _REASON, "labels could not be set")
    return image


def _has_files(folder: Path) -> bool:
    return folder.is_dir() and any(folder.iterdir())


def _root_files(tree: Path) -> dict[str, bool]:
    """Return the regular files at the root of a tree, and whether each is executable."""
    return {
        path.name: os.access(path, os.X_OK)
        for path in tree.iterdir()
        if path.is_file() and not path.is_symlink()
    }


def _text(tree: Path, path: str) -> str:
    """Return a text of the source; links that stay in it are followed."""
    return (_read_inside(tree, path, links=True) or b"").decode(errors="replace")


def _read_inside(folder: Path, path: str, *, links: bool) -> bytes | None:
    """Return the content of a regular file; None: there is none. A way out is refused by name."""
    try:
        content = read_beneath(folder, path, _MAX_FILE_BYTES, links=links)
    except LeavesFolderError as error:
        raise s2i.S2iError(
            f"{path} is refused: it leads out of the source, or is a link"
        ) from error
    except OSError:
        return None
    if len(content) > _MAX_FILE_BYTES:
        raise s2i.S2iError(f"{path} is over {_MAX_FILE_BYTES} bytes")
    return content
