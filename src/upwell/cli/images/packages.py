"""Packages of images, from the server, and their differences."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from upwell.api.image import Image
from upwell.policy.explain.package_changes import PackageChange, package_changes
from upwell.store.interface import ApiClient, StoreError


@dataclass(frozen=True, slots=True)
class UnknownPackages:
    """Reason for which two images cannot be compared."""

    why: str


type PackageChanges = Sequence[PackageChange] | UnknownPackages


async def compared_packages(client: ApiClient, old: str, new: str) -> PackageChanges:
    """Return the package differences of two images, by their digests."""
    before, after = [await _packages(client, digest) for digest in (old, new)]
    if isinstance(before, UnknownPackages):
        return before
    return after if isinstance(after, UnknownPackages) else package_changes(before, after)


async def _packages(
    client: ApiClient, digest: str
) -> Sequence[Mapping[str, Any]] | UnknownPackages:
    """Return an image's packages, or why the server does not know them."""
    try:
        answer = await client.call("GET", Image, "", digest, "packages")
    except StoreError:
        return UnknownPackages("those of an image are unknown")
    packages = answer.get("packages")
    if isinstance(packages, list) and packages:
        return packages
    if why := answer.get("unknown"):
        return UnknownPackages(f"those of {digest} are unknown: {why}")
    return UnknownPackages("those of an image are unknown")


def package_lines(changes: PackageChanges, limit: int | None) -> Iterator[str]:
    """Yield the changes as text, `limit` of them at most."""
    if isinstance(changes, UnknownPackages):
        yield f"cannot compare packages: {changes.why}"
        return
    if not changes:
        yield "no package changed"
    yield from map(str, changes[:limit])
    if limit is not None and len(changes) > limit:
        yield f"and {len(changes) - limit} more packages (--packages=all)"


def package_data(changes: PackageChanges | None) -> list[dict[str, str]] | None:
    """Return the changes as JSON data; null where packages are unknown."""
    if changes is None or isinstance(changes, UnknownPackages):
        return None
    return [{"name": change.name, "old": change.old, "new": change.new} for change in changes]
