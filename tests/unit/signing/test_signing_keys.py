"""The key that signs images: made once, kept from others, rotated without forgetting."""

import stat
from pathlib import Path

import pytest

from upwell.signing.keys import KEY_FILE, PUBLIC_FILE, ImageSigner, SigningKeyError, SigningKeys

CONTENT = b"content"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_a_key_is_made_once_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = SigningKeys(tmp_path).signer
    (tmp_path / KEY_FILE).chmod(0o644)
    again = SigningKeys(tmp_path).signer

    assert again.key.id == first.key.id
    assert mode(tmp_path / KEY_FILE) == 0o600
    assert (tmp_path / PUBLIC_FILE).read_bytes() == first.key.pem()
    assert "private" not in repr(first)


def test_equal_content_has_equal_signatures(tmp_path: Path) -> None:
    signer = SigningKeys(tmp_path).signer

    assert signer.sign(CONTENT) == signer.sign(CONTENT)
    assert signer.key.verifies(signer.sign(CONTENT), CONTENT)
    assert not signer.key.verifies(signer.sign(CONTENT), b"other content")


def test_a_rotation_keeps_the_keys_that_check_what_was_signed_before(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    old = keys.signer
    new = keys.rotate()
    newest = keys.rotate()

    known = SigningKeys(tmp_path).signer.keys
    assert [key.id for key in known] == [newest.key.id, new.key.id, old.key.id]
    assert keys.signer.key.id == newest.key.id
    assert any(key.verifies(old.sign(CONTENT), CONTENT) for key in known)


def test_a_rotation_that_is_cut_off_leaves_the_old_key_in_force(tmp_path: Path) -> None:
    keys = SigningKeys(tmp_path)
    private = (tmp_path / KEY_FILE).read_bytes()
    keys.rotate()
    (tmp_path / KEY_FILE).write_bytes(private)  # as before its last write

    found = SigningKeys(tmp_path).signer
    assert found.private_pem() == private
    assert len(found.keys) == 2


@pytest.mark.parametrize("content", [b"", b"half of a", b"-----BEGIN PRIVATE KEY-----\nAAAA\n"])
def test_what_is_left_of_a_key_is_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / KEY_FILE).write_bytes(content)

    with pytest.raises(SigningKeyError, match="restore it from a copy"):
        SigningKeys(tmp_path)
    assert (tmp_path / KEY_FILE).read_bytes() == content


def test_emptied_public_keys_forget_none_in_silence(tmp_path: Path) -> None:
    SigningKeys(tmp_path).rotate()
    (tmp_path / PUBLIC_FILE).write_bytes(b"\n")

    with pytest.raises(SigningKeyError, match=f"{PUBLIC_FILE} is damaged: restore it"):
        SigningKeys(tmp_path)
    assert (tmp_path / PUBLIC_FILE).read_bytes() == b"\n"


def test_damaged_public_keys_are_told_of(tmp_path: Path) -> None:
    SigningKeys(tmp_path)
    (tmp_path / PUBLIC_FILE).write_text("nothing of a key")

    with pytest.raises(SigningKeyError, match=PUBLIC_FILE):
        SigningKeys(tmp_path)


def test_a_given_key_is_used_where_it_lies_and_must_be_private(tmp_path: Path) -> None:
    given, folder = tmp_path / "given.pem", tmp_path / "data"
    folder.mkdir()
    made = ImageSigner.generate()
    given.write_bytes(made.private_pem())
    given.chmod(0o644)
    with pytest.raises(SigningKeyError, match="chmod 600"):
        SigningKeys(folder, given)

    given.chmod(0o600)
    keys = SigningKeys(folder, given)
    assert keys.signer.key.id == made.key.id
    assert not (folder / KEY_FILE).exists()
    with pytest.raises(SigningKeyError, match="put the new one there"):
        keys.rotate()

    given.write_bytes(ImageSigner.generate().private_pem())
    assert made.key.id in [key.id for key in SigningKeys(folder, given).signer.keys]


def test_keys_on_other_curves_are_refused(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization  # noqa: PLC0415
    from cryptography.hazmat.primitives.asymmetric import ec  # noqa: PLC0415

    other = ec.generate_private_key(ec.SECP384R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    (tmp_path / KEY_FILE).write_bytes(other)

    with pytest.raises(SigningKeyError, match="P-256"):
        SigningKeys(tmp_path)
