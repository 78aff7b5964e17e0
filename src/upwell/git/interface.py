"""Sources in git: an address with a login, a commit, and what a fetch may take."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

from upwell.api.write_only.fields import without_credentials


class GitError(Exception):
    """A repository cannot be reached or used; the message holds no secret."""

    def __init__(self, message: str, *, retryable: bool = False) -> None:
        super().__init__(message)
        self.retryable = retryable


@dataclass(frozen=True, slots=True)
class GitLimits:
    """Limits of one fetch."""

    seconds: float = 600.0
    tree_bytes: int = 4 * 1024**3
    cache_bytes: int = 8 * 1024**3
    """Of all mirrors together."""


@dataclass(frozen=True, slots=True)
class Proxies:
    """HTTP proxies, as build/v1 has them; empty: none."""

    http: str = field(default="", repr=False)
    """May hold a password, as the next one."""
    https: str = field(default="", repr=False)
    no_proxy: str = ""

    def variables(self) -> Iterator[tuple[str, str]]:
        """Yield the environment variables that tools read, in both spellings."""
        for name, value in (
            ("HTTP_PROXY", self.http),
            ("HTTPS_PROXY", self.https),
            ("NO_PROXY", self.no_proxy),
        ):
            if value:
                yield name, value
                yield name.lower(), value


@dataclass(frozen=True, slots=True)
class GitSource:
    """A git repository at a ref (branch, tag or commit; empty: the remote's HEAD)."""

    uri: str
    ref: str = ""
    context_dir: str = ""
    username: str = ""
    password: str = field(default="", repr=False)
    ssh_private_key: str = field(default="", repr=False)
    ssh_known_hosts: str = ""
    """Lines of known_hosts; without them the first key that a host shows is trusted."""
    ca_certificate: str = ""
    """PEM, in place of the machine's own authorities (`ca.crt` of a source secret)."""
    proxies: Proxies = Proxies()
    submodules: bool = True

    @property
    def shown_uri(self) -> str:
        """The address as logs and messages name it: without credentials."""
        return without_credentials(self.uri)

    def with_login(self, secret: Mapping[str, bytes]) -> "GitSource":
        """Return the source with what a source Secret holds."""
        text = {key: value.decode(errors="replace") for key, value in secret.items()}
        return replace(
            self,
            username=text.get("username", ""),
            password=text.get("password", ""),
            ssh_private_key=text.get("ssh-privatekey", ""),
            ssh_known_hosts=text.get("known_hosts", ""),
            ca_certificate=text.get("ca.crt", ""),
        )


@dataclass(frozen=True, slots=True)
class CommitInfo:
    """The commit that a source tree was taken from."""

    commit: str
    author_name: str = ""
    author_email: str = ""
    committer_name: str = ""
    committer_email: str = ""
    date: str = ""
    message: str = ""


class CommitLookup(Protocol):
    """Commits that refs of repositories name now."""

    async def commit_of(self, source: GitSource) -> str:
        """Return the commit that the source's ref names; raises GitError."""
        ...
