"""Versions of language runtimes, by the paths of their libraries."""

import re
from collections import defaultdict
from collections.abc import Mapping

from upwell.policy.rebase.layered_files import LayeredFiles

_RUNTIMES = {
    "Python": re.compile(r"(?:^|/)lib(?:64)?/python(\d+\.\d+)/"),
    "Ruby": re.compile(r"(?:^|/)lib(?:64)?/ruby/(\d+\.\d+)\.\d+/"),
    "Perl": re.compile(r"(?:^|/)perl/(\d+\.\d+)(?:\.\d+)?/"),
    "PHP": re.compile(r"(?:^|/)php/(?:extensions/[a-z-]+)?(\d{8})/"),
    "Erlang": re.compile(r"(?:^|/)erlang/releases/(\d+)/"),
    ".NET": re.compile(r"(?:^|/)Microsoft\.NETCore\.App/(\d+\.\d+)\.[^/]+/"),
}
_NODE_LIBRARY = re.compile(r"(?:^|/)libnode\.so\.(\d+)$")
"""Node.js as Debian builds it: the soname is NODE_MODULE_VERSION, one for each major version."""


def library_versions(files: LayeredFiles) -> Mapping[str, frozenset[str]]:
    """Return the versions of each runtime, as far as programs need the one they were made for."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in files.folders:
        for name, pattern in _RUNTIMES.items():
            if (match := pattern.search(f"{folder}/")) is not None:
                found[name].add(match[1])
    for path in files.entries:
        if "libnode.so." in path and (match := _NODE_LIBRARY.search(path)) is not None:
            found["Node.js"].add(f"ABI {match[1]}")
    return {name: frozenset(versions) for name, versions in found.items()}
