"""Findings about programs: libraries, symbol versions, interpreters and commands of the base.

A library without symbol versions is taken for the same as long as its soname is: that is what a
soname promises.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from upwell.inventory.interface import ElfFacts
from upwell.oci.rebase.merging import commands
from upwell.policy.rebase.comparison import PROGRAM_FOLDERS, BaseUpdate, is_library_folder
from upwell.policy.rebase.findings import RebaseFault, RebaseFinding, cut
from upwell.policy.rebase.layered_files import LayeredFiles

type _Problem = tuple[RebaseFault, str]

_ENV = "/env"
_NGINX = frozenset({"usr/sbin/nginx", "usr/local/nginx/sbin/nginx", "usr/bin/nginx"})
_NGINX_MODULE = re.compile(r"(?:^|/)nginx/(?:[^/]+/)?modules/[^/]+\.so$")
"""Dynamic modules: nginx refuses to start with one that was built for another version."""
_PATHS = re.compile(r"(?:^|(?<=[\s;&|(\"']))/[\w.+/-]+")
_SHOWN = 5
_MAX_NAME = 80


def program_findings(update: BaseUpdate, settings: Mapping[str, Any]) -> Iterator[RebaseFinding]:
    """Yield what programs of the image would miss; `settings` are the merged defaults."""
    found: dict[tuple[RebaseFault, str], list[str]] = defaultdict(list)
    libraries = _Libraries(update)
    for path, facts in update.own.elf.items():
        for problem in _elf_problems(libraries, path, facts):
            found[problem].append(path)
    for path, line in update.own.scripts.items():
        name = _interpreter(line)
        if name and update.loses_program(name):
            found[RebaseFault.MISSING_FILE, f"the new base has no {name}, which runs it"].append(
                path
            )
    if modules := [path for path in update.own.elf if _NGINX_MODULE.search(path)]:
        for name in sorted(_NGINX & update.changed):
            why = f"the base update changes /{name}, which loads modules of its very version alone"
            found[RebaseFault.RUNTIME_VERSION, why].extend(modules)
    if update.own.elf and (changed := update.bases.linked_in):
        why = f"it may have been linked with what the base update replaces (/{min(changed)})"
        found[RebaseFault.BASE_COPY, why].extend(update.own.elf)
    for (fault, why), paths in found.items():
        yield RebaseFinding(fault, why, tuple(sorted(paths)))
    yield from _command_findings(update, settings)


def _command_findings(update: BaseUpdate, settings: Mapping[str, Any]) -> Iterator[RebaseFinding]:
    folders = _search_path(settings) or PROGRAM_FOLDERS
    first = {
        words[0]
        for name in ("Entrypoint", "Cmd")
        if (words := list(commands({name: settings.get(name)})))
    }
    for word in dict.fromkeys(commands(settings)):
        is_lost = any(map(update.loses, _paths(word)))
        if is_lost or (word in first and word and update.loses_program(word, folders)):
            why = f"its command names {word}, which the new base has not"
            yield RebaseFinding(RebaseFault.MISSING_FILE, why)


def _paths(word: str) -> list[str]:
    """Return the paths that a word of a command names: of a shell's script, several."""
    return [word] if word.startswith("/") and " " not in word else _PATHS.findall(word)


def _search_path(settings: Mapping[str, Any]) -> list[str]:
    for entry in settings.get("Env") or ():
        name, _, text = str(entry).partition("=")
        if name == "PATH":
            return [folder for folder in text.split(":") if folder.startswith("/")]
    return []


def _interpreter(line: str) -> str:
    """Return the program of a script's first line; of env(1)'s, the one that it looks for."""
    words = line.split()
    if not words:
        return ""
    if not words[0].endswith(_ENV):
        return words[0]
    named = [word for word in words[1:] if not word.startswith("-") and "=" not in word]
    return named[0] if named else words[0]


@dataclass
class _Libraries:
    """Problems of libraries, looked for once for all programs that ask the same of one."""

    update: BaseUpdate
    _known: dict[tuple[str, tuple[str, ...]], tuple[_Problem, ...]] = field(default_factory=dict)

    def problems(self, name: str, versions: tuple[str, ...]) -> tuple[_Problem, ...]:
        key = name, versions
        if key not in self._known:
            self._known[key] = tuple(_library_problems(self.update, name, versions))
        return self._known[key]


def _elf_problems(libraries: _Libraries, path: str, facts: ElfFacts | None) -> Iterator[_Problem]:
    update = libraries.update
    if facts is None:
        yield RebaseFault.UNKNOWN, "the libraries that it needs cannot be read"
        return
    if facts.interpreter and update.loses(facts.interpreter):
        yield (
            RebaseFault.MISSING_LIBRARY,
            f"the new base has no {facts.interpreter}, which loads it",
        )
    for name in dict.fromkeys((*facts.needed, *facts.required)):
        yield from libraries.problems(name, facts.required.get(name, ()))
    folder, _, base = path.rpartition("/")
    for name in {base, facts.soname} - {""}:
        if is_library_folder(folder) and _is_shadow(update, path, name):
            why = f"it comes before the base's {name}, which the base update changes"
            yield RebaseFault.SHADOWED_LIBRARY, why


def _library_problems(
    update: BaseUpdate, name: str, versions: tuple[str, ...]
) -> Iterator[_Problem]:
    if "/" in name:
        if update.loses(name):
            yield RebaseFault.MISSING_LIBRARY, f"the new base has no {name}"
        return
    if any(is_library_folder(path.rpartition("/")[0]) for path in update.own.by_name.get(name, ())):
        return
    before, offered = (each.by_name.get(name, ()) for each in (update.old, update.new))
    update.spend((len(before) + len(offered)) * (1 + len(versions)))
    used = [path for path in before if _missing(update.old, path, versions) in (frozenset(), None)]
    if not used:
        return  # not of the base, or broken already
    there = frozenset(offered)
    kept = [path for path in used if path in there] or [
        path for path in offered if is_library_folder(path.rpartition("/")[0])
    ]
    if not kept:
        yield RebaseFault.MISSING_LIBRARY, f"the new base has no {name}"
        return
    for path in kept:
        missing = _missing(update.new, path, versions)
        if missing:
            names = ", ".join(cut(one, _MAX_NAME) for one in sorted(missing)[:_SHOWN])
            why = f"{name} of the new base has no symbol version {names}"
            yield RebaseFault.MISSING_SYMBOL_VERSION, why
        elif missing is None and _differs(update, path):
            why = f"the symbol versions of the new base's {name} cannot be read"
            yield RebaseFault.UNKNOWN, why


def _missing(files: LayeredFiles, path: str, versions: tuple[str, ...]) -> frozenset[str] | None:
    """Return the versions that a library does not have; None: it cannot be read."""
    if not versions:
        return frozenset()
    found = files.elf.get(files.resolve(path) or "")
    return None if found is None else frozenset(versions) - found.defined


def _differs(update: BaseUpdate, path: str) -> bool:
    real = update.new.resolve(path)
    return real is None or real != update.old.resolve(path) or real in update.changed


def _is_shadow(update: BaseUpdate, path: str, name: str) -> bool:
    before, after = (each.by_name.get(name, ()) for each in (update.old, update.new))
    update.spend(len(before) + len(after))
    others = {*before, *after} - {path}
    return any(
        is_library_folder(other.rpartition("/")[0]) and _differs(update, other) for other in others
    )
