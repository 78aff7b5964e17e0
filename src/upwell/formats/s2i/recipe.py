"""The recipes (Containerfiles) of Source-to-Image builds."""

import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched

from upwell.formats.s2i.contract import BuilderImage, S2iError

STATE_FOLDER = "/run/upwell"
"""Mounted while scripts run that hand something out; not part of any image."""
ARTIFACTS_FILE = "artifacts.tar"
SCRIPTS_MOUNT = "/run/upwell-scripts"

_ROOT = frozenset({"", "0", "root"})
_EMPTY = 'for f; do if [ -f "$f" ] && [ ! -L "$f" ]; then : >"$f" || exit 1; fi; done'
_FILES_IN_A_COMMAND = 100
_ENTRYPOINTS = tuple(
    f"{name}{suffix}" for name in ("run", "start", "exec", "execute") for suffix in ("", ".sh")
)


@dataclass(frozen=True, slots=True)
class Copy:
    """Files from a build context, a stage or an image, and where they go."""

    origin: str
    """A name for `COPY --from`; empty: the source itself."""
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class Assembly:
    """Steps by which a builder image makes the result out of the source."""

    builder: str
    image: BuilderImage
    scripts: Mapping[str, str]
    """Paths in the image of those scripts that are not uploaded, by name."""
    environment: Sequence[str] = ()
    """Instructions that set the result's environment; commands have got it from elsewhere.

    They come last: so no line of the image's history tells of the values.
    """
    uploads: Sequence[str] = ()
    """Of `scripts` and `artifacts`, the build contexts that have something in them."""
    copies: Sequence[Copy] = ()
    """Further files, after the source; a relative target lies in the source."""
    emptied: Sequence[str] = ()
    """Files whose content assemble alone may see: none of it is in the result."""

    @property
    def destination(self) -> str:
        """The folder that everything is uploaded to."""
        return self.image.destination.rstrip("/")

    def script(self, name: str) -> str:
        """Return where a script stands when the build runs it."""
        return self.scripts.get(name, f"{self.destination}/scripts/{name}")

    def lines(self, stage: str = "") -> list[str]:
        """Return the instructions up to and with assemble."""
        user, owner = self.image.assemble_user, _owner(self.image.assemble_user)
        lines = [f"FROM {self.builder}{f' AS {stage}' if stage else ''}"]
        if user != self.image.user:
            lines.append(f"USER {user}")
        source = f"{self.destination}/src/"
        lines.append(_copy(Copy("", ".", source), owner))
        for copy in self.copies:
            target = posixpath.join(source, copy.target)
            lines.append(_copy(Copy(copy.origin, copy.source, target), owner))
        lines += [
            _copy(Copy(name, ".", f"{self.destination}/{name}/"), owner) for name in self.uploads
        ]
        return [*lines, _run(self.script("assemble")), *self._emptying()]

    @property
    def last_user(self) -> str:
        """The user that the last instruction runs as."""
        return "0" if self.emptied and not self._is_root else self.image.assemble_user

    @property
    def _is_root(self) -> bool:
        return self.image.assemble_user in _ROOT

    def _emptying(self) -> list[str]:
        """Return the instructions that empty files, as root; in the same layer as assemble.

        What assemble has removed, or put a link in the place of, stays as it is.
        """
        lines = [] if not self.emptied or self._is_root else ["USER 0"]
        runs = (
            f"RUN {_exec('/bin/sh', '-c', _EMPTY, 'sh', *files)}"
            for files in batched(self.emptied, _FILES_IN_A_COMMAND)
        )
        return [*lines, *runs]


def assemble_recipe(assembly: Assembly) -> str:
    """Write the recipe of a build whose result is the builder image with the assembled source."""
    lines = assembly.lines()
    if assembly.last_user != assembly.image.user:
        lines.append(f"USER {assembly.image.user or '0'}")
    return _text([*lines, *assembly.environment, f"CMD {_exec(assembly.script('run'))}"])


