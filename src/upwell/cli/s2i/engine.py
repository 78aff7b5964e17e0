"""Engine of `upwell s2i`: source, plan, build, push and callback."""

import asyncio
import os
import re
import signal
import sys
from collections.abc import Coroutine, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import aiohttp

from upwell.app.local_builds import SharedImageStore, collect_own_scripts, open_local_builder
from upwell.builder.context import context_of
from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildPlan,
    Checkout,
    LocalBuilder,
    MissingScriptsError,
    RuntimeImage,
    SourceOptions,
    UnknownSchemeError,
)
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import LogFilter, echo
from upwell.cli.s2i.context import ContextRequest, copy_source, new_upload, write_dockerfile
from upwell.cli.s2i.request import S2iOptions, image, pull_policy
from upwell.formats.s2i.contract import SCRIPTS_LABEL, BuilderImage, S2iError, image_path
from upwell.formats.s2i.users import UserNotAllowedError
from upwell.git.interface import GitSource
from upwell.machine.process import LogSink

_CALLBACK_TRIES = 3
_PERSONAL = frozenset(
    {
        *("HOME", "XDG_CONFIG_HOME", "XDG_RUNTIME_DIR", "REGISTRY_AUTH_FILE", "DOCKER_CONFIG"),
        *("CONTAINERS_REGISTRIES_CONF", "CONTAINERS_REGISTRIES_CONF_DIR"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"),
    }
)
"""Variables that say how a person reaches registries (containers-auth.json(5), registries.conf)."""
_REMOTE = re.compile(r"[a-z+]+://|[\w.-]+@[\w.-]+:")
_CAUSES = {MissingScriptsError: 11, UnknownSchemeError: 12, UserNotAllowedError: 15}
_CODES = {"PullBuilderImageFailed": 2, "FetchSourceFailed": 14, "InvalidContextDirectory": 14}


class S2iFailedError(CommandError):
    """Failed build; the exit code is the reference implementation's for that failure."""

    def __init__(self, error: BuildError) -> None:
        super().__init__(str(error))
        self.exit_code = _exit_code(error)  # type: ignore[misc] # click declares it for the class


def user_store(folder: Path | None) -> SharedImageStore:
    """Return the store in `folder`; with None, that of root or of this user."""
    given = os.environ.get("CONTAINERS_CONF")
    conf = Path(given) if given else None
    person = {name: value for name, value in os.environ.items() if name.upper() in _PERSONAL}
    root, run_root = _places(folder)
    return SharedImageStore(root, run_root, conf, person)


def _places(folder: Path | None) -> tuple[Path, Path]:
    if folder is not None:
        return folder.absolute() / "storage", folder.absolute() / "run"
    if os.geteuid() == 0:
        return Path("/var/lib/containers/storage"), Path("/run/containers/storage")
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share"
    runtime = os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.geteuid()}"
    return Path(data) / "containers/storage", Path(runtime) / "containers"


def podman_run(folder: Path | None, tag: str) -> tuple[str, ...]:
    """Return the command that runs an image of the store."""
    places = () if folder is None else zip(("--root", "--runroot"), _places(folder), strict=True)
    return ("podman", *(f"{flag}={path}" for flag, path in places), "run", "--rm", tag)


def _builder(
    policy: str, store: SharedImageStore, network: str = "private"
) -> AbstractAsyncContextManager[LocalBuilder]:
    return open_local_builder(store, pull_policy(policy), network)


