"""Findings about what a base is: its distribution, the versions of its runtimes, its users."""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

from upwell.oci.rebase.merging import shown
from upwell.policy.rebase.comparison import PROGRAM_FOLDERS, BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding
from upwell.policy.rebase.layered_files import LayeredFiles

_JAVA = re.compile(r'^JAVA_VERSION="(1\.\d+|\d+)', re.MULTILINE)
_NODE = re.compile(r"^#define NODE_MAJOR_VERSION (\d+)", re.MULTILINE)
_NODE_VARIABLE = "NODE_VERSION"
_PROGRAMS = ("python", "python3", "ruby", "perl", "php", "node", "nodejs", "java")
_DIGITS = re.compile(r"\d+")
_OS_RELEASE = ("etc/os-release", "usr/lib/os-release")
_WHOLE_MAJORS = frozenset({"rhel", "centos", "rocky", "almalinux", "ol", "sles", "debian"})
"""Distributions whose minor versions are updates of the same."""
_TARGET_LABELS = (
    "io.buildpacks.stack.id",
    "io.buildpacks.base.distro.name",
    "io.buildpacks.base.distro.version",
)


def platform_findings(
    update: BaseUpdate,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    merged: Mapping[str, Any],
) -> Iterator[RebaseFinding]:
    """Yield in what the bases are not the same platform; with the defaults of both, and merged."""
    yield from _distribution(update)
    yield from _runtimes(update, old, new)
    yield from _user(update, merged)
    yield from _owners(update)
    before, after = _labels(old), _labels(new)
    for label in _TARGET_LABELS:
        if before.get(label) and before.get(label) != after.get(label):
            why = f"label {label} was {shown(before[label])} and is {shown(after.get(label))}"
            yield RebaseFinding(RebaseFault.DISTRIBUTION, why)


def _distribution(update: BaseUpdate) -> Iterator[RebaseFinding]:
    before, after = _distribution_of(update.old), _distribution_of(update.new)
    if before != after:
        why = f"the old base is {before or 'of no distribution'}, the new {after or 'of none'}"
        yield RebaseFinding(RebaseFault.DISTRIBUTION, why)


def _distribution_of(files: LayeredFiles) -> str:
    for path in _OS_RELEASE:
        text = files.texts.get(files.resolve(path) or "")
        if text is not None:
            pairs = (line.partition("=") for line in text.splitlines())
            fields = {name: value.strip().strip("\"'") for name, _, value in pairs}
            name = fields.get("ID", "linux")
            parts = 1 if name in _WHOLE_MAJORS else 2
            version = ".".join(fields.get("VERSION_ID", "").split(".")[:parts])
            return f"{name} {version}".strip()
    return ""


def _runtimes(
    update: BaseUpdate, old: Mapping[str, Any], new: Mapping[str, Any]
) -> Iterator[RebaseFinding]:
    was_there, is_there = update.bases.runtimes
    before = _versions(update.old, was_there, old)
    after = _versions(update.new, is_there, new)
    for name, versions in sorted(before.items()):
        gone = versions - after.get(name, set())
        if gone:
            there = ", ".join(sorted(after.get(name, ()))) or "none"
            why = f"the old base has {name} {', '.join(sorted(gone))}, the new {there}"
            yield RebaseFinding(RebaseFault.RUNTIME_VERSION, why)
    for program in _PROGRAMS:
        was, now = _program(update.old, program), _program(update.new, program)
        if was and now and _DIGITS.findall(was) != _DIGITS.findall(now):
            why = f"{program} was /{was} and is /{now}"
            yield RebaseFinding(RebaseFault.RUNTIME_VERSION, why)
        elif (
            program in {"node", "java"}
            and was in update.changed
            and not (before.get(_TITLES[program]) and after.get(_TITLES[program]))
        ):
            why = f"the version of {_TITLES[program]} cannot be read"
            yield RebaseFinding(RebaseFault.UNKNOWN, why)


_TITLES = {"node": "Node.js", "java": "Java"}


def _versions(
    files: LayeredFiles, known: Mapping[str, frozenset[str]], settings: Mapping[str, Any]
) -> dict[str, set[str]]:
    """Return the known versions of runtimes, and those that files and variables tell."""
    found: dict[str, set[str]] = defaultdict(set)
    for name, versions in known.items():
        found[name].update(versions)
    for path, text in files.texts.items():
        for name, pattern, ending in (("Java", _JAVA, "release"), ("Node.js", _NODE, ".h")):
            if path.endswith(ending) and (match := pattern.search(text)) is not None:
                found[name].add(match[1])
    for entry in settings.get("Env") or ():
        variable, _, value = str(entry).partition("=")
        if variable == _NODE_VARIABLE and (digits := _DIGITS.match(value.lstrip("v"))) is not None:
            found["Node.js"].add(digits[0])
    return found


def _program(files: LayeredFiles, name: str) -> str:
    """Return the path that a program's name leads to; empty: there is none."""
    paths = (files.resolve(f"{folder}/{name}") for folder in PROGRAM_FOLDERS)
    return next((path for path in paths if path), "")


def _user(update: BaseUpdate, merged: Mapping[str, Any]) -> Iterator[RebaseFinding]:
    user, _, group = str(merged.get("User") or "").partition(":")
    for path, name in (("etc/passwd", user), ("etc/group", group)):
        if not name or name.isdecimal() or path in update.own.entries:
            continue
        was, now = (_ids(files.texts.get(path), name) for files in (update.old, update.new))
        if was != now:
            why = f"{name} is {was or 'missing'} in the old base, {now or 'missing'} in the new"
            yield RebaseFinding(RebaseFault.USER, why)


def _owners(update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield names whose id is another in the new base: files of the image may be theirs by name."""
    for path, what in (("etc/passwd", "user"), ("etc/group", "group")):
        was, now = (_ids_by_name(files.texts.get(path)) for files in (update.old, update.new))
        moved = {number: name for name, number in was.items() if now.get(name) != number}
        owned: dict[str, list[str]] = defaultdict(list)
        for own, entry in update.own.entries.items() if moved else ():
            number = str(entry.uid if what == "user" else entry.gid)
            if number in moved:
                owned[number].append(own)
        for number, paths in owned.items():
            there = now.get(moved[number], "missing")
            why = f"files of {what} {moved[number]}, {number} in the old base, {there} in the new"
            yield RebaseFinding(RebaseFault.USER, why, tuple(sorted(paths)))


def _ids_by_name(text: str | None) -> Mapping[str, str]:
    """Return the ids of users or groups (passwd(5), group(5)): both have them third."""
    rows = (line.split(":") for line in (text or "").splitlines())
    return {fields[0]: fields[2] for fields in rows if len(fields) > 3}  # noqa: PLR2004


def _ids(text: str | None, name: str) -> str:
    """Return the ids of a user and their home (passwd(5)), or that of a group (group(5))."""
    for line in (text or "").splitlines():
        fields = line.split(":")
        if fields[0] == name:
            own = [*fields[2:4], *fields[5:6]] if len(fields) > 4 else fields[2:3]  # noqa: PLR2004
            return ":".join(own)
    return ""


def _labels(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    labels = settings.get("Labels")
    return labels if isinstance(labels, dict) else {}
