"""Packages of images, from the server, and their differences."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from upwell.api.image import Image
from upwell.policy.explain.changes import PackageChange, package_changes
from upwell.store.interface import ApiClient, StoreError

type PackageChanges = Sequence[PackageChange] | None
"""Differences; None if the packages of one of the images are unknown."""


async def compared_packages(client: ApiClient, old: str, new: str) -> PackageChanges:
    """Return the package differences of two images, by their digests."""
    before, after = [await _packages(client, digest) for digest in (old, new)]
    return package_changes(before, after) if before and after else None


async def _packages(client: ApiClient, digest: str) -> Sequence[Mapping[str, Any]]:
    """Return an image's packages; empty while or when the server does not know them."""
    try:
        answer = await client.call("GET", Image, "", digest, "packages")
    except StoreError:
        return []
    packages = answer.get("packages")
    return packages if isinstance(packages, list) else []


def package_lines(changes: PackageChanges, limit: int | None) -> Iterator[str]:
    """Yield the changes as text, `limit` of them at most."""
    if changes is None:
        yield "cannot compare packages: those of an image are unknown"
        return
    if not changes:
        yield "no package changed"
    yield from map(str, changes[:limit])
    if limit is not None and len(changes) > limit:
        yield f"and {len(changes) - limit} more packages (--packages=all)"


def package_data(changes: PackageChanges) -> list[dict[str, str]] | None:
    """Return the changes as JSON data; null where packages are unknown."""
    if changes is None:
        return None
    return [{"name": change.name, "old": change.old, "new": change.new} for change in changes]