@dataclass(frozen=True, slots=True)
class RuntimeRecipe:
    """The image that takes what assemble made."""

    name: str
    image: BuilderImage
    """Its assemble user is that of assemble-runtime."""
    scripts: Mapping[str, str]
    artifacts: Sequence[tuple[str, str]]
    uploads_scripts: bool

    def script(self, name: str) -> str:
        """Return where the script stands."""
        return self.scripts.get(name, posixpath.join(self._folder, "scripts", name))

    @property
    def _folder(self) -> str:
        return self.image.working_dir or "/"

    def lines(self, stage: str, environment: Iterable[str]) -> list[str]:
        """Return the instructions that follow the stage which assembled."""
        lines = [f"FROM {self.name}"]
        for source, folder in self.artifacts:
            # Onto its own name: so a file stays one, and a folder keeps its name.
            target = posixpath.join(self._folder, folder, posixpath.basename(source.rstrip("/")))
            lines.append(_copy(Copy(stage, source, posixpath.normpath(target)), ""))
        if self.uploads_scripts:
            target = posixpath.join(self._folder, "scripts/")
            lines.append(_copy(Copy("runtime-scripts", ".", target), ""))
        if self.image.assemble_user != self.image.user:
            lines.append(f"USER {self.image.assemble_user}")
        lines.append(_run(self.script("assemble-runtime")))
        if self.image.assemble_user != self.image.user:
            lines.append(f"USER {self.image.user or '0'}")
        return [*lines, *environment, f"CMD {_exec(self.script('run'))}"]


def runtime_recipe(assembly: Assembly, runtime: RuntimeRecipe) -> str:
    """Write the recipe of a build whose result is the runtime image with its artifacts."""
    stage = "assembled"
    return _text([*assembly.lines(stage), *runtime.lines(stage, assembly.environment)])


def onbuild_recipe(
    builder: str, environment: Iterable[str], files: Mapping[str, bool], user: str = ""
) -> str:
    """Write the recipe for a builder that works by ONBUILD instructions.

    `files` are those at the root of the source, and whether each is executable. Raises S2iError.
    """
    entry = next((name for name in _ENTRYPOINTS if files.get(name)), None)
    if entry is None:
        expected = ", ".join(_ENTRYPOINTS)
        raise S2iError(
            "no valid entrypoint specified: a source for a builder with ONBUILD instructions needs"
            f" an executable file at its root, one of {expected}"
        )
    assemble = [f"RUN {_exec('sh', 'assemble')}"] if "assemble" in files else []
    return _text(
        [
            f"FROM {builder}",
            *assemble,
            *([f"USER {user}"] if user else []),
            *environment,
            f"ENTRYPOINT {_exec(f'./{entry}')}",
        ]
    )


def artifacts_recipe(previous: str, user: str, script: str) -> str:
    """Write a recipe that runs save-artifacts of an earlier result into the state folder."""
    command = f'exec "$0" > {STATE_FOLDER}/{ARTIFACTS_FILE}'
    return _text(
        [
            f"FROM {previous}",
            *([f"USER {user}"] if user else []),
            f"RUN {_exec('/bin/sh', '-c', command, script)}",
        ]
    )


def artifact_mappings(text: str) -> tuple[tuple[str, str], ...]:
    """Read `SRC:DST;SRC:DST` (io.openshift.s2i.assemble-input-files); raises S2iError."""
    pairs = (part.partition(":")[::2] for part in text.split(";") if part.strip())
    return checked_artifacts((source.strip(), target.strip()) for source, target in pairs)


def checked_artifacts(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    """Return artifacts whose paths are of the kind that is allowed; raises S2iError."""
    found = []
    for source, target in pairs:
        if not source.startswith("/") or any(sign in source for sign in "*?["):
            raise S2iError(f"the artifact {source!r} is not an absolute path without wildcards")
        folder = posixpath.normpath(target or ".")
        if folder.startswith(("/", "..")):
            raise S2iError(
                f"the artifact {source!r} goes to {target!r}, which is not a folder below WORKDIR"
            )
        found.append((source, folder))
    return tuple(found)


def _copy(copy: Copy, owner: str) -> str:
    flags = [f"--from={copy.origin}"] if copy.origin else []
    flags += [f"--chown={owner}"] if owner else []
    return " ".join(["COPY", *flags, _exec(copy.source, copy.target)])


def _run(script: str) -> str:
    # A shell starts scripts that lack a `#!` line too, as the contract's own command does.
    return f"RUN {_exec('/bin/sh', '-c', 'exec "$0"', script)}"


def _owner(user: str) -> str:
    """Return who owns the upload: a bare number has the root group, as OpenShift makes it."""
    return f"{user or '0'}:0" if (user or "0").isdecimal() else user


def _exec(*words: str) -> str:
    return json.dumps(list(words))


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines) + "\n"
