"""Access of git to a repository: hardened, with the login, and no secret where others see it."""

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from upwell.api.write_only.fields import secrets_in, without_credentials
from upwell.git.interface import GitError, GitSource
from upwell.git.network import GitNetwork
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import ProcessResult
from upwell.machine.redaction import Redaction, basic_auth

_SCP = re.compile(r"[A-Za-z0-9_.-]+@[A-Za-z0-9.-]+:[^-].*")
_SCHEMES = frozenset({"https", "http", "ssh", "git"})
_TRANSIENT = re.compile(
    r"could not resolve host|timed out|connection (refused|reset|timed)|"
    r"early eof|hung up|error: (5\d\d|429)|failed to connect|no space left on device|"
    r"name resolution|network is unreachable|no route to host|remote error: internal",
    re.IGNORECASE,
)
_VAGUE = re.compile(r"could not read from remote|fsck error in packed", re.IGNORECASE)
_MAX_LOGIN_BYTES = 64 * 1024
"""No variable of a process holds more than twice as much, and no git host takes more."""

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
    "maintenance.auto": "false",
    "fetch.unpackLimit": "1",
}


def access(
    base: Mapping[str, str],
    folder: PrivateFolder,
    source: GitSource,
    *,
    allow_local: bool,
    network: GitNetwork | None = None,
) -> dict[str, str]:
    """Return the environment of git: `base`, hardened, with the source's login and network."""
    settings = dict(_HARDENING)
    connect: Path | None = None
    settings["protocol.file.allow"] = "always" if allow_local else "never"
    if source.password and urlsplit(source.uri).scheme in {"http", "https"}:
        parts = urlsplit(source.uri)
        origin = urlunsplit((parts.scheme, parts.netloc, "/", "", ""))
        header = f"Authorization: Basic {basic_auth(source.username, source.password)}"
        settings[f"http.{origin}.extraHeader"] = header
    if source.ca_certificate:
        settings["http.sslCAInfo"] = str(folder.write("git-ca.pem", source.ca_certificate))
    if network is not None:
        connect = network.command(folder)
        settings["http.proxy"] = network.proxy
        settings["core.gitProxy"] = str(connect)
    environment = {
        **base,
        **(dict(source.proxies.variables()) if network is None else network.variables()),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_CONFIG_COUNT": str(len(settings)),
        "GIT_SSH_COMMAND": _ssh_command(folder, source, connect),
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    for index, (key, value) in enumerate(settings.items()):
        environment[f"GIT_CONFIG_KEY_{index}"] = key
        environment[f"GIT_CONFIG_VALUE_{index}"] = value
    return environment


def check_address(uri: str, *, allow_local: bool) -> None:
    """Refuse what git would take as an option, a command or another machine's file."""
    scheme = urlsplit(uri).scheme if "://" in uri else ""
    local = scheme == "file" or uri.startswith("/")
    if local and not allow_local:
        raise GitError(f"{without_credentials(uri)!r}: local repositories are not allowed")
    if not (local or scheme in _SCHEMES or (not scheme and _SCP.fullmatch(uri))):
        shown = without_credentials(uri)
        raise GitError(f"{shown!r} is not a git address (https, http, ssh, git or user@host:path)")


def check_login(source: GitSource) -> None:
    """Refuse a password or key that is none: all that git prints is searched for it."""
    size = len(source.password) + len(source.ssh_private_key)
    if size > _MAX_LOGIN_BYTES:
        raise GitError(
            f"the login for {source.shown_uri} has {size} bytes, more than {_MAX_LOGIN_BYTES}:"
            " look at the keys password and ssh-privatekey of its source Secret"
        )


def secrets(source: GitSource) -> list[str]:
    """Return what git must not print."""
    found = [source.password, source.ssh_private_key]
    for url in (source.uri, source.proxies.http, source.proxies.https):
        found += secrets_in(url)
    if source.password:
        found.append(basic_auth(source.username, source.password))
    return [secret for secret in found if secret]


def without_login(source: GitSource) -> GitSource:
    """Take user and password out of an http address: arguments of a process are public."""
    try:
        parts = urlsplit(source.uri)
        username, password = unquote(parts.username or ""), unquote(parts.password or "")
    except ValueError as error:
        raise GitError(f"not a git address: {error}") from error
    if parts.scheme not in {"http", "https"} or "@" not in parts.netloc:
        return source
    netloc = parts.netloc.rpartition("@")[2]
    return replace(
        source,
        uri=urlunsplit(parts._replace(netloc=netloc)),
        username=source.username or username,
        password=source.password or password,
    )


def masked(text: str, source: GitSource) -> str:
    """Return what git has printed, without secrets."""
    return Redaction(lambda _: None, secrets(source)).mask(text)


def fault(source: GitSource, outcome: ProcessResult) -> tuple[str, bool]:
    """Say why git failed, without secrets, and whether that may pass."""
    if "terminal prompts disabled" in outcome.tail:
        return "Authentication failed: it needs a login, or refused the one given", False
    text = masked(outcome.tail, source)
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    signs = ("fatal:", "remote:", "ERROR")
    at = next((n for n, line in enumerate(lines) if line.startswith(signs)), len(lines) - 1)
    # Some of git's last words say only that something went wrong: what did stands before.
    found = (
        lines[max(at - 1, 0) : at + 1]
        if _VAGUE.search(lines[at] if lines else "")
        else lines[at:][:1]
    )
    if found and found[-1].endswith(":"):
        found = [*found, *lines[at + 1 : at + 2]]
    why = " ".join(found) or f"exit status {outcome.code}"
    was_killed = outcome.code < 0
    return why, was_killed or _TRANSIENT.search(text) is not None


def _ssh_command(folder: PrivateFolder, source: GitSource, connect: Path | None) -> str:
    """Return a command without spaces in its words: git splits it as a shell would."""
    private_key = source.ssh_private_key
    known = folder.path / "known_hosts"
    folder.write("known_hosts", source.ssh_known_hosts.rstrip("\n") + "\n")
    checking = "yes" if source.ssh_known_hosts else "accept-new"
    options = f"-F none -o BatchMode=yes -o StrictHostKeyChecking={checking}"
    command = f"ssh {options} -o UserKnownHostsFile='{known}'"
    if connect is not None:
        command += f" -o ProxyCommand='{connect} %h %p'"
    if not private_key:
        return command
    key = folder.write("ssh-key", private_key.rstrip("\n") + "\n")
    return f"{command} -o IdentitiesOnly=yes -i '{key}'"
