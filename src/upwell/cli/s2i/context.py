"""Build context of `upwell s2i build --as-dockerfile`: Dockerfile and upload."""

import shutil
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import click

from upwell.cli.s2i.request import S2iOptions
from upwell.formats.s2i.as_dockerfile import (
    DEFAULT_SCRIPTS,
    DEFAULT_USER,
    UPLOAD,
    DockerfileRequest,
    dockerfile,
)
from upwell.formats.s2i.contract import (
    SCRIPTS,
    SOURCE_SCRIPT_FOLDERS,
    image_path,
    parse_environment,
)


def write_context(options: S2iOptions, tree: Path, target: Path) -> None:
    """Write a Dockerfile at `target`, and beside it the source; raises click.UsageError."""
    folder = target.absolute().parent
    if folder.is_relative_to(tree.resolve()):
        raise click.UsageError(
            "--as-dockerfile: choose a folder outside the source, which would contain itself"
        )
    upload = folder / UPLOAD
    if upload.exists():
        raise click.UsageError(
            f"--as-dockerfile: {upload} exists: remove it, or choose another folder"
        )
    upload.mkdir(parents=True)
    shutil.copytree(tree, upload / "src", symlinks=True, ignore=shutil.ignore_patterns(".git"))
    (upload / "scripts").mkdir()
    scripts = frozenset(_move_scripts(upload))
    targets = []
    for index, given in enumerate(options.injections()):
        for name, content in given.files.items():
            path = upload / "injections" / str(index) / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if not PurePosixPath(given.destination_dir).is_absolute():
            message = "--as-dockerfile needs -i SRC:/DST with an absolute DST"
            raise click.UsageError(message)
        targets.append(given.destination_dir)
    declared = tree / ".s2i" / "environment"
    environment = dict(parse_environment(declared.read_text()) if declared.is_file() else ())
    url = options["image_scripts_url"] or options["scripts_url"]
    request = DockerfileRequest(
        builder=options.builder,
        tag=options.tag,
        assemble_user=options["assemble_user"] or DEFAULT_USER,
        scripts_path=image_path(url) or DEFAULT_SCRIPTS,
        own_scripts=scripts,
        environment={**environment, **options.environment()},
        labels={"io.openshift.s2i.build.image": options.builder},
        injections=tuple(targets),
        incremental=options["incremental"],
    )
    target.write_text(dockerfile(request))


def _move_scripts(upload: Path) -> Iterator[str]:
    for folder in reversed(SOURCE_SCRIPT_FOLDERS):
        for name in SCRIPTS:
            path = upload / "src" / folder / name
            if path.is_file() and not path.is_symlink():
                shutil.move(path, upload / "scripts" / name)
                (upload / "scripts" / name).chmod(0o755)
                yield name
