"""Fetches source trees with git, trusting neither the repository nor the address."""

import asyncio
import os
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from upwell.builder.context import context_of
from upwell.builder.folder import BuildFolder
from upwell.builder.git_cache import GitCache, reference_name, size_of
from upwell.builder.interface import BuildError, Checkout, GitSource, LogSink, Revision
from upwell.builder.process import Command, Launcher, Outcome, OutputTooLargeError
from upwell.builder.redaction import Redaction, basic_auth

_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_REF = re.compile(r"[^-\x00-\x20~^:?*\[\\\x7f][^\x00-\x20~^:?*\[\\\x7f]*")
_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^-].*")
_SCHEMES = frozenset({"https", "http", "ssh", "git"})
_MAX_LISTING = 16 * 1024 * 1024
_MAX_COMMIT = 1024 * 1024
_TRANSIENT = re.compile(
    r"could not resolve host|timed out|connection (refused|reset|timed)|"
    r"early eof|hung up|error: (5\d\d|429)|failed to connect",
    re.IGNORECASE,
)
_VAGUE = re.compile(r"could not read from remote|fsck error in packed", re.IGNORECASE)
_HARDENING = {
    "core.hooksPath": "/dev/null",
    "core.symlinks": "true",
    "credential.helper": "",
    "protocol.ext.allow": "never",
    "submodule.recurse": "false",
    "transfer.fsckObjects": "true",
    "fetch.fsckObjects": "true",
    "advice.detachedHead": "false",
    "init.defaultBranch": "main",
    "gc.auto": "0",
    "fetch.unpackLimit": "1",
}


@dataclass(frozen=True, slots=True)
class GitLimits:
    """What one fetch may take."""

    seconds: float = 600.0
    tree_bytes: int = 4 * 1024**3
    cache_bytes: int = 8 * 1024**3
    """Of all mirrors together."""


