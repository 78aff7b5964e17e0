"""The inventory in one SQLite file, which may be deleted: it is built again from the registry."""

import asyncio
import json
import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import batched
from pathlib import Path

from upwell.inventory.interface import InventoryError, InventoryFailedError, Layers, Package
from upwell.inventory.layers import (
    LIMITS_VERSION,
    LayerContents,
    UnsupportedLayerError,
    packages_of,
    read_layer,
)
from upwell.machine.databases import next_step, open_derived, transaction, with_tables
from upwell.oci import Descriptor, Digest

_SCHEMA = """
CREATE TABLE IF NOT EXISTS image (digest TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS package (
    digest TEXT NOT NULL REFERENCES image (digest) ON DELETE CASCADE,
    name TEXT NOT NULL,
    version TEXT NOT NULL,
    architecture TEXT NOT NULL,
    source TEXT NOT NULL,
    PRIMARY KEY (digest, name, version, architecture, source)
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS package_by_name ON package (name, version);
DROP TABLE IF EXISTS layer;
CREATE TABLE IF NOT EXISTS layer_packages (
    digest TEXT PRIMARY KEY,
    contents BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS failure (
    digest TEXT PRIMARY KEY,
    limits INTEGER NOT NULL,
    reason TEXT NOT NULL
) WITHOUT ROWID;
"""
_IS_INDEXED = "SELECT 1 FROM image WHERE digest = ?"
_DIGESTS = "SELECT digest FROM image ORDER BY digest"
_FORGET_PACKAGES = "DELETE FROM package WHERE digest = ?"
_FORGET_IMAGE = "DELETE FROM image WHERE digest = ?"
_PACKAGES = """
SELECT name, version, architecture, source FROM package WHERE digest = ?
ORDER BY name, version, architecture, source
"""
_ADD_IMAGE = "INSERT OR REPLACE INTO image (digest) VALUES (?)"
_LAYER = "SELECT contents FROM layer_packages WHERE digest = ?"
_ADD_LAYER = "INSERT OR REPLACE INTO layer_packages (digest, contents) VALUES (?, ?)"
_FAILURE = "SELECT reason FROM failure WHERE digest = ? AND limits = ?"
_UNREAD = """
SELECT value FROM json_each(?1)
WHERE NOT EXISTS (SELECT 1 FROM image WHERE digest = value)
    AND NOT EXISTS (SELECT 1 FROM failure WHERE digest = value AND limits = ?2)
ORDER BY key
"""
_ADD_FAILURE = "INSERT OR REPLACE INTO failure (digest, limits, reason) VALUES (?, ?, ?)"
_FORGET_FAILURE = "DELETE FROM failure WHERE digest = ?"
_ROWS_AT_ONCE = 1000
"""Packages that are written, or made, in one step of the event loop."""
_ADD_PACKAGE = """
INSERT OR REPLACE INTO package (digest, name, version, architecture, source)
VALUES (?, ?, ?, ?, ?)
"""


class SqliteInventory:
    """Inventory in the file `path`; a query takes microseconds, so few leave the event loop.

    A damaged file is begun anew. Raises OSError or sqlite3.OperationalError.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._path = path
        self._connection = open_derived(path, with_tables(_SCHEMA), "the images of the registry")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        """Return the packages of an image; None when it was not indexed yet."""
        with self._using() as connection:
            if connection.execute(_IS_INDEXED, (str(digest),)).fetchone() is None:
                return None
            rows = connection.execute(_PACKAGES, (str(digest),)).fetchall()
        if len(rows) <= _ROWS_AT_ONCE:
            return [Package(*row) for row in rows]
        return await asyncio.to_thread(lambda: [Package(*row) for row in rows])

    async def unread(self, digests: Iterable[Digest]) -> Sequence[Digest]:
        """Return those that were neither indexed nor found to be unreadable."""
        found = list[Digest]()
        for some in batched(digests, _ROWS_AT_ONCE):
            named = {str(digest): digest for digest in some}
            with self._using() as connection:
                rows = connection.execute(_UNREAD, (json.dumps([*named]), LIMITS_VERSION))
                found += [named[row[0]] for row in rows]
            await asyncio.sleep(0)
        return found

    async def digests(self) -> Sequence[Digest]:
        """List the images that are indexed."""
        with self._using() as connection:
            return [Digest.parse(row[0]) for row in connection.execute(_DIGESTS)]

    async def forget(self, digest: Digest) -> bool:
        """Remove what is known of an image; idempotent. False: nothing was."""
        with self._using() as connection, transaction(connection):
            removed = [
                connection.execute(forget, (str(digest),)).rowcount
                for forget in (_FORGET_PACKAGES, _FORGET_IMAGE, _FORGET_FAILURE)
            ]
        return any(removed)

    async def failure(self, digest: Digest) -> str | None:
        """Return why the packages of an image cannot be read; None: they can, or nobody tried."""
        with self._using() as connection:
            row = connection.execute(_FAILURE, (str(digest), LIMITS_VERSION)).fetchone()
        return None if row is None else str(row[0])

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        """Read the packages from the layers and keep them; raises InventoryError."""
        await self._raise_failure(digest)
        try:
            contents = [await self._layer(layers, layer) for layer in layers.layers]
            packages = await asyncio.to_thread(packages_of, contents)
        except InventoryError as error:
            self._keep_failure(digest, error)
            raise
        for some in batched(packages, _ROWS_AT_ONCE):
            rows = [(str(digest), p.name, p.version, p.architecture, p.source) for p in some]
            with self._using() as connection, transaction(connection):
                connection.executemany(_ADD_PACKAGE, rows)
            await asyncio.sleep(0)  # a stranger's image may have fifty thousand
        with self._using() as connection:
            connection.execute(_ADD_IMAGE, (str(digest),))
        return packages

    async def _layer(self, layers: Layers, layer: Descriptor) -> LayerContents:
        """Return what a layer says; images share layers, so each is read once and remembered."""
        with self._using() as connection:
            row = connection.execute(_LAYER, (str(layer.digest),)).fetchone()
        if row is not None:
            return await asyncio.to_thread(_unpacked, row[0])
        await self._raise_failure(layer.digest)
        try:
            contents = await read_layer(layers, layer)
        except UnsupportedLayerError:
            raise  # kept of the image, whose digest is its manifest's, and not of the layer
        except InventoryError as error:
            self._keep_failure(layer.digest, error)
            raise
        kept = await asyncio.to_thread(_packed, contents)
        with self._using() as connection:
            connection.execute(_ADD_LAYER, (str(layer.digest), kept))
        return contents

    async def _raise_failure(self, digest: Digest) -> None:
        """Raise InventoryError if what has this digest has failed before, under these limits."""
        if (why := await self.failure(digest)) is not None:
            raise InventoryError(why)

    def _keep_failure(self, digest: Digest, error: InventoryError) -> None:
        if not error.retryable:
            with self._using() as connection:
                connection.execute(_ADD_FAILURE, (str(digest), LIMITS_VERSION, str(error)))

    @contextmanager
    def _using(self) -> Iterator[sqlite3.Connection]:
        """Raise InventoryFailedError for faults of the file within the block."""
        try:
            yield self._connection
        except sqlite3.Error as error:
            why = f"{self._path} cannot be used: {error}{next_step(error)}"
            raise InventoryFailedError(why) from error


def _packed(contents: LayerContents) -> bytes:
    return zlib.compress(json.dumps(contents.data()).encode(), level=1)


def _unpacked(kept: bytes) -> LayerContents:
    return LayerContents.parse(json.loads(zlib.decompress(kept)))
