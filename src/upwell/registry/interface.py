"""The registry port: what reconcilers ask of any registry, remote or embedded."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Protocol

from upwell.oci import Descriptor, Digest, Index, Manifest, Reference


@dataclass(frozen=True, slots=True)
class Credential:
    """A login at a registry; `identity_token` is an OAuth2 refresh token instead of a password."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)


class CredentialSource(Protocol):
    """Finds the credential for a repository: an auth file, a credential helper, a Secret."""

    async def find(self, registry: str, repository: str) -> Credential | None:
        """Return the most specific credential for `registry/repository`, or None for anonymous."""
        ...


@dataclass(frozen=True, slots=True)
class RequestAccess:
    """Access of one request: who asks, how soon, and whether TLS may be skipped there."""

    credentials: CredentialSource | None = None
    insecure: bool = False
    behind_mirrors: bool = False
    """Ask the source of a tag that its mirrors, which may have an older one, were asked for before.

    Where it has none, nothing is asked: ManifestUnknownError."""
    urgent: bool = False
    """Ask before others that wait for their turn at the registry: somebody has told of a change."""


DEFAULT_ACCESS = RequestAccess()


def always() -> None:
    """Allow every write: where nobody is deposed, nobody has to be asked."""


class Registry(Protocol):
    """Manifests and blobs by name. Every method raises a RegistryError; none of them retries."""

    async def resolve(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Descriptor:
        """Return media type, digest and size of what `reference` names now, with one HEAD.

        Where the registry leaves Docker-Content-Digest out, falls back to one GET and hashes.
        """
        ...

    async def manifest(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Manifest | Index:
        """Fetch a manifest or index; its digest is verified before anything decodes it."""
        ...

    async def blob(
        self,
        reference: Reference,
        digest: Digest,
        limit: int,
        access: RequestAccess = DEFAULT_ACCESS,
    ) -> bytes:
        """Fetch and verify a small blob (an image configuration) of at most `limit` bytes."""
        ...

    def open_blob(
        self, reference: Reference, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Stream a blob; the iterator raises DigestMismatchError at the end when it was wrong."""
        ...

    async def logins(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> tuple[Credential, ...]:
        """Return the logins that may be sent to whatever is asked for `reference`, mirrors too.

        Empty: it is given to everybody who asks there.
        """
        ...

    async def tags(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[str]:
        """List every tag of a repository, following pagination."""
        ...

    async def referrers_of(
        self, reference: Reference, access: RequestAccess = DEFAULT_ACCESS
    ) -> Sequence[Descriptor]:
        """List the manifests whose subject is the digest of `reference`; none is no error.

        What a registry without that API keeps under the tag `ALGORITHM-HEX` counts as well
        (distribution-spec, Listing Referrers).
        """
        ...


@dataclass(frozen=True, slots=True)
class PushEvent:
    """A tag of the internal registry was set and is durable; a hint to read the tags again."""

    repository: str
    tag: str
    digest: Digest
    media_type: str
    actor: str


type PushListener = Callable[[PushEvent], None]
"""Called on the event loop; must neither block nor raise (put the event into a queue)."""


class InternalRegistry(Registry, Protocol):
    """The registry that builds push to: its tags are ours to set.

    Repositories are named `namespace/stream`, without the prefix. One of this process asks for no
    login.
    """

    @property
    def prefix(self) -> str:
        """The `HOST[:PORT][/PATH]` that references to its images begin with."""
        ...

    def subscribe(self, listener: PushListener) -> None:
        """Call `listener` after each push that the registry tells of.

        One lost in a crash is found by `pushed_tags`.
        """
        ...

    async def pushed_tags(self, repository: str) -> Sequence[tuple[str, Digest]]:
        """List the tags that clients have set, each with what it names; raises RegistryError.

        Nothing where nobody can tell which of two servers has set a tag last: streams know then.
        """
        ...

    async def tag(
        self, repository: str, tag: str, digest: Digest, access: RequestAccess = DEFAULT_ACCESS
    ) -> None:
        """Point `tag` at a manifest of `repository`, atomically; raises ManifestUnknownError."""
        ...

    async def untag(self, repository: str, tag: str) -> None:
        """Remove `tag`, keeping its manifest; raises ManifestUnknownError.

        Where tags cannot be removed, it stays, and counts for nothing.
        """
        ...

    async def tag_digest(
        self, repository: str, tag: str, access: RequestAccess = DEFAULT_ACCESS
    ) -> Digest | None:
        """Return what `tag` points at now, or None."""
        ...


@dataclass(frozen=True, slots=True)
class StoredManifest:
    """A manifest or index in one repository."""

    digest: Digest
    created: datetime
    """UTC; when it was last pushed."""
    size: int = 0
    """Bytes of the document itself."""
    children: frozenset[Digest] = frozenset()
    """The manifests that an index names."""
    subject: Digest | None = None
    """Subject that it refers to, when it is a referrer (a signature, an SBOM)."""
    blobs: Mapping[Digest, int] = field(default_factory=lambda: MappingProxyType({}))
    """Configuration and layers, in bytes."""


@dataclass(frozen=True, slots=True)
class StoredTag:
    """Target of a tag, and the time since which it has it (UTC)."""

    digest: Digest
    created: datetime


@dataclass(frozen=True, slots=True)
class StoredRepository:
    """One repository at one moment."""

    name: str
    tags: Mapping[str, StoredTag]
    manifests: Sequence[StoredManifest]


class PrunableRegistry(Protocol):
    """A registry whose content is pruned. Every method raises a RegistryError.

    A removal checks again, together with pushes, that the content is what the caller has seen. It
    is safe beside them.
    """

    async def survey(self) -> Sequence[StoredRepository]:
        """Return what every repository holds."""
        ...

    async def expire_tag(self, repository: str, tag: str, digest: Digest) -> bool:
        """Remove `tag` if it still names `digest`, keeping its manifest; say whether it did."""
        ...

    async def expire_manifest(self, repository: str, digest: Digest, before: datetime) -> bool:
        """Remove a manifest that no tag and no index names, last pushed before `before`."""
        ...

    async def collect(self, before: datetime) -> None:
        """Remove the blobs that no manifest names and that nobody has used since `before`."""
        ...
