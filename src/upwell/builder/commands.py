"""The `buildah` command line on one image store."""

import asyncio
import json
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from upwell.builder.confinement.sandbox import Sandbox, UserIds
from upwell.builder.diagnosis import (
    is_out_of_space,
    is_rate_limited,
    machine_fault,
    may_pass,
)
from upwell.builder.disk.listings import (
    StoredImage,
    may_have_containers,
    stored_images,
    whole_image,
)
from upwell.builder.disk.room import top_layer
from upwell.builder.interface import BuildError, LimitedPushError
from upwell.builder.secret_variables import runtime_with
from upwell.machine.folder import remove_deep
from upwell.machine.process import TIMED_OUT, ChildCommand, Launcher, LogSink, ProcessResult
from upwell.oci import Digest, ImageConfig, InvalidManifestError, Reference
from upwell.outbound.registry_faults import without_answer
from upwell.outbound.registry_network import RegistryNetwork

_ONE_TRY = ("--retry=1", "--retry-delay=1ms")
"""Options without retries: builds decide them; 0 would mean buildah's default of 3, over 7 s."""

_ID_LINE = re.compile(r"^[0-9a-f]{64}$", re.MULTILINE)
_KEPT_CONFIGS = 256
_TIDY_SECONDS = 300.0
_MAX_INSPECT = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class BuildMount:
    """A file or folder of this machine that a build's commands see."""

    path: Path
    target: str
    writable: bool = False
    options: tuple[str, ...] = ()
    """Of `--volume`; empty: as `writable` says."""

    def flag(self) -> str:
        """Return the option; raises BuildError for a name that would mean something else."""
        if ":" in f"{self.path}{self.target}":
            message = f"{self.target!r} cannot be mounted: a path may not contain a colon"
            raise BuildError("GenericBuildFailed", message)
        options = self.options or ("rw" if self.writable else "ro",)
        return f"--volume={self.path}:{self.target}:{','.join(options)}"


@dataclass(frozen=True, slots=True)
class Recipe:
    """One image to build: what to write, from where, and with what."""

    containerfile: Path
    context: Path
    contexts: Mapping[str, Path] = field(default_factory=dict)
    """Additional named contexts."""
    ignore_file: Path | None = None
    arguments_file: Path | None = None
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Build arguments whose values go through the process environment."""
    secret_variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Seen by the commands that run, over all others of their names; the image has none of them."""
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    mounts: Sequence[BuildMount] = ()
    secrets: Mapping[str, Path] = field(default_factory=dict)
    """Files for `RUN --mount=type=secret`, by id."""
    sandbox: Sandbox = field(default_factory=Sandbox)
    layers: bool = False
    use_cache: bool = True
    docker_format: bool = False
    squash: bool = False
    all_stages: bool = False
    """Build the stages too that nothing is taken of."""
    output: Path | None = None
    """A folder that gets the result's files."""
    images_of: Path | None = None
    """The store that the build sees besides its own; None: that of the commands."""

    @property
    def written_labels(self) -> Mapping[str, str]:
        """The labels; in Docker's format, which has no annotations, with what these would say."""
        return {**self.annotations, **self.labels} if self.docker_format else self.labels


@dataclass(frozen=True, slots=True)
class ImageStore:
    """Storage of images and layers, and the owner of its files."""

    root: Path
    run_root: Path
    ids: UserIds

    options: tuple[str, ...] = ()
    """Of `buildah`, besides."""
    images_of: Path | None = None
    """Another store, whose images and layers are seen too."""

    async def flags(self, images_of: Path | None = None) -> tuple[str, ...]:
        """Return the options of `buildah` that come before its command."""
        seen = images_of or self.images_of
        return (
            *(f"--root={self.root}", f"--runroot={self.run_root}", *self.options),
            *([f"--storage-opt=.imagestore={seen}"] if seen else []),
            *await self.ids.flags(),
        )


