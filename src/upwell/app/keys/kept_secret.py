"""Secrets that are made once and kept: in the data folder, and on a cluster for all replicas."""

import asyncio
import logging
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from secrets import token_hex

from upwell.app.data_folder import DataFolderError
from upwell.app.kubernetes.shared_keys import SharedKeys, SharedKeysError
from upwell.machine.private_file import MAX_SECRET_BYTES, DamagedFileError, PrivateFiles

log = logging.getLogger(__name__)

_KEY_BYTES = 32
_PRINTABLE = re.compile(r"[!-~]+")
_SIGNING_KEY = "signing.key"
_COST = (
    "tokens that CIs and people hold for running promotions, and those of ServiceAccounts, are"
    " refused then, and people sign in again"
)


async def open_signing_key(data: Path, files: PrivateFiles, shared: SharedKeys | None) -> bytes:
    """Return the key that signs links and tokens; on a cluster, that of all replicas.

    Raises OSError, DataFolderError or a StoreError.
    """
    path = data / _SIGNING_KEY
    had_one = path.exists()
    make = partial(token_hex, _KEY_BYTES)
    own = (await asyncio.to_thread(kept_secret, path, make, _COST, files)).encode()
    if shared is None:
        return own
    entries = await shared.agree(lambda found: {_SIGNING_KEY: own, **found})
    agreed = entries[_SIGNING_KEY].strip()  # as of a file that somebody has made an entry of
    if not _is_whole(agreed.decode("ascii", "replace"), 2 * _KEY_BYTES):
        raise SharedKeysError(
            f"{_SIGNING_KEY} in {shared.name} is empty or damaged: restore it from a copy, or"
            " remove the entry, and a replica that runs puts its own back; where none does, start"
            f" all of them again ({_COST})"
        )
    shared.remember({_SIGNING_KEY: agreed}, fixed=True)
    if agreed != own:
        if had_one:
            log.warning("the key of all replicas takes its place", extra={"file": str(path)})
        await asyncio.to_thread(files.write, path, agreed + b"\n")
    return agreed


def kept_secret(
    path: Path, make: Callable[[], str], cost: str, files: PrivateFiles | None = None
) -> str:
    """Return a secret of the data directory; made once, readable by the server's user alone.

    `cost` says what is lost with it. Raises DataFolderError for one that is not whole: what is
    left of a secret is none.
    """
    made, files = make(), files or PrivateFiles()
    if not path.exists():
        files.write(path, f"{made}\n".encode())
    step = f"restore it from a copy, or remove it and start again ({cost})"
    try:
        raw = files.read(path, MAX_SECRET_BYTES)
    except DamagedFileError as error:
        raise DataFolderError(f"{error}: {step}") from error
    found = raw.decode("ascii", "replace").strip()
    if not _is_whole(found, len(made)):
        raise DataFolderError(f"{path} is empty or damaged: {step}")
    files.settle(path, raw)
    return found


def _is_whole(text: str, least: int) -> bool:
    return least <= len(text) <= MAX_SECRET_BYTES and _PRINTABLE.fullmatch(text) is not None
