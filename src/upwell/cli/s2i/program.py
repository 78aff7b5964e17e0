"""Commands of `upwell s2i`, with the options of the reference implementation."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from upwell.cli.core.examples import block, examples

_EXIT_CODES = block(
    "Exit codes",
    "1   the build failed",
    "2   invalid usage, or cannot pull an image",
    "11  a required script is missing",
    "14  cannot fetch the source",
    "15  the image's user is not allowed",
)


_PULL = click.option(
    "--pull-policy",
    "-p",
    type=click.Choice(["always", "if-not-present", "never"]),
    default="if-not-present",
    show_default=True,
    help="Policy for pulling images.",
)


def _policy(flag: str, name: str, what: str) -> Callable[..., Any]:
    return click.option(
        flag,
        name,
        type=click.Choice(["always", "if-not-present", "never"]),
        default="if-not-present",
        show_default=True,
        help=f"Policy for pulling {what}.",
    )


_STORAGE = click.option(
    "--storage",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of the image store; default: that of Podman and Buildah.",
)
_TEXTS = (
    (("--ref", "-r"), "ref", "Branch, tag or commit; default: the remote's HEAD."),
    (("--context-dir",), "context_dir", "Folder of the source to build; default: its root."),
    (
        ("--scripts-url", "-s", "--scripts"),
        "scripts_url",
        "URL of the scripts; default: those of the source, then the image.",
    ),
    (
        ("--image-scripts-url",),
        "image_scripts_url",
        "URL of the image's scripts (--as-dockerfile); default: image:///usr/libexec/s2i.",
    ),
    (
        ("--allowed-uids", "-u"),
        "allowed_uids",
        "User ids that may run assemble, such as 1-,5; default: all.",
    ),
    (
        ("--destination", "-d", "--location", "-l"),
        "destination",
        "Folder of the image to upload to; default: the image's, /tmp.",
    ),
    (("--assemble-user",), "assemble_user", "User that runs assemble; default: the image's."),
    (
        ("--assemble-runtime-user",),
        "assemble_runtime_user",
        "User that runs assemble-runtime; default: the image's.",
    ),
    (
        ("--runtime-image",),
        "runtime_image",
        "Runtime image to copy the artifacts into; default: none.",
    ),
    (("--callback-url",), "callback_url", "URL to POST the result to; default: none."),
    (("--application-name", "-n"), "application_name", "Display name of the image; default: TAG."),
    (("--description",), "description", "Description label of the image; default: none."),
    (("--network",), "network", "`host`, `none` or `bridge`; default: a network of its own."),
)
_LISTS = (
    (("--env", "-e"), "env", "NAME=VALUE environment variable; repeatable."),
    (("--inject", "-i"), "inject", "SRC:DST of files for assemble alone; repeatable."),
    (
        ("--volume", "-v"),
        "volume",
        "SRC:DST[:OPTION] of a mount for assemble and save-artifacts; repeatable.",
    ),
    (
        ("--runtime-artifact", "-a"),
        "runtime_artifact",
        "SRC:DST of artifacts; repeatable; default: the image's label.",
    ),
)
_FLAGS = (
    (("--incremental",), "incremental", "Reuse the artifacts of the image TAG."),
    (("--rm",), "remove_previous", "Remove the previous image of TAG."),
    (("--copy", "-c"), "copy", "Build a folder with its uncommitted changes."),
    (("--keep-symlinks",), "keep_symlinks", "Accepted, unused: links are kept."),
    (("--ignore-submodules",), "ignore_submodules", "Do not fetch git submodules."),
    (("--push",), "push", "Push TAG to its registry after the build."),
    (("--quiet", "-q"), "quiet", "Print no log."),
    (("--run",), "run_image", "Run the image with podman after the build."),
)


def _build_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the shared options of `build` and `generate` to a command."""
    for names, name, text in reversed(_TEXTS):
        command = click.option(*names, name, default="", help=text)(command)
    for names, name, text in reversed(_LISTS):
        command = click.option(*names, name, multiple=True, help=text)(command)
    for names, name, text in reversed(_FLAGS):
        command = click.option(*names, name, is_flag=True, help=text)(command)
    file = click.Path(path_type=Path, exists=True, dir_okay=False)
    for option in (
        click.option(
            "--environment-file", "-E", type=file, help="File of NAME=VALUE lines; default: none."
        ),
        click.option("--exclude", help="Regular expression of paths to leave out; default: .git."),
        click.option(
            "--loglevel", type=click.IntRange(0, 5), default=0, help="Accepted, unused; default: 0."
        ),
        _policy("--runtime-pull-policy", "runtime_pull_policy", "the runtime image"),
        _policy("--incremental-pull-policy", "incremental_pull_policy", "the previous image"),
        _PULL,
        _STORAGE,
    ):
        command = option(command)
    return command


@click.group(
    epilog=f"{_EXIT_CODES}\n\n"
    + examples(
        "upwell s2i build . registry.access.redhat.com/ubi9/python-312 localhost/shop",
        "upwell s2i usage localhost/my-builder",
        "upwell s2i create my-builder ./my-builder",
    )
)
def s2i() -> None:
    """Build images with Source-to-Image, without a server."""