class BuildahCommands:
    """Runs buildah on one store; `environment` is each child's whole environment."""

    def __init__(
        self,
        launcher: Launcher,
        store: ImageStore,
        environment: Mapping[str, str],
        person: Mapping[str, str] | None = None,
    ) -> None:
        """`person` are variables by which Buildah finds logins and registries.conf of a person.

        None: registries are asked as each call says, and by nothing else.
        """
        self._launcher = launcher
        self._store = store
        self._environment = environment
        self._person = person
        self._configs: dict[str, ImageConfig] = {}
        """Of images that are named by digest, the latest last."""
        self._known_runtime = ""
        self._known_options: tuple[str, ...] | None = None

    @property
    def root(self) -> Path:
        """The folder of the store."""
        return self._store.root

    async def above(self, root: Path, run_root: Path, folder: Path) -> "BuildahCommands":
        """Return the same commands on a store at `root` that sees what is in this one.

        `folder` is one to work in. Raises BuildError.
        """
        options = await self._storage_options(folder)
        store = ImageStore(root, run_root, self._store.ids, options, self.root)
        return BuildahCommands(self._launcher, store, self._environment, self._person)

    async def _storage_options(self, folder: Path) -> tuple[str, ...]:
        """Return the options by which a store is kept as this one: naming one replaces them all.

        Asked for once.
        """
        if self._known_options is not None:
            return self._known_options
        outcome = await self._capture(folder, "info")
        if outcome.code != 0:
            raise machine_fault(outcome) or BuildError("GenericBuildFailed", outcome.last_line)
        facts = json.loads(outcome.output)["store"]
        options = (f"--storage-opt={one}" for one in facts.get("GraphOptions") or ())
        self._known_options = (f"--storage-driver={facts['GraphDriverName']}", *options)
        return self._known_options

    async def owner(self) -> int:
        """Return the id that root in a build has on this machine."""
        return await self._store.ids.root()

    async def give(self, tree: Path, folder: Path) -> None:
        """Make root in the build the owner of a tree: it may write then, and is nobody's guest."""
        owner = await self.owner()
        if owner == os.geteuid():
            return
        argv = ("chown", "--recursive", "-P", f"{owner}:{owner}", "--", str(tree))
        await self._launcher.run(replace(await self._command(folder, ()), argv=argv), _nowhere)

    async def pull(
        self,
        image: Reference,
        folder: Path,
        auth: Path,
        *,
        insecure: bool,
        network: RegistryNetwork,
        policy: str = "missing",
    ) -> str:
        """Pull unless the store has this digest; return the image's id, empty if that is not told.

        Raises BuildError PullBuilderImageFailed.
        """
        if policy == "missing" and image.digest is not None:
            # As Buildah would say, once it had started and opened the store.
            found = await asyncio.to_thread(whole_image, self.root, str(image))
            if found is not None:
                return found
        argv = (
            *("pull", "--quiet", f"--policy={policy}", *_ONE_TRY),
            *self._access_flags(auth, insecure=insecure),
            str(image),
        )
        command = network.enter(await self._registry_command(folder, argv))
        outcome = await self._launcher.run(command, _nowhere)
        if outcome.code != 0:
            raise _transfer_error("PullBuilderImageFailed", f"Failed to pull {image}", outcome)
        ids = _ID_LINE.findall(outcome.tail)
        return ids[-1] if ids else ""  # warnings may be among what it printed

    async def image_config(self, image: str, folder: Path) -> ImageConfig:
        """Return the configuration of an image in the store; raises BuildError.

        One of an image that is named by digest is remembered: it cannot change.
        """
        if image in self._configs:
            return self._configs[image]
        config = await self._read_config(image, folder)
        if "@sha256:" in image:
            self._configs[image] = config
            if len(self._configs) > _KEPT_CONFIGS:
                self._configs.pop(next(iter(self._configs)))
        return config

    async def _read_config(self, image: str, folder: Path) -> ImageConfig:
        argv = ("inspect", "--type=image", image)
        outcome = await self._capture(folder, *argv)
        if outcome.code != 0:
            message = f"{image}: {outcome.last_line}"
            raise machine_fault(outcome) or BuildError("PullBuilderImageFailed", message)
        try:
            # Docker's form, unlike OCI's, has ONBUILD.
            return ImageConfig.parse(json.dumps(json.loads(outcome.output)["Docker"]).encode())
        except InvalidManifestError as error:
            raise BuildError("PullBuilderImageFailed", f"{image}: {error}") from error

    async def build(self, recipe: Recipe, folder: Path, log: LogSink) -> tuple[ProcessResult, str]:
        """Build; return how that ended, and the image's id in the store if it ended well."""
        id_file = folder / "image-id"
        argv = (
            *("build", "--pull=never", "--force-rm", f"--iidfile={id_file}"),
            # No hooks of this machine; and both folders tell later whose a container was.
            f"--hooks-dir={folder / 'hooks'}",
            f"--runtime-flag=root={folder / 'runtime'}",
            f"--file={recipe.containerfile}",
            f"--layers={str(recipe.layers).lower()}",
            *recipe.sandbox.flags(),
            *await self._runtime_flags(recipe, folder),
            *(["--squash"] if recipe.squash else []),
            *(["--skip-unused-stages=false"] if recipe.all_stages else []),
            *([f"--output=type=local,dest={recipe.output}"] if recipe.output else []),
            f"--format={'docker' if recipe.docker_format else 'oci'}",
            *([] if recipe.use_cache else ["--no-cache"]),
            *([f"--ignorefile={recipe.ignore_file}"] if recipe.ignore_file else []),
            *([f"--build-arg-file={recipe.arguments_file}"] if recipe.arguments_file else []),
            *(f"--build-arg={name}" for name in recipe.environment),
            *(f"--build-context={name}={path}" for name, path in recipe.contexts.items()),
            *(mount.flag() for mount in recipe.mounts),
            *(f"--secret=id={name},src={path}" for name, path in recipe.secrets.items()),
            *_pairs("--label", recipe.written_labels),
            *_pairs("--annotation", recipe.annotations),
            str(recipe.context),
        )
        command = await self._command(folder, argv, recipe.environment, recipe.images_of)
        if recipe.sandbox.namespace is not None:
            inside = await asyncio.to_thread(recipe.sandbox.namespace.enter, folder, command.argv)
            command = replace(command, argv=inside)
        outcome = await self._launcher.run(command, log)
        return outcome, id_file.read_text().strip() if outcome.code == 0 else ""

    def written(self, image: str) -> Path | None:
        """Return the folder of what an image adds to its base; None: its layers are not folders."""
        return top_layer(self._store.root, image.removeprefix("sha256:"))

    async def push(
        self,
        image: str,
        to: Reference,
        folder: Path,
        auth: Path,
        *,
        insecure: bool,
        network: RegistryNetwork,
    ) -> Digest:
        """Push; return the manifest's digest. Raises BuildError PushImageToRegistryFailed."""
        digest_file = folder / "digest"
        argv = (
            *("push", "--quiet", *_ONE_TRY, *self._access_flags(auth, insecure=insecure)),
            f"--digestfile={digest_file}",
            *(image, f"docker://{to}"),
        )
        command = network.enter(await self._registry_command(folder, argv))
        outcome = await self._launcher.run(command, _nowhere)
        if outcome.code != 0:
            error = _transfer_error("PushImageToRegistryFailed", f"Failed to push to {to}", outcome)
            if error.reason == "PushImageToRegistryFailed" and is_rate_limited(outcome):
                raise LimitedPushError(error.reason, str(error), retryable=True)
            raise error
        return Digest.parse(digest_file.read_text().strip())

    async def tag(self, image: str, name: str, folder: Path) -> None:
        """Give an image of the store a name; raises BuildError."""
        outcome = await self._run(folder, _nowhere, "tag", image, name)
        if outcome.code != 0:
            message = f"Failed to tag {name}: {outcome.last_line}"
            raise machine_fault(outcome) or BuildError("GenericBuildFailed", message)

    async def remove_image(self, image: str, folder: Path) -> bool:
        """Remove an image from the store, if nothing else needs it; return whether it went."""
        return (await self._tidy(folder, "rmi", image)).code == 0

    async def images(self) -> list[StoredImage]:
        """Return every image of the store, those of single steps too."""
        return await asyncio.to_thread(stored_images, self.root)

    async def remove_containers(self, folder: Path) -> None:
        """Remove what a killed build in `folder` left in the store and at the container runtime."""
        await self._remove_runtime_state(folder)
        if ids := await self.containers_of(folder):
            await self._remove(ids, folder)

    async def containers_of(self, folder: Path) -> Sequence[str]:
        """Return the ids of the working containers of the build in `folder`."""
        return await asyncio.to_thread(_containers_of, folder, self._store.root)

    async def _remove(self, ids: Sequence[str], folder: Path) -> None:
        """Remove containers of the store, on a full disk too.

        There Buildah cannot, as it writes before it removes: so their files go first.
        """
        outcome = await self._tidy(folder, "rm", *ids)
        if outcome.code != 0 and is_out_of_space(outcome.tail):
            await asyncio.to_thread(_empty_containers, ids, self._store.root)
            await self._tidy(folder, "rm", *ids)

    async def _remove_runtime_state(self, folder: Path) -> None:
        """Let the runtime delete what it still counts as containers: their control groups."""
        state = folder / "runtime"
        names = await asyncio.to_thread(lambda: [path.name for path in state.glob("*")])
        if not names:
            return
        runtime = await self._runtime(folder)
        command = await self._command(folder, ())
        for name in names:
            argv = (runtime, f"--root={state}", "delete", "--force", name)
            await self._launcher.run(replace(command, argv=argv), _nowhere)

    async def _runtime_flags(self, recipe: Recipe, folder: Path) -> tuple[str, ...]:
        """Return the option for a runtime of the build's own; none where it has no secrets."""
        if not recipe.secret_variables:
            return ()
        if self._environment.get("BUILDAH_ISOLATION") == "chroot":  # has no runtime
            message = (
                "variables with values of Secrets need a container runtime on this machine:"
                " mount the Secrets (spec.strategy…volumes) in their place"
            )
            raise BuildError("GenericBuildFailed", message)
        runtime = await self._runtime(folder)
        program = await asyncio.to_thread(runtime_with, recipe.secret_variables, runtime, folder)
        return (f"--runtime={program}",)

    async def _runtime(self, folder: Path) -> str:
        """Return the container runtime that Buildah uses on this machine: asked for once.

        Another one is taken up at the next start, or when the old one is gone.
        """
        if not await asyncio.to_thread(shutil.which, self._known_runtime):
            asked = await self._capture(folder, "info", "--format={{.host.OCIRuntime}}")
            self._known_runtime = asked.output.strip()
        return self._known_runtime

    async def remove_all_containers(self, folder: Path) -> None:
        """Remove every container in the store.

        By their names: `rm --all` passes over those whose making was cut short, since Buildah
        had not yet written that they are its own. Buildah is not asked where none is listed.
        """
        if not await asyncio.to_thread(may_have_containers, self.root):
            return
        argv = ("containers", "--all", "--quiet")
        listed = await self._capture(folder, *argv)
        if ids := listed.output.split():
            await self._remove(ids, folder)

    async def _tidy(self, folder: Path, *argv: str) -> ProcessResult:
        """Run a command that no build's deadline ends; one that hangs is killed."""
        try:
            async with asyncio.timeout(_TIDY_SECONDS):
                return await self._run(folder, _nowhere, *argv)
        except TimeoutError:
            return ProcessResult(TIMED_OUT, f"buildah {argv[0]} took over {_TIDY_SECONDS:g} s")

    async def _run(self, folder: Path, log: LogSink, *argv: str) -> ProcessResult:
        return await self._launcher.run(await self._command(folder, argv), log)

    async def _capture(self, folder: Path, *argv: str) -> ProcessResult:
        return await self._launcher.capture(await self._command(folder, argv), _MAX_INSPECT)

    def _access_flags(self, auth: Path, *, insecure: bool) -> tuple[str, ...]:
        if self._person is not None:
            return ()  # flags would go before what their configuration says
        return (f"--authfile={auth}", f"--tls-verify={str(not insecure).lower()}")

    async def _registry_command(self, folder: Path, argv: tuple[str, ...]) -> ChildCommand:
        command = await self._command(folder, argv)
        return replace(command, environment={**command.environment, **(self._person or {})})

    async def _command(
        self,
        folder: Path,
        argv: tuple[str, ...],
        more: Mapping[str, str] | None = None,
        images_of: Path | None = None,
    ) -> ChildCommand:
        environment = {
            **(more or {}),
            **self._environment,
            "HOME": str(folder),  # nobody's own logins and settings
            "TMPDIR": str(_temporary(folder)),
        }
        return ChildCommand(
            ("buildah", *await self._store.flags(images_of), *argv), environment, folder
        )


