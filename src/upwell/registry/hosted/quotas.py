"""Rules of quotas: whose content is, what it counts as, and what is more than there may be.

Everything counts in blocks of a disk, so that many small ones are not for nothing.
"""

from upwell.registry.hosting import QuotaExceededError, StorageQuota, TooManyUploadsError

BLOCK = 4096
"""Bytes of a block: the least that a file takes."""
NAMESPACE_UPLOADS, CLIENT_UPLOADS = 2000, 500
"""The most uploads of clients that are open in one namespace, and of one client."""


def charge(size: int) -> int:
    """Return the bytes that content of `size` bytes counts as."""
    return max(1, -(-size // BLOCK)) * BLOCK


def namespace_of(repository: str) -> str:
    """Return the namespace that has a repository."""
    return repository.partition("/")[0]


def require_quota(quota: StorageQuota, repository: str, used: int, more: int) -> None:
    """Raise QuotaExceededError if `more` bytes, as they count, are more than there may be."""
    if more > 0 and used + more > quota.size:
        raise QuotaExceededError(repository, quota, used, more)


def require_another_upload(namespace: str, owner: str, in_namespace: int, of_owner: int) -> None:
    """Raise TooManyUploadsError if a client has, or a namespace, as many open as there may be."""
    if in_namespace >= NAMESPACE_UPLOADS:
        raise TooManyUploadsError(f"namespace {namespace}", NAMESPACE_UPLOADS)
    if of_owner >= CLIENT_UPLOADS:
        raise TooManyUploadsError(f"client {owner}", CLIENT_UPLOADS)
