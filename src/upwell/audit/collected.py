"""Folders with audit logs: that of one server, or those of replicas by the ids of their keys."""

import heapq
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.audit.chain import BrokenChainError, parse
from upwell.audit.files import chain_files, read_lines
from upwell.audit.log import ANSWERED, DENIED

PUBLIC_KEY = "audit.pub"
_CHAIN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class CollectedChain:
    """Audit log of one replica."""

    id: str
    """Id of the key that signs its heads; empty where the folder is that of one server."""
    folder: Path

    @property
    def paths(self) -> Sequence[Path]:
        """The file of each of its two logs: what was answered, what was denied."""
        return self.folder / ANSWERED, self.folder / DENIED


def collected_chains(folder: Path) -> Sequence[CollectedChain]:
    """Return the logs in a folder; raises OSError."""
    found = [
        CollectedChain(one.name, one)
        for one in sorted(folder.iterdir())
        if _CHAIN.fullmatch(one.name) and one.is_dir()
    ]
    return found or [CollectedChain("", folder)]


def requests_of(chains: Sequence[CollectedChain]) -> Iterator[Mapping[str, Any]]:
    """Yield the lines that are of requests, of all logs, by time; raises OSError.

    What is no JSON is passed over: verification tells of it.
    """
    streams = [_requests(path) for chain in chains for path in chain.paths]
    yield from heapq.merge(*streams, key=lambda one: str(one.get("time", "")))


def _requests(path: Path) -> Iterator[Mapping[str, Any]]:
    for file in chain_files(path):
        for line in read_lines(file):
            with suppress(BrokenChainError):
                document = parse(line)
                if "kind" not in document:
                    yield document
