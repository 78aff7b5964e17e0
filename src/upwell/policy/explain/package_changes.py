"""Packages that differ between two images."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class PackageChange:
    """A package that differs between two images; a version is empty where it is absent."""

    name: str
    old: str
    new: str

    def __str__(self) -> str:
        if not self.old:
            return f"{self.name} {self.new} added"
        if not self.new:
            return f"{self.name} {self.old} removed"
        return f"{self.name} {self.old} -> {self.new}"


def package_changes(
    old: Iterable[Mapping[str, Any]], new: Iterable[Mapping[str, Any]]
) -> list[PackageChange]:
    """Compare two lists of `{"name", "version", "architecture"}`; equal versions are left out.

    A name that several architectures have carries its architecture.
    """
    before, after = _versions(old), _versions(new)
    both = before.keys() | after.keys()
    names = Counter(name for name, _ in both)
    return sorted(
        PackageChange(
            f"{name}:{architecture}" if names[name] > 1 else name,
            before.get((name, architecture), ""),
            after.get((name, architecture), ""),
        )
        for name, architecture in both
        if before.get((name, architecture)) != after.get((name, architecture))
    )


def _versions(packages: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], str]:
    """Return versions by name and architecture."""
    return {
        (str(package.get("name", "")), str(package.get("architecture", ""))): str(
            package.get("version", "")
        )
        for package in packages
    }
