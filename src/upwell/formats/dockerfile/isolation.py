"""Refuses what a Dockerfile may not ask of the machine that builds it.

Buildah refuses most of this too; here it is refused with a line number, before anything runs.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from upwell.formats.dockerfile.instructions import Instruction, instructions
from upwell.formats.dockerfile.lines import DockerfileError
from upwell.formats.dockerfile.parse import image_named, mount_options
from upwell.formats.dockerfile.substitution import SubstitutionError, substitute

_SAFE_NETWORKS = frozenset({"default", "none"})
_MOUNT_TYPES = frozenset({"bind", "cache", "tmpfs", "secret", "ssh"})
_RUN_FLAGS = frozenset({"--mount", "--network", "--security"})
_URL = re.compile(r"(?:https?|git|ssh)://|git@", re.IGNORECASE)
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class Download:
    """An address that the build would fetch from the machine's own network."""

    line: int
    host: str


def check_isolation(text: str, *, host_network: bool = False) -> None:
    """Raise DockerfileError for an instruction that reaches out of the build."""
    for instruction in instructions(text):
        match instruction.keyword:
            case "RUN":
                _check_run(instruction, host_network=host_network)
            case "COPY" | "ADD":
                _check_copy(instruction)


def check_trigger(text: str, *, host_network: bool = False) -> None:
    """Raise DockerfileError for an ONBUILD instruction of an image that may not run.

    The builder reads it from the image's configuration, so there must be one way to read it: one
    instruction, on one line, that names no image.
    """
    found = list(instructions(f"ONBUILD {text}"))
    trigger = found[0].trigger
    if len(found) != 1 or trigger is None or "\n" in text:
        raise DockerfileError(1, f"{text!r} is not one instruction on one line")
    for flag in trigger.flags:
        if image_named(flag, 1) is not None:
            raise DockerfileError(1, f"{flag} takes files from an image that nobody pinned")
    check_isolation(text, host_network=host_network)


def downloads(text: str, build_args: Mapping[str, str] | None = None) -> Iterator[Download]:
    """Yield each address that an ADD instruction fetches.

    Raises DockerfileError where that hangs on a variable which only the build would know.
    """
    scope = _Scope(build_args or {})
    for instruction in instructions(text):
        scope.read(instruction)
        if instruction.keyword == "ADD":
            for source in instruction.arguments[:-1]:
                address = scope.address(source, instruction.line)
                if _URL.match(address):
                    yield Download(instruction.line, _host(address, instruction.line))


class _Scope:
    """Values of variables where an ADD stands; less than the build knows, never other."""

    def __init__(self, build_args: Mapping[str, str]) -> None:
        self._given = build_args
        self._global: dict[str, str] = {}
        self._arguments = self._global
        self._environment: dict[str, str] = {}

    def read(self, instruction: Instruction) -> None:
        words = [word.text for word in instruction.words]
        match instruction.keyword:
            case "FROM":
                self._arguments, self._environment = {}, {}
            case "ARG":
                for word in words:
                    name, _, default = word.partition("=")
                    given = self._given.get(name, self._expand(default) or self._global.get(name))
                    if given is not None:
                        self._arguments[name] = given
            case "ENV" if words and "=" not in words[0]:
                self._environment[words[0]] = self._expand(" ".join(words[1:])) or ""
            case "ENV":
                for word in words:
                    name, _, value = word.partition("=")
                    self._environment[name] = self._expand(value) or ""

    def address(self, text: str, line: int) -> str:
        """Return `text` as the build reads it; variables of its path may stay.

        Quotes and variables hide a scheme, so they are taken away before it is looked for.
        """
        expanded = self._expand(text)
        if expanded is not None:
            return expanded
        scheme, separator, rest = text.partition("://")
        host = rest.partition("/")[0]
        if "$" in host or _plain(scheme) is None or not separator:
            raise DockerfileError(
                line, f"ADD {text}: what it fetches is not known before the build"
            )
        return f"{_plain(scheme)}://{_plain(host)}"

    def _expand(self, text: str) -> str | None:
        """Return the text with its variables replaced; None if one has no value here."""
        values = {**self._arguments, **self._environment}
        if any(name not in values for name in _VARIABLE.findall(text)):
            return None
        try:
            return substitute(text, values)
        except SubstitutionError:
            return None


def _plain(text: str) -> str | None:
    """Return a text without its quotes; None if it has a variable."""
    try:
        return None if "$" in text else substitute(text, {})
    except SubstitutionError:
        return None


def _check_run(instruction: Instruction, *, host_network: bool) -> None:
    line = instruction.line
    for flag in instruction.flags:
        if flag.name not in _RUN_FLAGS:
            raise DockerfileError(line, f"RUN {flag.name} is not supported")
        if flag.name == "--security" and flag.value != "sandbox":
            raise DockerfileError(line, f"RUN {flag} is not allowed to builds")
        if (
            flag.name == "--network"
            and flag.value not in _SAFE_NETWORKS
            and not (flag.value == "host" and host_network)
        ):
            raise DockerfileError(line, f"RUN {flag} is not allowed to builds")
        if flag.name == "--mount":
            _check_mount(mount_options(flag, line), line)


def _check_mount(options: Mapping[str, str], line: int) -> None:
    kind = options.get("type", "bind")
    if kind not in _MOUNT_TYPES:
        raise DockerfileError(line, f"RUN --mount=type={kind} is not supported")
    for name in ("source", "src"):
        if ".." in options.get(name, "").split("/"):
            raise DockerfileError(
                line, f"RUN --mount: the source {options[name]!r} leaves its tree"
            )


def _check_copy(instruction: Instruction) -> None:
    for source in instruction.arguments[:-1]:
        if ".." in (_plain(source) or source).split("/") and not _URL.match(source):
            raise DockerfileError(
                instruction.line,
                f"{instruction.keyword} {source}: a path may not leave the build context",
            )


def _host(address: str, line: int) -> str:
    if address.startswith("git@"):
        return address.removeprefix("git@").partition(":")[0]
    try:
        host = urlsplit(address).hostname
    except ValueError as error:
        raise DockerfileError(line, f"ADD {address}: {error}") from error
    if not host:
        raise DockerfileError(line, f"ADD {address}: no host")
    return host
