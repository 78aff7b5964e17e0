"""Findings about what an image has made of its base's files: copies, and what tools derive."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from upwell.inventory.interface import EntryKind
from upwell.policy.rebase.comparison import BaseUpdate
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding

_COMPILED = re.compile(r"(?P<folder>.*/|)(?P<name>[^/]+?)(?:\.[a-z]+-\d+(?:\.opt-\d)?)?\.pyc")
"""Bytecode of Python, in its place or below the folder of PYTHONPYCACHEPREFIX (PEP 3147)."""
_LIBRARY = re.compile(r".*/[^/]+\.so(?:\.[^/]+)?")
_LIBRARY_CACHE = re.compile(r"etc/ld\.so\.cache")
_UNPACKED = re.compile(r"(?:.*/)?([^/-]+-[^/]+)\.dist-info/[^/]+")
"""A file that a wheel's distribution has when it is installed (PEP 376)."""
_MADE_OF = (
    (
        re.compile(r"etc/(?:ssl|pki)/(?!(?:tls/)?(?:private/|openssl\.cnf$)|rpm-gpg/).*"),
        re.compile(r"usr/(?:local/)?share/(?:ca-certificates|pki)/"),
    ),
    (re.compile(r"usr/lib/locale/.*"), re.compile(r"usr/share/i18n/")),
    (re.compile(r"var/cache/fontconfig/.*"), re.compile(r"usr/share/fonts/")),
    (re.compile(r"usr/share/mime/mime\.cache"), re.compile(r"usr/share/mime/packages/")),
    (re.compile(r".*/loaders\.cache"), re.compile(r".*/gdk-pixbuf-2\.0/")),
    (re.compile(r".*/giomodule\.cache"), re.compile(r".*/gio/modules/")),
    (re.compile(r".*/gconv-modules\.cache"), re.compile(r".*/gconv/")),
    (re.compile(r".*/gschemas\.compiled"), re.compile(r".*/glib-2\.0/schemas/")),
    (re.compile(r".*/icon-theme\.cache"), re.compile(r"usr/(?:local/)?share/icons/")),
    (re.compile(r"var/cache/man/.*"), re.compile(r"usr/(?:local/)?share/man/")),
    (re.compile(r"etc/pam\.d/common-.*"), re.compile(r"usr/share/pam-configs/")),
    (re.compile(r".*\.jsa"), re.compile(r".*/lib/modules$")),
)
"""Files -> those of which tools make them: update-ca-certificates(8), localedef(1), java(1) with
`-Xshare:dump`, and the like."""
_LEAST_COPIED = 2
"""Files of a folder: who has copied one alone has not copied the folder."""


def copy_findings(update: BaseUpdate) -> Iterator[RebaseFinding]:
    """Yield what a build would make of other files of its base."""
    found: dict[str, list[str]] = defaultdict(list)
    origins = _Origins(update)
    for path in update.own.entries:
        if why := origins.why(path):
            found[why].append(path)
    for folder in _copied_folders(update):
        found["it is a copy of a folder to which the base update adds"].append(folder)
    for why, paths in found.items():
        yield RebaseFinding(RebaseFault.BASE_COPY, why, tuple(sorted(paths)))


@dataclass
class _Origins:
    """Origins of the files of an image, as far as the base update changes these."""

    update: BaseUpdate

    def why(self, path: str) -> str:
        """Say of what a file was made; empty: of nothing that changes."""
        entry, bases = self.update.own.entries[path], self.update.bases
        if entry.kind is EntryKind.FILE and entry.content in bases.outdated:
            return "it is a copy of what the base update replaces"
        if any(script in bases.changed for script in _scripts(path)):
            return "it was compiled of what the base update replaces"
        unpacked = _UNPACKED.fullmatch(path)
        if unpacked is not None and unpacked[1] in bases.wheels:
            return "it was unpacked of a wheel that the base update replaces"
        for made, source in self._derived:
            if entry.kind is not EntryKind.DIRECTORY and made.fullmatch(path):
                return f"it was made of what the base update changes (/{source})"
        return ""

    @cached_property
    def _derived(self) -> list[tuple[re.Pattern[str], str]]:
        """Return which files are made of what changes, with one of these."""
        found = []
        for made, source in _MADE_OF:
            changed = min(filter(source.match, self.update.changed), default=None)
            if changed is not None:
                found.append((made, changed))
        if library := min(self._libraries_elsewhere(), default=""):
            found.append((_LIBRARY_CACHE, library))
        return found

    def _libraries_elsewhere(self) -> Iterator[str]:
        """Yield the shared libraries that come, go or lead elsewhere: ldconfig(8) lists names."""
        old, new = self.update.old.entries, self.update.new.entries
        for path in filter(_LIBRARY.fullmatch, self.update.changed):
            before, after = old.get(path), new.get(path)
            if before is None or after is None or before.is_link or after.is_link:
                yield path


def _scripts(path: str) -> Iterator[str]:
    """Yield of which sources a file of bytecode may have been compiled."""
    compiled = _COMPILED.fullmatch(path)
    if compiled is None:
        return
    folders = compiled["folder"].replace("__pycache__/", "").split("/")[:-1]
    for at in range(len(folders) + 1):
        yield "/".join((*folders[at:], f"{compiled['name']}.py"))


def _copied_folders(update: BaseUpdate) -> Iterator[str]:
    """Yield folders of the image with all files of one of the base, to which the new base adds.

    As `cp -r` and `COPY --from` do: a build would copy the rest, too.
    """
    copies: dict[tuple[str, str], set[str]] = defaultdict(set)
    for path, entry in update.own.entries.items():
        if entry.kind is EntryKind.FILE and entry.size:
            folder, _, name = path.rpartition("/")
            copies[name, entry.content].add(folder)
    for folder, paths in update.bases.added_to.items():
        entries = {path: update.old.entries[path] for path in paths}
        named = [
            (path.rpartition("/")[2], entry.content)
            for path, entry in entries.items()
            if entry.kind is EntryKind.FILE and entry.size
        ]
        if len(named) >= _LEAST_COPIED and all(one in copies for one in named):
            yield from set.intersection(*(copies[one] for one in named)) - {folder}
