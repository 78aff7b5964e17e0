"""The data keys of one database, wrapped, as facts in it; the keys that wrap them are elsewhere."""

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.keys import KeySource
from upwell.encryption.sealing import KEY_BYTES, DataKey

_PREFIX = "data-key:"
_MOST_KNOWN = 100


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
    """The keys of one data folder: opens data keys, and wraps new ones by the first of `sources`.

    What was unwrapped once is remembered, so that a token or program is asked once for each. All
    methods raise EncryptionKeyError, and wait as long as such a source takes.
    """

    def __init__(self, sources: Sequence[KeySource], data_folder: Path) -> None:
        self._sources = tuple(sources) or (KeySource("none", ""),)
        self._folder = data_folder
        self._known: dict[bytes, tuple[bytes, bool]] = {}
        """Data key, and whether the first source opens it, by its wrapped form."""

    def open(self, facts: Mapping[str, str], path: Path) -> dict[bytes, DataKey]:
        """Return the data keys of the database `path`."""
        found = {}
        for one in WrappedKey.of_facts(facts):
            known = self.unwrap(one.wrapped)
            if known is None:
                raise self.unknown(path, one.source)
            found[one.id] = DataKey(one.id, known[0])
        return found

    def unknown(self, path: Path, source: str) -> EncryptionKeyError:
        """Return the error that says that a file needs a key that is not here."""
        return EncryptionKeyError(
            f"{path} is encrypted, and its key {source} is not among those of the settings"
            f" ({self}): name that key in [encryption] keys, or restore it from a copy; nothing was"
            " changed"
        )

    def wrapped(self, keys: Iterable[DataKey]) -> dict[str, str]:
        """Return the facts that keep data keys, wrapped by the first source."""
        facts = {}
        for key in keys:
            if (wrapped := self.wrap(key.key)) is not None:
                name, value = WrappedKey(key.id, self.first, wrapped).fact
                facts[name] = value
        return facts

    def wrap(self, key: bytes) -> bytes | None:
        """Wrap one key by the first source; None where nothing is to be sealed."""
        wrapping = self._sources[0].open(self._folder)
        if wrapping is None:
            return None
        wrapped = wrapping.wrap(key)
        self._remember(wrapped, key, is_first=True)
        return wrapped

    def unwrap(self, wrapped: bytes) -> tuple[bytes, bool] | None:
        """Return a key, and whether the first source wrapped it; None if no source did."""
        if (known := self._known.get(wrapped)) is not None:
            return known
        for source in self._sources:
            wrapping = source.open(self._folder)
            key = None if wrapping is None else wrapping.unwrap(wrapped)
            if key is not None and len(key) == KEY_BYTES:
                return self._remember(wrapped, key, is_first=source == self._sources[0])
        return None

    def check(self) -> None:
        """See that the next start will find the first key, and that it is the one of today."""
        wrapping = self._sources[0].open(self._folder)
        wrapped = next((one for one, (_, is_first) in self._known.items() if is_first), None)
        if wrapping is not None and wrapped is not None and wrapping.unwrap(wrapped) is None:
            raise EncryptionKeyError(
                f"{self.first} is not the key that it was when the server started, and the next"
                " start will be refused: restore it from a copy"
            )

    def __str__(self) -> str:
        return ", ".join(map(str, self._sources))

    def are_wrapped_by_the_first(self, facts: Mapping[str, str]) -> bool:
        """Return True if no data key needs any other source than the first."""
        found = [self.unwrap(one.wrapped) for one in WrappedKey.of_facts(facts)]
        return self.encrypts and all(one is not None and one[1] for one in found)

    @property
    def encrypts(self) -> bool:
        """True if what is written is to be sealed."""
        return self._sources[0].kind != "none"

    @property
    def first(self) -> str:
        """Name of the source that wraps new keys."""
        return str(self._sources[0])

    def _remember(self, wrapped: bytes, key: bytes, *, is_first: bool) -> tuple[bytes, bool]:
        self._known[wrapped] = known = (key, is_first)
        while len(self._known) > _MOST_KNOWN:  # of data keys that rotations have replaced
            del self._known[next(iter(self._known))]
        return known
