"""Key files of the data folder, sealed by keys that lie elsewhere."""

import stat
from pathlib import Path

import pytest

from upwell.app.data_folder import DataFolderError
from upwell.app.keys.kept_secret import kept_secret
from upwell.encryption.faults import EncryptionKeyError
from upwell.encryption.files import SealedFiles
from upwell.encryption.keyring import Keyring
from upwell.encryption.keys import KeySource, write_new_key
from upwell.machine.private_file import DamagedFileError
from upwell.signing.keys import SigningKeyError, SigningKeys

PLAIN = b"0123456789abcdef" * 4 + b"\n"


class Folder:
    """A data folder with one key file, and keys beside it."""

    def __init__(self, folder: Path) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.path = self.data / "signing.key"
        self.outside = folder

    def source(self, name: str) -> str:
        path = self.outside / name
        if not path.exists():
            write_new_key(path)
        return f"file:{path}"

    def files(self, *sources: str) -> SealedFiles:
        return SealedFiles(Keyring([KeySource.parse(one) for one in sources], self.data))

    def settled(self, *sources: str) -> bytes:
        files = self.files(*sources)
        content = files.read(self.path, 4096)
        files.settle(self.path, content)
        return content


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    made = Folder(tmp_path)
    made.path.write_bytes(PLAIN)
    return made


def test_a_plain_file_is_sealed_at_the_next_start_and_read_again(folder: Folder) -> None:
    key = folder.source("key")
    descriptor = folder.path.open("rb")
    assert folder.settled(key) == PLAIN
    sealed = folder.path.read_bytes()
    assert PLAIN.strip() not in sealed
    with descriptor as old:
        assert set(old.read()) == {0}  # nor is it left where it was
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o600
    assert folder.settled(key) == PLAIN
    assert folder.path.read_bytes() == sealed


def test_without_its_key_it_is_refused_and_left_alone(folder: Folder) -> None:
    folder.settled(folder.source("key"))
    sealed = folder.path.read_bytes()
    for others in ([], [folder.source("other")]):
        with pytest.raises(EncryptionKeyError, match=r"signing\.key is encrypted.*/key is not"):
            folder.settled(*others)
    assert folder.path.read_bytes() == sealed


def test_the_first_key_takes_over_and_the_old_one_can_go(folder: Folder) -> None:
    old, new = folder.source("old"), folder.source("new")
    folder.settled(old)
    assert folder.settled(new, old) == PLAIN
    assert folder.settled(new) == PLAIN
    assert folder.settled("none", new) == PLAIN
    assert folder.path.read_bytes() == PLAIN


def test_a_rotation_seals_each_file_anew_and_keeps_its_content(folder: Folder) -> None:
    key = folder.source("key")
    files = folder.files(key)
    files.settle(folder.path, PLAIN)
    before = folder.path.read_bytes()
    assert files.rotate() == (folder.path,)
    assert folder.path.read_bytes() != before
    assert folder.settled(key) == PLAIN


@pytest.mark.parametrize("part", ["begin", "middle", "end", "cut", "moved"])
def test_a_damaged_file_is_told_and_left_alone(folder: Folder, part: str) -> None:
    key = folder.source("key")
    folder.settled(key)
    raw = bytearray(folder.path.read_bytes())
    at = {"begin": 3, "middle": len(raw) // 2, "end": len(raw) - 12}.get(part, 0)
    raw[at] ^= 1 if at else 0
    content = bytes(raw[: len(raw) // 2]) if part == "cut" else bytes(raw)
    path = folder.data / "audit.key" if part == "moved" else folder.path
    path.write_bytes(content)
    with pytest.raises((DamagedFileError, EncryptionKeyError), match=path.name):
        folder.files(key).read(path, 4096)
    with pytest.raises((DataFolderError, EncryptionKeyError), match=path.name):
        kept_secret(path, lambda: "0" * 64, "all is lost", folder.files(key))
    assert path.read_bytes() == content


def test_a_sealed_file_whose_first_letter_changed_is_no_secret(folder: Folder) -> None:
    key = folder.source("key")
    folder.settled(key)
    changed = b"z" + folder.path.read_bytes()[1:]
    folder.path.write_bytes(changed)
    with pytest.raises(DataFolderError, match="empty or damaged"):
        kept_secret(folder.path, lambda: "0" * 64, "all is lost", folder.files(key))
    assert folder.path.read_bytes() == changed


def test_what_is_left_of_a_plain_secret_is_not_sealed(folder: Folder) -> None:
    folder.path.write_bytes(b"0123")
    with pytest.raises(DataFolderError, match="empty or damaged"):
        kept_secret(folder.path, lambda: "0" * 64, "all is lost", folder.files(folder.source("k")))
    assert folder.path.read_bytes() == b"0123"


def test_keys_that_sign_images_are_sealed_and_rotated(folder: Folder) -> None:
    sources = [folder.source("key")]
    keys = SigningKeys(folder.data, None, folder.files(*sources))
    path = folder.data / "image-signing.key"
    assert b"PRIVATE" not in path.read_bytes()
    made = keys.rotate()
    assert b"PRIVATE" not in path.read_bytes()
    again = SigningKeys(folder.data, None, folder.files(*sources)).signer
    assert again.key.id == made.key.id
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(SigningKeyError, match=r"image-signing\.key is damaged.*restore"):
        SigningKeys(folder.data, None, folder.files(*sources))
