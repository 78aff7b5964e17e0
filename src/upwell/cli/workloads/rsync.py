"""`upwell rsync`: copy a folder to or from a container, and remove what the source has not."""

import os
import posixpath
import shutil
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.terminal import are_notes_silenced, echo
from upwell.cli.workloads.conversations import Place, run_quietly
from upwell.cli.workloads.copies import copy_options, local, receive, send, texts
from upwell.cli.workloads.file_choice import FileChoice
from upwell.cli.workloads.packing import Packing
from upwell.cli.workloads.remote_paths import FilePath, parse_pair
from upwell.cli.workloads.unpacking import Unpacking
from upwell.store.interface import ApiClient

_MAX_NAMES = 64 * 1024 * 1024
"""Bytes of the names of all files below a folder in a container."""
_LIST = ("sh", "-c", 'cd -- "$1" && exec find . -print0', "sh")
_REMOVE = ("sh", "-c", 'cd -- "$1" && exec xargs -0 rm -rf --', "sh")


@dataclass(slots=True)
class _SyncOptions:
    delete: bool = False
    exclude: tuple[str, ...] = ()
    include: tuple[str, ...] = ()
    no_perms: bool = False
    quiet: bool = False
    progress: bool = False
    compress: bool = False
    max_bytes: int = 0

    @property
    def choice(self) -> FileChoice:
        """Choice of the files."""
        return FileChoice(self.exclude, self.include)

    def tell(self, text: str) -> None:
        """Print the name of a file."""
        if not (self.quiet or are_notes_silenced()):
            echo(text)


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_SyncOptions, target, *names, **facts)


@click.command(
    epilog=examples(
        "upwell rsync ./local/dir/ shop-1:/remote/dir",
        "upwell rsync deployment/shop:/remote/dir/ ./local/dir",
        "upwell rsync site/ dc/gate:/var/www --delete --exclude=.git --exclude='*.swp'",
    )
)
@click.argument("paths", nargs=-1, metavar="SOURCE DESTINATION")
@copy_options
@_option("delete", "--delete", is_flag=True, help="Delete what is not in the source.")
@_option(
    "exclude",
    "--exclude",
    multiple=True,
    metavar="PATTERN",
    help="Files and folders to leave out, and not to delete; repeatable.",
)
@_option(
    "include",
    "--include",
    multiple=True,
    metavar="PATTERN",
    help="Files to copy even if --exclude matches them; repeatable.",
)
@_option("no_perms", "--no-perms", is_flag=True, help="Do not transfer permissions.")
@_option("quiet", "-q", is_flag=True, help="Print no names of files.")
@_option("progress", "--progress", is_flag=True, help="Taken for rsync's sake, and ignored.")
@_option("compress", "--compress", is_flag=True, help="Taken for rsync's sake, and ignored.")
@click.option(
    "--strategy",
    type=click.Choice(["tar"]),
    default="tar",
    show_default=True,
    help="Way to copy.",
)
@connection_options
@click.pass_context
def rsync(
    ctx: click.Context, paths: tuple[str, ...], container: str, max_bytes: int, strategy: str
) -> None:
    """Copy a folder to or from a container.

    A path in a container is POD:PATH or KIND/NAME:PATH. A SOURCE that ends with a slash stands for
    what is in it, else it becomes a folder of its name in DESTINATION. Owners are not copied. The
    container needs tar, and for --delete sh, find and xargs.
    """
    del strategy
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, _SyncOptions)
    options.max_bytes = max_bytes
    source, destination, place = parse_pair(session, paths, container)
    ignored = [f"--{name}" for name in ("progress", "compress") if getattr(options, name)]
    if ignored:
        names = ", ".join(ignored)
        echo(f"Ignoring the following flags because they only apply to rsync: {names}", err=True)
    name = "" if source.path.endswith("/") else posixpath.basename(posixpath.abspath(source.path))
    root = posixpath.join(destination.path, name) if name else destination.path

    packing = Packing(local(source.path), "", options.choice, owned=False)
    if source.place is None and not packing.source.is_dir():
        raise CommandError(f"{source} is not a folder; `upwell cp` copies files", Exit.USAGE)

    async def work(client: ApiClient) -> None:
        if source.place is None:
            await _send(client, packing, (place, root), options)
        else:
            await _receive(client, source, local(root), options)

    session.run(work)


async def _send(
    client: ApiClient, packing: Packing, target: tuple[Place, str], options: _SyncOptions
) -> None:
    place, root = target
    made, _ = await run_quietly(client, place, ("mkdir", "-p", "--", root))
    made.expect_success(f"cannot make {place}:{root}")
    flags = ("--no-same-permissions", "-xof", "-") if options.no_perms else ("-xof", "-")
    await send(client, packing, FilePath(root, place), root, flags)
    for name in sorted(packing.sent):
        options.tell(name)
    if options.delete:
        await _delete_there(client, target, packing.sent, options)


async def _delete_there(
    client: ApiClient, target: tuple[Place, str], sent: set[str], options: _SyncOptions
) -> None:
    place, root = target
    listed, output = await run_quietly(client, place, (*_LIST, root), limit=_MAX_NAMES)
    listed.expect_success(f"cannot list {place}:{root}")
    names = (os.fsdecode(raw.removeprefix(b"./")) for raw in output.split(b"\0") if raw)
    gone = surplus((name for name in names if name != "."), sent, options.choice)
    if not gone:
        return
    pieces = [b"./" + os.fsencode(name) + b"\0" for name in gone]
    removed, _ = await run_quietly(client, place, (*_REMOVE, root), texts(pieces))
    removed.expect_success(f"cannot delete in {place}:{root}")
    for name in gone:
        options.tell(f"deleting {name}")


async def _receive(client: ApiClient, source: FilePath, root: Path, options: _SyncOptions) -> None:
    unpacking = Unpacking(
        "", root, options.max_bytes, options.choice, modes=not options.no_perms, tell=options.tell
    )
    command = ("tar", "-cf", "-", "-C", source.path, ".")
    await receive(client, source, command, unpacking)
    if not options.delete:
        return
    found = (
        (Path(where) / name).relative_to(root).as_posix()
        for where, folders, files in os.walk(root)
        for name in (*folders, *files)
    )
    for name in surplus(found, unpacking.written, options.choice):
        path = root / name
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
        options.tell(f"deleting {name}")


def surplus(found: Iterable[str], kept_names: Collection[str], choice: FileChoice) -> list[str]:
    """Return the highest paths to remove, so that only what is kept or left out remains."""
    paths = list(found)
    staying = {path for path in paths if path in kept_names or choice.leaves_out(path)}
    staying |= {above for path in staying for above in _above(path)}
    gone = {path for path in paths if path not in staying}
    return sorted(path for path in gone if not any(above in gone for above in _above(path)))


def _above(path: str) -> list[str]:
    steps = path.split("/")
    return ["/".join(steps[:count]) for count in range(1, len(steps))]
