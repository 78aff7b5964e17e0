"""Repositories below a prefix: the registry of a server's images may be a part of another one.

A prefix is `HOST[:PORT][/PATH]`, in the one spelling of `registry_names`.
"""

from upwell.oci.digest import Digest
from upwell.oci.reference import InvalidReferenceError, Reference, is_repository
from upwell.oci.registry_names import canonical_registry


def registry_prefix(text: str) -> str:
    """Return a prefix in its one spelling; raises ValueError for a text that is none."""
    host, slash, path = text.partition("/")
    if slash and not is_repository(path):
        raise ValueError(f"{path!r} is no path of repositories")
    return f"{canonical_registry(host)}{slash}{path}"


def reference_in(
    prefix: str, repository: str, tag: str | None = None, digest: Digest | None = None
) -> Reference:
    """Return the reference to an image of a repository, which is named without the prefix."""
    host, slash, path = prefix.partition("/")
    return Reference(host, f"{path}{slash}{repository}", tag, digest)


def repository_in(image: Reference, prefix: str) -> str | None:
    """Return an image's repository without the prefix; None: it lies elsewhere."""
    below = f"{prefix}/"
    return image.name.removeprefix(below) if prefix and image.name.startswith(below) else None


def named_in(text: str, prefix: str) -> str | None:
    """Return the repository, without the prefix, that a text names; None: elsewhere, or nothing."""
    try:
        return repository_in(Reference.parse(text.strip()), prefix)
    except InvalidReferenceError:
        return None