class Git:
    """Resolves and clones; `environment` is the base of every child's environment.

    `allow_local` lets sources name repositories on this machine's disk.
    """

    def __init__(
        self,
        launcher: Launcher,
        environment: Mapping[str, str],
        *,
        allow_local: bool = False,
        limits: GitLimits | None = None,
        cache_folder: Path | None = None,
    ) -> None:
        self._launcher = launcher
        self._environment = environment
        self._allow_local = allow_local
        self._limits = limits or GitLimits()
        self._cache = GitCache(cache_folder, self._limits.cache_bytes) if cache_folder else None

    async def resolve(self, folder: BuildFolder, source: GitSource) -> str:
        """Return the commit that the source's ref names; raises BuildError FetchSourceFailed."""
        if _COMMIT.fullmatch(source.ref):
            return source.ref
        source = _without_login(source)
        self._check(source)
        ref = source.ref or "HEAD"
        wanted = [ref] if ref == "HEAD" or ref.startswith("refs/") else _candidates(ref)
        argv = ("ls-remote", "--", source.uri, *wanted, *(f"{name}^{{}}" for name in wanted))
        environment = self._access(folder, source)
        async with self._bounded(source):
            outcome = await self._capture(argv, folder.path, environment, _MAX_LISTING)
        if outcome.code != 0:
            raise _fetch_error(source, outcome)
        found = {
            name: commit
            for commit, tab, name in (line.partition("\t") for line in outcome.output.splitlines())
            if tab
        }
        for name in wanted:
            # An annotated tag is listed twice: itself, and peeled to the commit that it names.
            if commit := found.get(f"{name}^{{}}") or found.get(name):
                return commit
        raise BuildError("FetchSourceFailed", f"{source.uri} has no branch or tag {ref!r}")

    async def fetch(self, folder: BuildFolder, source: GitSource, log: LogSink) -> Checkout:
        """Clone the source into the folder, as shallow as the server allows; raises BuildError."""
        source = _without_login(source)
        self._check(source)
        environment = self._access(folder, source)
        redaction = Redaction(log, _secrets(source))
        redaction(f"Cloning {source.uri} at {source.ref or 'HEAD'} ...\n".encode())
        try:
            async with self._bounded(source), self._watched(folder.source):
                await self._clone(folder, source, environment, redaction)
                revision = await self._revision(folder.source, environment)
            redaction(f"Commit {revision.commit} {revision.message}\n".encode())
        finally:
            redaction.flush()
        return Checkout(context_of(folder.source, source.context_dir), revision)

    async def _clone(
        self,
        folder: BuildFolder,
        source: GitSource,
        environment: Mapping[str, str],
        log: LogSink,
    ) -> None:
        folder.make_source()
        run = _Runner(self._launcher, folder.source, environment, log)
        ref = source.ref or "HEAD"
        await run("init", "--quiet", ".")
        outcome = await self._fetch_shallow(source, ref, run)
        target = "FETCH_HEAD"
        if outcome.code != 0 and _COMMIT.fullmatch(ref):
            # The server refuses commits that no ref names: take all, and look inside.
            target = ref
            refs = ("+refs/heads/*:refs/remotes/origin/*", "+refs/tags/*:refs/tags/*")
            outcome = await run("fetch", "--quiet", "--", source.uri, *refs)
        if outcome.code == 0:
            outcome = await run("checkout", "--quiet", "--detach", target, "--")
        if outcome.code == 0 and source.submodules and _has_submodules(folder.source):
            outcome = await run(
                "submodule", "update", "--quiet", "--init", "--recursive", "--depth=1"
            )
        if outcome.code != 0:
            raise _fetch_error(source, outcome)
        await self._fetch_large_files(source, run)

    async def _fetch_shallow(self, source: GitSource, ref: str, run: "_Runner") -> Outcome:
        """Fetch one commit by way of the mirror, if there is a cache, into FETCH_HEAD."""
        shallow = ("fetch", "--quiet", "--depth=1", "--no-tags")
        if self._cache is None:
            return await run(*shallow, "--", source.uri, ref)
        kept = reference_name(ref)
        async with self._cache.mirror(source) as mirror, self._watched(mirror):
            await asyncio.to_thread(mirror.mkdir, mode=0o700, parents=True, exist_ok=True)
            in_mirror = replace(run, tree=mirror)
            await in_mirror("init", "--quiet", "--bare", ".")
            outcome = await in_mirror(*shallow, "--", source.uri, f"+{ref}:{kept}")
            if outcome.code == 0:
                # Copied, not shared: the mirror may go while the build still reads its history.
                local = {**run.environment, "GIT_ALLOW_PROTOCOL": "file"}
                outcome = await replace(run, environment=local)(*shallow, "--", str(mirror), kept)
        return outcome

    async def _fetch_large_files(self, source: GitSource, run: "_Runner") -> None:
        """Put the content of Git LFS in the place of its pointers, if the tree has any."""
        argv = ("ls-files", "-z", "--", ":(attr:filter=lfs)")
        listing = await self._capture(argv, run.tree, run.environment, _MAX_LISTING)
        if not listing.output:
            return
        command = "Git LFS, which the source uses,"
        probe = await self._capture(("lfs", "version"), run.tree, run.environment, _MAX_LISTING)
        if probe.code != 0:
            raise BuildError("FetchSourceFailed", f"{command} is not installed: install git-lfs")
        for argument in (("lfs", "install", "--local", "--skip-repo"), ("lfs", "pull")):
            settings = ("-c", f"remote.origin.url={source.uri}")
            outcome = await run(*settings, *argument)
            if outcome.code != 0:
                message = f"{command} failed: {_masked(outcome.last_line, source)}"
                raise BuildError("FetchSourceFailed", message)

    async def _revision(self, tree: Path, environment: Mapping[str, str]) -> Revision:
        argv = ("show", "--no-patch", "--format=%H%x00%an%x00%ae%x00%cn%x00%ce%x00%ad%x00%s")
        outcome = await self._capture((*argv, "HEAD", "--"), tree, environment, _MAX_COMMIT)
        fields = outcome.output.rstrip("\n").split("\0")
        if outcome.code != 0 or len(fields) != len(Revision.__dataclass_fields__):
            raise BuildError("FetchSourceFailed", f"cannot read the commit: {outcome.last_line}")
        return Revision(*fields)

    def _check(self, source: GitSource) -> None:
        """Refuse what git would take as an option, a command or another machine's file."""
        if source.ref and _REF.fullmatch(source.ref) is None:
            raise BuildError("FetchSourceFailed", f"not a git ref: {source.ref!r}")
        uri = source.uri
        scheme = urlsplit(uri).scheme if "://" in uri else ""
        local = scheme == "file" or uri.startswith("/")
        if local and not self._allow_local:
            raise BuildError("FetchSourceFailed", f"{uri!r}: local repositories are not allowed")
        if not (local or scheme in _SCHEMES or (not scheme and _SCP.fullmatch(uri))):
            raise BuildError(
                "FetchSourceFailed",
                f"{uri!r} is not a git address (https, http, ssh, git or user@host:path)",
            )

    def _access(self, folder: BuildFolder, source: GitSource) -> dict[str, str]:
        """Return the environment of git: hardened, and with the source's login."""
        settings = dict(_HARDENING)
        settings["protocol.file.allow"] = "always" if self._allow_local else "never"
        if source.password and urlsplit(source.uri).scheme in {"http", "https"}:
            parts = urlsplit(source.uri)
            origin = urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
            header = f"Authorization: Basic {basic_auth(source.username, source.password)}"
            settings[f"http.{origin}.extraHeader"] = header
        if source.ca_certificate:
            settings["http.sslCAInfo"] = str(folder.write("git-ca.pem", source.ca_certificate))
        environment = {
            **self._environment,
            **dict(source.proxies.variables()),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_CONFIG_COUNT": str(len(settings)),
            "GIT_SSH_COMMAND": _ssh_command(folder, source),
            "GIT_LFS_SKIP_SMUDGE": "1",
        }
        for index, (key, value) in enumerate(settings.items()):
            environment[f"GIT_CONFIG_KEY_{index}"] = key
            environment[f"GIT_CONFIG_VALUE_{index}"] = value
        return environment

    async def _capture(
        self, argv: tuple[str, ...], folder: Path, environment: Mapping[str, str], limit: int
    ) -> Outcome:
        command = Command(("git", *argv), environment, folder)
        try:
            return await self._launcher.capture(command, limit)
        except OutputTooLargeError as error:
            raise BuildError("FetchSourceFailed", str(error)) from error

    @asynccontextmanager
    async def _bounded(self, source: GitSource) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._limits.seconds):
                yield
        except TimeoutError as error:
            message = f"{source.uri}: git took over {self._limits.seconds:g} s"
            raise BuildError("FetchSourceFailed", message, retryable=True) from error

    @asynccontextmanager
    async def _watched(self, tree: Path) -> AsyncIterator[None]:
        """Stop the block once `tree` has grown beyond the limit."""
        limit = self._limits.tree_bytes
        before = await asyncio.to_thread(size_of, tree)

        async def check() -> None:
            if await asyncio.to_thread(size_of, tree) - before > limit:
                raise BuildError("FetchSourceFailed", f"the source is larger than {limit} bytes")

        async def watch() -> None:
            while True:
                await check()
                await asyncio.sleep(1)  # the disk tells nobody that it fills

        try:
            async with asyncio.TaskGroup() as group:
                watcher = group.create_task(watch())
                yield
                await check()
                watcher.cancel()
        except* BuildError as errors:
            raise errors.exceptions[0] from None


