"""The one sealed form: bound to its place, told by its key; and the forms that were before it."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource
from upwell.encryption.sealing import DataKey, Sealer, SealError, UnknownSealingKeyError, place
from upwell.server.signin.seals import Seals

KEY = DataKey.generate()
HERE = place("test", "here")

# As an earlier version wrote them.
EARLIER_KEY = "LRoyP8jcjapJ7bkGEmtm+4RoJigs2g6Yr6IVQrWKiYg=\n"
EARLIER_FILE = """{
 "version": 1,
 "source": "file:/etc/upwell/encryption.key",
 "wrapped": "5SLE3ytWpA+L+gjMY5myXWzQnIAldyAV4TL2X6AHPlBK7za9D1TzEEUt/VyUQQwgGtiWbFQPkB8k38uR",
 "sealed": "u753W+ix7idXt1EM5XeYhIUsnfv8B354SsK8S5t6kHFp5tnLyzK3H+arbP3O"
}
"""
EARLIER_SEAL = "aHEjp37uGCJuweQi8ZcWpAcvmkJWcGGrFNpTtgDHhMwgiXzK3XjLnpld2g=="


@given(content=st.binary(max_size=300), where=st.binary(max_size=300))
def test_what_is_sealed_opens_for_its_place_alone(content: bytes, where: bytes) -> None:
    sealed = Sealer(KEY).seal(where, content)
    assert Sealer(None, [KEY]).open(sealed) == (where, content)
    assert Sealer(KEY).open_at(where, sealed) == content
    with pytest.raises(SealError, match="another place"):
        Sealer(KEY).open_at(where + b"x", sealed)


@given(at=st.integers(min_value=0), bit=st.integers(0, 7), cut=st.booleans())
def test_no_changed_bit_and_no_cut_is_opened(at: int, bit: int, *, cut: bool) -> None:
    sealed = bytearray(Sealer(KEY).seal(HERE, b"a secret"))
    at %= len(sealed)
    if cut:
        del sealed[at:]
    else:
        sealed[at] ^= 1 << bit
    with pytest.raises(SealError):
        Sealer(KEY).open_at(HERE, bytes(sealed))


def test_another_key_is_told_from_damage() -> None:
    sealed = Sealer(KEY).seal(HERE, b"a secret")
    with pytest.raises(UnknownSealingKeyError):
        Sealer(DataKey.generate()).open(sealed)
    impostor = DataKey(KEY.id, DataKey.generate().key)
    with pytest.raises(SealError, match="damaged"):
        Sealer(impostor).open(sealed)
    assert Sealer(DataKey.generate(), [KEY]).open_at(HERE, sealed) == b"a secret"


def test_a_key_is_in_no_repr() -> None:
    assert repr(KEY.key) not in repr(KEY)
    assert DataKey.of(KEY.key).id not in KEY.key


def earlier_keyring(tmp_path: Path) -> Keyring:
    key = tmp_path / "encryption.key"
    key.write_text(EARLIER_KEY)
    key.chmod(0o600)
    return Keyring([KeySource("file", str(key))], tmp_path / "data")


def test_a_key_file_that_an_earlier_version_sealed_is_read_and_sealed_anew(tmp_path: Path) -> None:
    path = tmp_path / "data" / "signing.key"
    path.parent.mkdir()
    path.write_text(EARLIER_FILE)
    files = SealedFiles(earlier_keyring(tmp_path))
    content = files.read(path, 100)
    assert content == b"0123456789abcdef\n"
    files.settle(path, content)
    assert path.read_text() == EARLIER_FILE  # an earlier version can still read it
    files.rotate()
    assert '"version": 2' in path.read_text()
    assert SealedFiles(earlier_keyring(tmp_path)).read(path, 100) == content


def test_what_an_earlier_version_sealed_for_a_session_opens() -> None:
    seals = Seals(b"secret")
    assert seals.open("refresh", EARLIER_SEAL) == "a refresh token"
    assert seals.open("login", EARLIER_SEAL) is None
    assert Seals(b"another").open("refresh", EARLIER_SEAL) is None
    assert seals.open("refresh", seals.seal("refresh", "new")) == "new"
    assert seals.open("login", seals.seal("refresh", "new")) is None
