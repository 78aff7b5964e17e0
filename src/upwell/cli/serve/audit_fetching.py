"""Copies the audit logs of all replicas into a folder, as `upwell audit verify` reads them."""

import asyncio
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from upwell.audit.collected import PUBLIC_KEY
from upwell.audit.log import ANSWERED, DENIED
from upwell.cli.core.errors import CommandError
from upwell.machine.private_file import write_private
from upwell.store.interface import MissingPathError, RejectedError

_PATH = "/apis/upwell.dev/v1alpha1/auditlogs"
_MOST_REFUSED = 10
"""Pieces that the server does not give, after which no more are asked for."""
_CHAIN = re.compile(r"[0-9a-f]{32}")

type GetPath = Callable[[str], Awaitable[bytes]]
"""Returns what a server answers at a path; raises a StoreError."""


@dataclass(frozen=True, slots=True)
class FetchedLogs:
    """Number of files that were written, and of the replicas whose logs they are."""

    files: int
    chains: int


@dataclass(frozen=True, slots=True)
class _Listed:
    name: str
    file: Path
    """Relative to the folder."""

    @classmethod
    def of(cls, item: Mapping[str, Any]) -> "_Listed":
        """Read an item of the list; raises CommandError for one that names no file of a log."""
        chain, log_name, first = item.get("chain"), item.get("log"), item.get("first")
        if not isinstance(chain, str) or not _CHAIN.fullmatch(chain):
            raise CommandError("the server's list of audit logs names no chain")
        if log_name == "":
            return cls(str(item.get("name")), Path(chain, PUBLIC_KEY))
        if log_name not in {ANSWERED, DENIED} or not isinstance(first, int):
            raise CommandError("the server's list of audit logs names a file that is none of a log")
        return cls(str(item.get("name")), Path(chain, f"{log_name}.{first:012d}.gz"))


async def fetch_logs(get: GetPath, folder: Path) -> FetchedLogs:
    """Fetch what is not there yet, or has grown; raises CommandError, OSError or a StoreError.

    A piece is complete where the one after it was there at the fetch before. One that the server
    does not give, as its bytes are gone or damaged, keeps none of the others back: it is named by
    a CommandError at the end.
    """
    listed = await _list(get)
    known = {
        one.file
        for one, after in pairwise(listed)
        if one.file.name.rpartition(".log.")[0] == after.file.name.rpartition(".log.")[0]
        and one.file.parent == after.file.parent
        and (folder / one.file).exists()
        and (folder / after.file).exists()
    }
    fetched, refused = 0, list[str]()
    for one in listed:
        if one.file in known:
            continue
        try:
            content = await get(f"{_PATH}/{one.name}")
        except RejectedError as error:
            refused.append(f"{one.file}: {error}")
            if len(refused) == _MOST_REFUSED:
                break
            continue
        await asyncio.to_thread(_write, folder / one.file, content)
        fetched += 1
    if refused:
        told = "\n".join(refused)
        raise CommandError(
            f"{fetched} files fetched into {folder}, and not these, without which the logs there"
            f" are not whole (docs/audit.md, On a cluster):\n{told}"
        )
    return FetchedLogs(fetched, len({one.file.parent for one in listed}))


async def _list(get: GetPath) -> list[_Listed]:
    try:
        found = json.loads(await get(_PATH))
    except (MissingPathError, RejectedError) as error:
        raise CommandError(
            f"{error}: audit logs are shared on a cluster where replicas share a registry"
            " (docs/audit.md), and administrators everywhere may read them"
        ) from error
    except ValueError as error:
        raise CommandError("the server's list of audit logs is no JSON") from error
    items = found.get("items") if isinstance(found, dict) else None
    return [_Listed.of(one) for one in items or () if isinstance(one, dict)]


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_private(path, content)
