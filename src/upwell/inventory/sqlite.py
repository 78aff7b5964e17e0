"""The inventory in one SQLite file, which may be deleted: it is built again from the registry."""

import json
import sqlite3
import zlib
from collections.abc import Sequence
from pathlib import Path

from upwell.inventory.interface import Layers, Package
from upwell.inventory.layers import LayerContents, packages_of, read_layer
from upwell.machine.databases import open_derived
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
CREATE TABLE IF NOT EXISTS layer (digest TEXT PRIMARY KEY, contents BLOB NOT NULL) WITHOUT ROWID;
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
_LAYER = "SELECT contents FROM layer WHERE digest = ?"
_ADD_LAYER = "INSERT OR REPLACE INTO layer (digest, contents) VALUES (?, ?)"
_ADD_PACKAGE = """
INSERT OR REPLACE INTO package (digest, name, version, architecture, source)
VALUES (?, ?, ?, ?, ?)
"""


class SqliteInventory:
    """Inventory in the file `path`; a query takes microseconds, so none leaves the event loop.

    A damaged file is begun anew. Raises OSError or sqlite3.OperationalError.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._connection = open_derived(path, _set_up, "the images of the registry")

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    async def packages(self, digest: Digest) -> Sequence[Package] | None:
        """Return the packages of an image; None when it was not indexed yet."""
        if self._connection.execute(_IS_INDEXED, (str(digest),)).fetchone() is None:
            return None
        return [Package(*row) for row in self._connection.execute(_PACKAGES, (str(digest),))]

    async def digests(self) -> Sequence[Digest]:
        """List the images that are indexed."""
        return [Digest.parse(row[0]) for row in self._connection.execute(_DIGESTS)]

    async def forget(self, digest: Digest) -> None:
        """Remove what is known of an image; idempotent."""
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute(_FORGET_PACKAGES, (str(digest),))
            self._connection.execute(_FORGET_IMAGE, (str(digest),))

    async def index(self, digest: Digest, layers: Layers) -> Sequence[Package]:
        """Read the packages from the layers and keep them; raises InventoryError."""
        packages = packages_of([await self._layer(layers, layer) for layer in layers.layers])
        rows = [(str(digest), p.name, p.version, p.architecture, p.source) for p in packages]
        with self._connection:
            self._connection.execute("BEGIN")
            self._connection.execute(_ADD_IMAGE, (str(digest),))
            self._connection.executemany(_ADD_PACKAGE, rows)
        return packages

    async def _layer(self, layers: Layers, layer: Descriptor) -> LayerContents:
        """Return what a layer says; images share layers, so each is read once and remembered."""
        row = self._connection.execute(_LAYER, (str(layer.digest),)).fetchone()
        if row is not None:
            databases, hidden = json.loads(zlib.decompress(row[0]))
            return LayerContents(databases, set(hidden))
        contents = await read_layer(layers, layer)
        text = json.dumps([contents.databases, sorted(contents.hidden)])
        self._connection.execute(
            _ADD_LAYER, (str(layer.digest), zlib.compress(text.encode(), level=1))
        )
        return contents


def _set_up(connection: sqlite3.Connection) -> None:
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.executescript(_SCHEMA)
