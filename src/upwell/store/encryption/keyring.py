"""The data keys of one database, wrapped, as facts in it; the keys that wrap them are elsewhere."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.store.encryption.envelope import DataKey
from upwell.store.encryption.keys import (
    EncryptionKeyError,
    KeySource,
    WrappingKey,
    unwrapped,
)

_PREFIX = "data-key:"
RESEALING = "resealing"
"""Fact that is there while texts are kept otherwise than they shall be, in rows or freed pages."""


@dataclass(frozen=True, slots=True)
class WrappedKey:
    """A data key as it is kept."""

    id: bytes
    source: str
    wrapped: bytes

    @property
    def fact(self) -> tuple[str, str]:
        """Name and value of the fact that keeps it."""
        wrapped = base64.b64encode(self.wrapped).decode()
        return f"{_PREFIX}{self.id.hex()}", json.dumps({"source": self.source, "wrapped": wrapped})

    @classmethod
    def of_facts(cls, facts: Mapping[str, str]) -> Sequence["WrappedKey"]:
        """Return all that are kept, the last made last; raises EncryptionKeyError."""
        found = []
        for name, value in facts.items():
            if not name.startswith(_PREFIX):
                continue
            try:
                document = json.loads(value)
                wrapped = base64.b64decode(document["wrapped"], validate=True)
                identifier = bytes.fromhex(name.removeprefix(_PREFIX))
                found.append(cls(identifier, str(document["source"]), wrapped))
            except (ValueError, KeyError, TypeError) as error:
                raise EncryptionKeyError(f"{name} is damaged: restore the database") from error
        return found


class Keyring:
    """Opens a database's data keys, and makes new ones. `sources`: the first one wraps new keys."""

    def __init__(self, sources: Sequence[KeySource], data_folder: Path) -> None:
        self._sources = tuple(sources) or (KeySource("none", ""),)
        self._folder = data_folder

    def open(self, facts: Mapping[str, str]) -> dict[bytes, DataKey]:
        """Return the data keys; raises EncryptionKeyError if one cannot be unwrapped."""
        kept = WrappedKey.of_facts(facts)
        if not kept:
            return {}
        keys = self._keys()
        found = {}
        for one in kept:
            key = unwrapped(one.wrapped, keys)
            if key is None:
                raise EncryptionKeyError(
                    f"the database is encrypted, and its key {one.source} is not among those of the"
                    f" settings ({self}): name that key in"
                    " [encryption] keys, or restore it from a copy; nothing was changed"
                )
            found[one.id] = DataKey(one.id, key)
        return found

    def wrapped(self, keys: Iterable[DataKey]) -> dict[str, str]:
        """Return the facts that keep data keys, wrapped by the first source."""
        source = self._sources[0]
        wrapping = source.open(self._folder)
        if wrapping is None:
            return {}
        return dict(WrappedKey(key.id, str(source), wrapping.wrap(key.key)).fact for key in keys)

    def wrap(self, key: bytes) -> bytes | None:
        """Wrap one key by the first source; None where nothing is to be sealed."""
        wrapping = self._sources[0].open(self._folder)
        return None if wrapping is None else wrapping.wrap(key)

    def unwrap(self, wrapped: bytes) -> tuple[bytes, bool] | None:
        """Return a key, and whether the first source wrapped it; None if no source did."""
        for source in self._sources:
            wrapping = source.open(self._folder)
            if wrapping is not None and (key := wrapping.unwrap(wrapped)) is not None:
                return key, source == self._sources[0]
        return None

    def __str__(self) -> str:
        return ", ".join(map(str, self._sources))

    def are_wrapped_by_the_first(self, facts: Mapping[str, str]) -> bool:
        """Return True if no data key needs any other source than the first."""
        first = self._sources[0].open(self._folder)
        kept = WrappedKey.of_facts(facts)
        return first is not None and all(first.unwrap(one.wrapped) for one in kept)

    @property
    def encrypts(self) -> bool:
        """True if what is written is to be sealed."""
        return self._sources[0].kind != "none"

    @property
    def first(self) -> str:
        """Name of the source that wraps new keys."""
        return str(self._sources[0])

    def _keys(self) -> Sequence[WrappingKey]:
        opened = (source.open(self._folder) for source in self._sources)
        return [key for key in opened if key is not None]
