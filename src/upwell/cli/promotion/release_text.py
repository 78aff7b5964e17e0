"""Text and data on a Release, and on the difference between two; pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from upwell.api.builds.build import BUILD_CONFIG_LABEL, Build
from upwell.api.promotion import Component, Promotion, Release
from upwell.api.values.commits import short_commit
from upwell.cli.core.output import MISSING, aligned, format_age, full_name
from upwell.cli.images.packages import PackageChanges, package_data, package_lines
from upwell.cli.promotion.requests import order_of
from upwell.policy.builds.run_policy import number_of
from upwell.policy.builds.triggers import digest_of
from upwell.policy.explain.freshness import short


@dataclass(frozen=True, slots=True)
class ReleasedCommit:
    """Commit that was built between two Releases."""

    revision: str
    subject: str = ""
    author: str = ""

    def __str__(self) -> str:
        author = f" ({self.author})" if self.author else ""
        return f"{short_commit(self.revision)} {self.subject}{author}".rstrip()


type Commits = Mapping[str, Sequence[ReleasedCommit]]
"""Commits by component, the oldest first."""


def release_lines(
    release: Release, promotions: Sequence[Promotion], now: datetime
) -> Iterator[str]:
    """Yield the description of a Release."""
    status = release.status
    head = [
        ("Release:", release.name),
        ("Pipeline:", release.spec.pipeline),
        ("Age:", format_age(release.metadata.creation_timestamp, now)),
        ("Cause:", release.spec.cause or MISSING),
        ("Phase:", f"{status.phase}{f': {status.message}' if status.message else ''}"),
    ]
    if status.rejection is not None:
        by = f" by {status.rejection.by}" if status.rejection.by else ""
        where = f" in {status.rejection.stage}" if status.rejection.stage else ""
        head.append(("Rejected:", f"{status.rejection.reason}{where}{by}"))
    yield from aligned(head)
    rows = [("COMPONENT", "IMAGE", "BUILD", "COMMIT", "BASES")]
    rows += [
        (
            one.name,
            short(one.image),
            one.build or "from outside",
            short_commit(one.revision) or MISSING,
            ",".join(f"{base.image}@{short(base.digest)}" for base in one.bases) or MISSING,
        )
        for one in release.spec.components
    ]
    yield from _table("Components", rows)
    promotion_rows = [("STAGE", "PROMOTION", "PHASE", "STARTED", "BY", "CHECKS", "MESSAGE")]
    promotion_rows += [
        (
            one.spec.stage,
            one.name,
            one.status.phase.value,
            format_age(one.status.started, now),
            one.spec.requested_by or "upwell",
            ",".join(f"{check.name}={check.phase}" for check in one.status.checks) or MISSING,
            one.status.message or MISSING,
        )
        for one in sorted(promotions, key=order_of)
    ]
    yield from _table("Promotions", promotion_rows)


def commits_between(old: Release, new: Release, builds: Sequence[Build]) -> Commits:
    """Return the commits that were built after `old` up to `new`, for each component."""
    before = {one.name: one for one in old.spec.components}
    found: dict[str, Sequence[ReleasedCommit]] = {}
    for component in new.spec.components:
        earlier = before.get(component.name)
        if earlier is None or earlier.revision == component.revision:
            continue
        known = {f"{one.namespace}/{one.name}": one for one in builds}
        first, last = known.get(earlier.build), known.get(component.build)
        commits = {component.revision: ReleasedCommit(component.revision)}
        if last is not None:
            between = [one for one in builds if _lies_between(one, first, last)]
            commits = {one.revision: one for one in map(_commit, between) if one.revision}
        commits.pop(earlier.revision, None)
        found[component.name] = tuple(commits.values())
    return found


def diff_lines(
    old: Release, new: Release, packages: Mapping[str, PackageChanges], commits: Commits
) -> Iterator[str]:
    """Yield the differences between two Releases."""
    yield f"{full_name(old)} -> {full_name(new)}"
    before = {one.name: one for one in old.spec.components}
    after = {one.name: one for one in new.spec.components}
    for name, component in after.items():
        earlier = before.get(name)
        if earlier is None:
            yield f"  {name}: new, {short(component.image)}"
            continue
        if digest_of(earlier.image) == digest_of(component.image):
            yield f"  {name}: the same, {short(component.image)}"
            continue
        yield f"  {name}: {short(earlier.image)} -> {short(component.image)}"
        yield from (f"    {line}" for line in _base_lines(earlier, component))
        for commit in commits.get(name, ()):
            yield f"    commit {commit}"
        if component.revision and earlier.revision == component.revision:
            yield f"    the same source ({short_commit(component.revision)})"
        if name in packages:
            yield from (f"    {line}" for line in package_lines(packages[name], None))
    yield from (f"  {name}: removed" for name in before if name not in after)


def diff_data(
    old: Release, new: Release, packages: Mapping[str, PackageChanges], commits: Commits
) -> dict[str, Any]:
    """Return the differences as JSON data."""
    before = {one.name: one for one in old.spec.components}
    after = {one.name: one for one in new.spec.components}
    return {
        "old": old.name,
        "new": new.name,
        "components": [
            {
                "name": name,
                "old": before[name].image if name in before else None,
                "new": after[name].image if name in after else None,
                "oldRevision": (before[name].revision or None) if name in before else None,
                "newRevision": (after[name].revision or None) if name in after else None,
                "bases": _bases(before.get(name), after.get(name)),
                "commits": [
                    {"revision": one.revision, "subject": one.subject, "author": one.author}
                    for one in commits.get(name, ())
                ],
                "packages": package_data(packages.get(name)),
            }
            for name in dict.fromkeys([*after, *before])
        ],
    }


def _table(title: str, rows: Sequence[Sequence[str]]) -> Iterator[str]:
    if len(rows) > 1:
        yield ""
        yield f"{title}:"
        yield from (f"  {line}" for line in aligned(rows))


def _base_lines(old: Component, new: Component) -> Iterator[str]:
    for base in _bases(old, new):
        if base["old"] != base["new"]:
            was = short(base["old"]) if base["old"] else "nothing"
            now = short(base["new"]) if base["new"] else "nothing"
            yield f"base {base['image']}: {was} -> {now}"


def _bases(old: Component | None, new: Component | None) -> list[dict[str, str]]:
    """Return each base image's digest before and after; empty where it is none."""
    before = {base.image: base.digest for base in (old.bases if old is not None else ())}
    after = {base.image: base.digest for base in (new.bases if new is not None else ())}
    return [
        {"image": image, "old": before.get(image, ""), "new": after.get(image, "")}
        for image in dict.fromkeys([*after, *before])
    ]


def _lies_between(build: Build, first: Build | None, last: Build) -> bool:
    same = (build.namespace, build.labels.get(BUILD_CONFIG_LABEL)) == (
        last.namespace,
        last.labels.get(BUILD_CONFIG_LABEL),
    )
    if first is None:
        return build.key == last.key
    return same and number_of(first) < number_of(build) <= number_of(last)


def _commit(build: Build) -> ReleasedCommit:
    revision = build.revision
    return ReleasedCommit(revision.commit, revision.subject, revision.git.author.name)