def run[T](work: Coroutine[object, object, T]) -> T:
    """Run a coroutine; Ctrl-C and SIGTERM end it after it cleaned up. Raises CommandError."""
    try:
        return asyncio.run(_until_terminated(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise CommandError("interrupted", Exit.INTERRUPTED) from None


async def _until_terminated[T](work: Coroutine[object, object, T]) -> T:
    task = asyncio.ensure_future(work)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await task


async def build_image(options: S2iOptions, storage: SharedImageStore) -> str:
    """Build, then tag, push, clean up and call back; raises CommandError.

    Returns TAG, or the id of an image without one.
    """
    labels: Mapping[str, str] = {}
    success = False
    try:
        async with _builder(options["pull_policy"], storage, options.network()) as builder:
            name, labels = await _build(builder, options)
            success = True
            return name
    except BuildError as error:
        raise S2iFailedError(error) from error
    finally:
        if url := options["callback_url"]:
            await _call_back(url, labels, success=success)


async def write_context(options: S2iOptions, storage: SharedImageStore, target: Path) -> None:
    """Write a Dockerfile at `target`, and beside it what it takes; raises CommandError.

    Without a source, its place is left empty.
    """
    labels: dict[str, str] = {}
    try:
        async with _builder(options["pull_policy"], storage) as builder:
            wanted = await _context_request(builder, options)
            upload = new_upload(target)
            if options.source:
                checkout = await _fetch(builder, options)
                urls = options["scripts_url"], wanted.image_scripts
                await collect_own_scripts(urls[0], checkout.path, urls[1], upload / "scripts")
                copy_source(options, checkout.path, target)
                labels = await _labels(builder, options, checkout)
    except BuildError as error:
        raise S2iFailedError(error) from error
    write_dockerfile(wanted, labels, upload, target)


async def _context_request(builder: LocalBuilder, options: S2iOptions) -> ContextRequest:
    """Look at the builder image if this machine has it: for a text alone, none is pulled."""
    try:
        try:
            known = BuilderImage.of(await builder.stored_config(options.builder))
        except BuildError:
            known = None
        return ContextRequest.of(options, known)
    except S2iError as error:
        raise BuildError("GenericBuildFailed", str(error)) from error


async def _build(builder: LocalBuilder, options: S2iOptions) -> tuple[str, Mapping[str, str]]:
    checkout = await _fetch(builder, options)
    plan = _plan(options, checkout, await _labels(builder, options, checkout))
    tag = plan.local_name
    previous = await builder.image_id(tag) if options["remove_previous"] else None
    built = await builder.build(plan, _log(options))
    config = await builder.stored_config(built.image)  # whatever the registry of TAG has
    if previous and previous != await builder.image_id(tag):
        await builder.remove_image(previous)
    echo(tag or built.image)
    return tag or built.image, config.labels


def _local_tree(options: S2iOptions, path: Path) -> Checkout | None:
    """Return a folder to build as it is; None for a repository to clone."""
    if not path.is_dir():
        raise BuildError("FetchSourceFailed", f"source folder {str(path)!r} does not exist")
    if options["copy"] or not (path / ".git").exists():
        return Checkout(context_of(path, options["context_dir"]), None)
    return None


def _local_path(address: str) -> Path | None:
    """Return the folder that a source names on this machine; None for one elsewhere."""
    if _REMOTE.match(address) is not None and not address.startswith("file://"):
        return None
    return (Path.cwd() / address.removeprefix("file://")).resolve()


async def _ref(builder: LocalBuilder, options: S2iOptions) -> str:
    """Return what is built of a repository: as asked for, or the branch that it is on."""
    address, _, ref = options.source.partition("#")
    if options["ref"] or ref:
        return options["ref"] or ref
    if (path := _local_path(address)) is None:
        return await builder.default_branch(GitSource(address))
    try:
        head = (path / ".git/HEAD").read_text()
    except (OSError, UnicodeDecodeError):
        return ""
    branch = head.removeprefix("ref: refs/heads/")
    return "" if branch == head else branch.strip()


async def _fetch(builder: LocalBuilder, options: S2iOptions) -> Checkout:
    address, _, ref = options.source.partition("#")
    context = options["context_dir"]
    if (path := _local_path(address)) is not None:
        if (checkout := _local_tree(options, path)) is not None:
            return checkout
        address = f"file://{path}"
    source = GitSource(
        address, options["ref"] or ref, context, submodules=not options["ignore_submodules"]
    )
    return await builder.fetch("s2i", source, _log(options))


def _plan(options: S2iOptions, checkout: Checkout, labels: Mapping[str, str]) -> BuildPlan:
    tag = image(options.tag, "TAG") if options.tag else None
    runtime = options["runtime_image"]
    return BuildPlan(
        id="s2i",
        namespace="",
        name="s2i",
        strategy=BuilderStrategy.SOURCE,
        context=checkout.path,
        images={"builder": image(options.builder, "BUILDER")},
        push=tag if options["push"] else None,
        env=tuple(options.environment().items()),
        labels=labels,
        scripts_url=options["scripts_url"],
        inputs=options.injections(),
        local_name=str(tag or ""),
        host_network=options.network() == "host",
        pull_policies={
            **({tag: options.pull_policy("incremental_pull_policy")} if tag else {}),
            **(
                {image(runtime, "--runtime-image"): options.pull_policy("runtime_pull_policy")}
                if runtime
                else {}
            ),
        },
        source=SourceOptions(
            previous=tag if options["incremental"] else None,
            runtime=RuntimeImage(image(runtime, "--runtime-image"), options.artifacts())
            if runtime
            else None,
            assemble_user=options["assemble_user"],
            assemble_runtime_user=options["assemble_runtime_user"],
            destination=options["destination"],
            allowed_uids=options["allowed_uids"],
            volumes=options.volumes(),
            exclude=options["exclude"],
        ),
    )


async def _labels(builder: LocalBuilder, options: S2iOptions, checkout: Checkout) -> dict[str, str]:
    """Return the labels that describe the source; empty ones are left out."""
    address = options.source.partition("#")[0]
    path = _local_path(address)
    labels = {
        "io.k8s.display-name": options["application_name"] or options.tag,
        "io.k8s.description": options["description"],
        # An absolute path: so it is found from any folder by `rebuild`.
        "io.openshift.build.source-location": address if path is None else str(path),
        "io.openshift.build.source-context-dir": options["context_dir"],
    }
    if (revision := checkout.revision) is not None:
        labels |= {
            "io.openshift.build.commit.id": revision.commit,
            "io.openshift.build.commit.author": (
                f"{revision.author_name} <{revision.author_email}>"
            ),
            "io.openshift.build.commit.date": revision.date,
            "io.openshift.build.commit.message": revision.message[:80],
            "io.openshift.build.commit.ref": await _ref(builder, options),
        }
    return {name: text for name, text in labels.items() if text}


def _log(options: S2iOptions) -> LogSink:
    filtered = LogFilter(is_terminal=sys.stderr.isatty())

    def write(piece: bytes) -> None:
        if not options["quiet"]:
            sys.stderr.buffer.write(filtered.feed(piece))
            sys.stderr.buffer.flush()

    return write


async def _call_back(url: str, labels: Mapping[str, str], *, success: bool) -> None:
    """Post the result of the build to `url`; a failure is reported, no more."""
    document = {"success": success, **({"labels": dict(labels)} if success else {})}
    timeout = aiohttp.ClientTimeout(total=30)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        for _ in range(_CALLBACK_TRIES):
            try:
                async with session.post(url, json=document) as answer:
                    if not answer.ok:
                        echo(f"the callback answered {answer.status}", err=True)
                    return
            except (aiohttp.ClientError, TimeoutError) as error:
                echo(f"the callback failed: {error}", err=True)


async def show_usage(builder_image: str, policy: str, storage: SharedImageStore) -> None:
    """Run the builder image's usage script; raises CommandError."""
    reference = image(builder_image, "BUILDER")
    try:
        async with _builder(policy, storage) as builder:
            folder = _scripts_folder(BuilderImage.of(await builder.inspect(reference)))
            echo((await builder.output_of(reference, f"{folder}/usage")).decode(), nl=False)
    except BuildError as error:
        raise S2iFailedError(error) from error


def _scripts_folder(found: BuilderImage) -> str:
    folder = image_path(found.scripts_url)
    if folder is None:
        url = f"it names {found.scripts_url!r}" if found.scripts_url else "it names none"
        message = f"the builder image has no scripts of its own (label {SCRIPTS_LABEL}): {url}"
        raise MissingScriptsError("GenericBuildFailed", message)
    return folder


async def labels_of(name: str, policy: str, storage: SharedImageStore) -> Mapping[str, str]:
    """Return the labels of an image, pulled only if it is not here; raises CommandError."""
    reference = image(name, "IMAGE")
    try:
        async with _builder(policy, storage) as builder:
            try:
                found = await builder.stored_config(str(reference))
            except BuildError:
                found = await builder.inspect(reference)
            return found.labels
    except BuildError as error:
        raise S2iFailedError(error) from error


def _exit_code(error: BuildError) -> int:
    """Return the reference implementation's exit code for this failure."""
    cause: BaseException | None = error
    while cause is not None:
        for kind, code in _CAUSES.items():
            if isinstance(cause, kind):
                return code
        cause = cause.__cause__
    return _CODES.get(error.reason, 1)