def _temporary(folder: Path) -> Path:
    path = (folder / "tmp").resolve()
    return path if path.is_dir() else folder


def _containers_of(folder: Path, root: Path) -> list[str]:
    """Return the working containers whose saved options name `folder`.

    Buildah lists no owner, and labels and annotations reach a container only when it is committed.
    """
    needle = f'"{folder}/'.encode()
    found = []
    for state in root.glob("*-containers/*/userdata/buildah.json"):
        with suppress(FileNotFoundError):
            if needle in state.read_bytes():
                found.append(state.parent.parent.name)
    return found


def _empty_containers(ids: Sequence[str], root: Path) -> None:
    """Delete the files that working containers have written; no process of theirs lives."""
    for listing in root.glob("*-containers/*containers.json"):
        driver = listing.parent.name.removesuffix("-containers")
        for entry in json.loads(listing.read_text() or "[]"):
            if entry["id"] in ids:
                written = root / driver / entry["layer"] / "diff"
                for path in written.glob("*"):
                    if path.is_dir() and not path.is_symlink():
                        remove_deep(path)
                    else:
                        path.unlink(missing_ok=True)


def _nowhere(_: bytes) -> None:
    """Drop output that says nothing: what matters of it is in the outcome."""


def _pairs(flag: str, values: Mapping[str, str]) -> list[str]:
    """Buildah writes a line break as a backslash and an n, so it becomes a space."""
    return [f"{flag}={name}={' '.join(text.splitlines())}" for name, text in values.items()]


def _transfer_error(reason: str, what: str, outcome: ProcessResult) -> BuildError:
    message = f"{what}: {without_answer(outcome.last_line.removeprefix('Error: '))}"
    return machine_fault(outcome) or BuildError(reason, message, retryable=may_pass(outcome))
