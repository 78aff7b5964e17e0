"""Keys that sign images: one that signs, and the public halves of those that did before.

The private key is ECDSA on P-256, which every verifier of cosign's signatures knows. It lies in
the data folder, made at the first start, or the settings name it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Self

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ec import (
    ECDSA,
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)

from upwell.formats.pem import private_pem
from upwell.formats.sigstore.keys import InvalidPublicKeyError, SignatureKey
from upwell.machine.private_file import (
    DamagedFileError,
    PrivateFiles,
    is_open_to_others,
    write_whole,
)

KEY_FILE = "image-signing.key"
PUBLIC_FILE = "image-signing.pub"
_MAX_KEY_BYTES = 64 * 1024
_MAX_RETIRED = 100
_END = b"-----END PUBLIC KEY-----"


class SigningKeyError(Exception):
    """A key that signs images cannot be used; the message names it and the next step."""


@dataclass(frozen=True, slots=True)
class ImageSigner:
    """Key that signs images, and the keys that did before it."""

    private: EllipticCurvePrivateKey = field(repr=False)
    retired: tuple[SignatureKey, ...] = ()

    @classmethod
    def generate(cls) -> Self:
        """Return a new key."""
        return cls(generate_private_key(SECP256R1()))

    @classmethod
    def parse(cls, pem: bytes, what: str) -> Self:
        """Read a private key in PEM (PKCS #8 or SEC 1); raises SigningKeyError, naming `what`."""
        try:
            key = serialization.load_pem_private_key(pem, None)
        except (ValueError, TypeError, UnsupportedAlgorithm) as error:
            raise SigningKeyError(
                f"{what} is no private key in PEM without a passphrase: restore it from a copy, or"
                " make one: openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256"
            ) from error
        if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
            raise SigningKeyError(f"{what} is no ECDSA key on the curve P-256")
        return cls(key)

    @property
    def key(self) -> SignatureKey:
        """The key that checks what this one signs."""
        return SignatureKey(self.private.public_key())

    @property
    def keys(self) -> Sequence[SignatureKey]:
        """Every key that checks signatures of this server, the newest first."""
        return (self.key, *self.retired)

    @property
    def public_pem(self) -> bytes:
        """The public keys as PEM, one after the other, the newest first."""
        return b"".join(key.pem() for key in self.keys)

    def after(self, keys: Iterable[SignatureKey]) -> Self:
        """Return the signer with others that signed before it, besides those that it knows."""
        known = {key.id: key for key in (*self.retired, *keys) if key.id != self.key.id}
        return replace(self, retired=tuple(known.values())[:_MAX_RETIRED])

    def sign(self, content: bytes) -> bytes:
        """Return the signature of `content`: always the same (RFC 6979), in some 50 µs."""
        return self.private.sign(content, ECDSA(hashes.SHA256(), deterministic_signing=True))

    def private_pem(self) -> bytes:
        """Return the key itself as PEM (PKCS #8)."""
        return private_pem(self.private)


def public_keys(pem: bytes) -> Sequence[SignatureKey]:
    """Return the public keys of a text in PEM; raises InvalidPublicKeyError."""
    return [
        SignatureKey.parse(one.strip() + b"\n" + _END + b"\n")
        for one in pem[: _MAX_RETIRED * _MAX_KEY_BYTES].split(_END)
        if one.strip()
    ]


class SigningKeys:
    """The signer of one data folder, in force until it is rotated.

    The public file has the keys of all time, the newest first. A rotation writes it before the
    private key: one that is cut off leaves a public key that never signed anything.
    """

    def __init__(
        self, folder: Path, given: Path | None = None, files: PrivateFiles | None = None
    ) -> None:
        """`files` keeps the private key of the folder; one that is `given` is read as it is."""
        self._files = files or PrivateFiles()
        self._folder = folder
        self._given = given
        self.is_new = given is None and not (folder / KEY_FILE).exists()
        """True while the key is known to nobody: this start has made it."""
        self.signer = self._open()

    @property
    def is_given(self) -> bool:
        """True if the settings name the private key."""
        return self._given is not None

    def _open(self) -> ImageSigner:
        path = self._given or self._folder / KEY_FILE
        if self.is_new:
            self._files.write(path, ImageSigner.generate().private_pem())
        try:
            pem = self._read(path)
        except OSError as error:
            raise SigningKeyError(
                f"{path}: {error.strerror}: restore the key that signs images from a copy, or name"
                " another one in [signing] key"
            ) from error
        except DamagedFileError as error:
            raise SigningKeyError(f"{error}: restore it from a copy") from error
        signer = ImageSigner.parse(pem, str(path))
        if self._given is None:
            self._files.settle(path, pem)
        return self._published(signer)

    def _read(self, path: Path) -> bytes:
        if self._given is None:
            return self._files.read(path, _MAX_KEY_BYTES)
        _require_private(path)
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)

    def _published(self, signer: ImageSigner) -> ImageSigner:
        """Return the signer with the keys before it, and see that its own is among those."""
        found = signer.after(self._known())
        write_whole(self._folder / PUBLIC_FILE, found.public_pem)
        return found

    def _known(self) -> Sequence[SignatureKey]:
        path = self._folder / PUBLIC_FILE
        try:
            with path.open("rb") as file:
                raw = file.read(_MAX_RETIRED * _MAX_KEY_BYTES)
        except FileNotFoundError:
            return ()
        try:
            known = public_keys(raw)
        except InvalidPublicKeyError as error:
            raise self._damaged(path) from error
        if not known:  # it is written whole, with a key at least
            raise self._damaged(path)
        return known

    @staticmethod
    def _damaged(path: Path) -> SigningKeyError:
        return SigningKeyError(
            f"{path} is damaged: restore it from a copy, or remove it (signatures by earlier"
            " keys are then unknown to this server)"
        )

    def rotate(self) -> ImageSigner:
        """Sign by a new key from now on; raises SigningKeyError or OSError."""
        self.require_own()
        self.adopt(ImageSigner.generate().after(self.signer.keys))
        return self.signer

    def require_own(self) -> None:
        """Raise SigningKeyError where the settings name the key, so that another one is theirs."""
        if self._given is not None:
            raise SigningKeyError(
                f"the key is {self._given}, as the settings say: put the new one there, and start"
                " the server again; the old public key is kept"
            )

    def adopt(self, signer: ImageSigner) -> None:
        """Sign by this key from now on, and know those before it; raises OSError.

        A key that the settings name stays in force: whoever adopts another one asks first.
        """
        write_whole(self._folder / PUBLIC_FILE, signer.public_pem)
        if self._given is None and signer.key.id != self.signer.key.id:
            self._files.write(self._folder / KEY_FILE, signer.private_pem())
        self.signer = signer


def _require_private(path: Path) -> None:
    if is_open_to_others(path):
        raise SigningKeyError(f"{path} signs images and can be read by others: chmod 600 {path}")