@dataclass(frozen=True, slots=True)
class _Runner:
    """Runs git in one working tree."""

    launcher: Launcher
    tree: Path
    environment: Mapping[str, str]
    log: LogSink

    async def __call__(self, *argv: str) -> Outcome:
        return await self.launcher.run(
            Command(("git", *argv), self.environment, self.tree), self.log
        )


def _candidates(ref: str) -> list[str]:
    return [f"refs/heads/{ref}", f"refs/tags/{ref}"]


def _ssh_command(folder: BuildFolder, source: GitSource) -> str:
    """Return a command without spaces in its words: git splits it as a shell would."""
    private_key = source.ssh_private_key
    known = folder.path / "known_hosts"
    folder.write("known_hosts", source.ssh_known_hosts.rstrip("\n") + "\n")
    checking = "yes" if source.ssh_known_hosts else "accept-new"
    options = f"-F none -o BatchMode=yes -o StrictHostKeyChecking={checking}"
    command = f"ssh {options} -o UserKnownHostsFile='{known}'"
    if not private_key:
        return command
    key = folder.write("ssh-key", private_key.rstrip("\n") + "\n")
    return f"{command} -o IdentitiesOnly=yes -i '{key}'"


def _has_submodules(tree: Path) -> bool:
    return os.path.lexists(tree / ".gitmodules")


def _secrets(source: GitSource) -> list[str]:
    found = [source.password, source.ssh_private_key]
    found += [
        urlsplit(proxy).password or "" for proxy in (source.proxies.http, source.proxies.https)
    ]
    if source.password:
        found.append(basic_auth(source.username, source.password))
    return [secret for secret in found if secret]


def _without_login(source: GitSource) -> GitSource:
    """Take user and password out of an http address: arguments of a process are public."""
    try:
        parts = urlsplit(source.uri)
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError as error:
        raise BuildError("FetchSourceFailed", f"not a git address: {error}") from error
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return source
    netloc = parts.netloc.rpartition("@")[2]
    return replace(
        source,
        uri=urlunsplit(parts._replace(netloc=netloc)),
        username=source.username or username,
        password=source.password or password,
    )


def _masked(text: str, source: GitSource) -> str:
    return Redaction(lambda _: None, _secrets(source)).mask(text)


def _fetch_error(source: GitSource, outcome: Outcome) -> BuildError:
    if "terminal prompts disabled" in outcome.tail:
        why = "Authentication failed: it needs a login, or refused the one given"
        return BuildError("FetchSourceFailed", f"Failed to fetch {source.uri}: {why}")
    text = _masked(outcome.tail, source)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    signs = ("fatal:", "remote:", "ERROR")
    at = next((n for n, line in enumerate(lines) if line.startswith(signs)), len(lines) - 1)
    # Some of git's last words say only that something went wrong: what did stands before.
    found = (
        lines[max(at - 1, 0) : at + 1]
        if _VAGUE.search(lines[at] if lines else "")
        else lines[at:][:1]
    )
    return BuildError(
        "FetchSourceFailed",
        f"Failed to fetch the input source {source.uri}: "
        + (" ".join(found) or f"exit status {outcome.code}"),
        retryable=_TRANSIENT.search(text) is not None,
    )