@s2i.command(
    epilog=examples(
        "upwell s2i build . localhost/builder localhost/shop",
        "upwell s2i build https://github.com/acme/shop#v2 localhost/builder localhost/shop -e A=1",
        "upwell s2i build --as-dockerfile out/ . localhost/builder",
    )
)
@click.argument("source")
@click.argument("builder")
@click.argument("tag", default="")
@click.option(
    "--as-dockerfile",
    default="",
    help="Write this Dockerfile (FOLDER/ for FOLDER/Dockerfile) and its context; default: build.",
)
@_build_options
def build(source: str, builder: str, tag: str, as_dockerfile: str, **values: Any) -> None:
    """Build SOURCE with the image BUILDER into the image TAG of the local store.

    Without TAG, the image has no name: its id is printed.
    """
    _build(source, builder, tag, as_dockerfile, values)


@s2i.command(epilog=examples("upwell s2i generate localhost/builder out/Dockerfile"))
@click.argument("builder")
@click.argument("target")
@click.option(
    "--source", default="", help="Source to put beside it; default: none, for you to fill in."
)
@_build_options
def generate(builder: str, target: str, source: str, **values: Any) -> None:
    """Write a Dockerfile for a build with BUILDER, and its context."""
    _build(source, builder, "", target, values)


@s2i.command(epilog=examples("upwell s2i rebuild localhost/shop localhost/shop:fixed"))
@click.argument("image_name", metavar="IMAGE")
@click.argument("new_tag", default="")
@_PULL
@_STORAGE
def rebuild(image_name: str, new_tag: str, pull_policy: str, storage: Path | None) -> None:
    """Build IMAGE again, with the source and builder of its labels."""
    from upwell.cli.s2i.engine import labels_of, run, user_store  # noqa: PLC0415  # only when it runs

    labels = run(labels_of(image_name, pull_policy, user_store(storage)))
    prefix = "io.openshift.s2i.build."
    source, builder = (labels.get(prefix + name, "") for name in ("source-location", "image"))
    if not source or not builder:
        message = (
            f"cannot rebuild {image_name}: no labels {prefix}source-location and {prefix}image"
        )
        raise click.UsageError(message)
    words = [source, builder, new_tag or image_name, "--pull-policy", pull_policy]
    for option, label in (
        ("--context-dir", f"{prefix}source-context-dir"),
        ("--ref", f"{prefix}commit.ref"),
        ("--application-name", "io.k8s.display-name"),
        ("--description", "io.k8s.description"),
        ("--scripts-url", "io.openshift.s2i.scripts-url"),
    ):
        if value := labels.get(label):
            words += [option, value]
    if storage is not None:
        words += ["--storage", str(storage)]
    build.main(words, standalone_mode=False)


@s2i.command(epilog=examples("upwell s2i usage localhost/builder"))
@click.argument("builder")
@_PULL
@_STORAGE
def usage(builder: str, pull_policy: str, storage: Path | None) -> None:
    """Print the usage text of the image BUILDER."""
    from upwell.cli.s2i.engine import run, show_usage, user_store  # noqa: PLC0415  # only when it runs

    run(show_usage(builder, pull_policy, user_store(storage)))


@s2i.command(epilog=examples("upwell s2i create my-builder ./my-builder"))
@click.argument("name")
@click.argument("target", type=click.Path(path_type=Path, file_okay=False))
def create(name: str, target: Path) -> None:
    """Write a skeleton of a builder image NAME into the new folder TARGET."""
    from upwell.cli.s2i.skeleton import skeleton  # noqa: PLC0415  # only when it runs

    if target.exists() and any(target.iterdir()):
        raise click.UsageError(f"{target} is not empty: choose a new folder")
    for path, text in skeleton(name).items():
        file = target / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        file.chmod(0o755 if text.startswith("#!") else 0o644)


def _build(source: str, builder: str, tag: str, as_dockerfile: str, values: dict[str, Any]) -> None:
    from upwell.cli.s2i.engine import (  # noqa: PLC0415  # only when it runs
        build_image,
        podman_run,
        run,
        user_store,
        write_context,
    )
    from upwell.cli.s2i.request import S2iOptions  # noqa: PLC0415

    options = S2iOptions(source, builder, tag, values)
    if as_dockerfile:
        if values["run_image"] or values["runtime_image"]:
            raise click.UsageError("--as-dockerfile does not work with --run or --runtime-image")
        if values["incremental"] and not tag:
            raise click.UsageError("--incremental needs TAG")
        run(write_context(options, user_store(values["storage"]), _dockerfile(as_dockerfile)))
        return
    if needs := [f for f in ("incremental", "push", "remove_previous") if values[f] and not tag]:
        name = "rm" if needs[0] == "remove_previous" else needs[0]
        raise click.UsageError(f"--{name} needs TAG")
    if values["incremental"] and values["runtime_image"]:
        raise click.UsageError("--incremental does not work with --runtime-image")
    built = run(build_image(options, user_store(values["storage"])))
    if values["run_image"]:
        podman = shutil.which("podman")
        if podman is None:
            raise click.UsageError("--run needs podman: install it")
        os.execv(podman, podman_run(values["storage"], built))  # noqa: S606  # no shell


def _dockerfile(text: str) -> Path:
    """Return the path that --as-dockerfile names; raises click.UsageError."""
    path = Path(text) / "Dockerfile" if text.endswith("/") else Path(text)
    if path.is_dir():
        raise click.UsageError(f"{text!r} is a folder: write {text}/ for a Dockerfile in it")
    return path
