"""`python -m upwell.encryption.token_command VERB URI`: wraps and unwraps by a PKCS#11 token.

A process of its own, as `upwell.encryption.programs` runs it: the library of a token is somebody's
native code, which may hang, crash or print; the PIN is in no other process. The key never leaves
the token: it is asked to encrypt and decrypt (CKM_AES_GCM, PKCS#11 3.0 section 6.13).
"""

import base64
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from upwell.encryption.programs import EXPLAINED, OTHER_KEY, WRONG_PIN
from upwell.encryption.sealing import Sealer, SealError, place
from upwell.encryption.token_uri import CREDENTIAL, InvalidTokenUriError, TokenUri
from upwell.machine.private_file import MAX_SECRET_BYTES, is_open_to_others, read_secret_file

_PLACE = place("data key")
_KEY_ID = b"pkcs11\0\0"
"""Of every such key: its names may change, and the tag tells another one."""
_MAX_INPUT = 64 * 1024
_KEY_BITS = 256
_TAG_BITS = 128
_INSTALL = "python-pkcs11 is not installed: pip install 'upwell[pkcs11]'"


class TokenFaultError(Exception):
    """The token cannot be used; the message says why, and what to do."""

    def __init__(self, message: str, code: int = EXPLAINED) -> None:
        super().__init__(message)
        self.code = code


class TokenCipher:
    """AES-GCM by a key that stays on its token. Implements Cipher."""

    def __init__(self, key: Any) -> None:
        self._key = key

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the ciphertext with its tag."""
        return bytes(self._key.encrypt(data, **_gcm(nonce, associated_data)))

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        """Return the content; raises SealError."""
        import pkcs11  # noqa: PLC0415 - an optional dependency

        refusals = (
            pkcs11.EncryptedDataInvalid,
            pkcs11.EncryptedDataLenRange,
            pkcs11.exceptions.GeneralError,  # what SoftHSM says of a wrong tag
            pkcs11.FunctionFailed,
        )
        try:
            return bytes(self._key.decrypt(data, **_gcm(nonce, associated_data)))
        except refusals as error:
            raise SealError("the token does not open it") from error


def _gcm(nonce: bytes, bound: bytes) -> dict[str, Any]:
    from pkcs11 import GCMParams, Mechanism  # noqa: PLC0415 - an optional dependency

    return {
        "mechanism": Mechanism.AES_GCM,
        "mechanism_param": GCMParams(nonce, bound, _TAG_BITS),
    }


def run(verb: str, uri: TokenUri, content: bytes) -> bytes:
    """Do what a verb says; raises TokenFaultError or SealError."""
    with _session(uri, writes=verb == "new") as session:
        if verb == "new":
            _make_key(session, uri)
            return b""
        key = _key(session, uri)
        sealer = Sealer.by(_KEY_ID, TokenCipher(key))
        return sealer.seal(_PLACE, content) if verb == "wrap" else sealer.open_at(_PLACE, content)


@contextmanager
def _session(uri: TokenUri, *, writes: bool) -> Iterator[Any]:
    try:
        import pkcs11  # noqa: PLC0415 - an optional dependency
    except ImportError as error:
        raise TokenFaultError(_INSTALL) from error

    pin = _pin(uri)
    try:
        library = pkcs11.lib(str(uri.module))
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as error:
        raise TokenFaultError(f"{uri.module} cannot be loaded: {error}") from error
    token = _token(library, uri)
    if pkcs11.TokenFlag.USER_PIN_FINAL_TRY in token.flags:
        raise TokenFaultError(
            "the token has one try left for its PIN, and is not asked: correct the PIN at"
            f" {uri.pin_source}, and log in once by another program",
            WRONG_PIN,
        )
    try:
        session = token.open(user_pin=pin, rw=writes)
    except (pkcs11.PinIncorrect, pkcs11.PinInvalid, pkcs11.PinLenRange) as error:
        message = f"the token refuses the PIN at {uri.pin_source}: correct it"
        raise TokenFaultError(message, WRONG_PIN) from error
    except (pkcs11.PinLocked, pkcs11.PinExpired) as error:
        message = "the token's PIN is locked or has expired: its security officer sets another one"
        raise TokenFaultError(message, WRONG_PIN) from error
    with session:
        yield session


def _token(library: Any, uri: TokenUri) -> Any:
    import pkcs11  # noqa: PLC0415 - an optional dependency

    found = [
        token
        for slot in library.get_slots(token_present=True)
        for token in _tokens(slot, pkcs11)
        if uri.token in {"", token.label} and uri.serial in {"", token.serial.decode().strip()}
    ]
    wanted = " ".join(filter(None, (uri.token, uri.serial)))
    if not found:
        raise TokenFaultError(
            f"token {wanted} is not there: connect it, or correct token= or module-path="
        )
    if len(found) > 1:
        raise TokenFaultError(f"there are {len(found)} tokens {wanted}: name one by serial=")
    return found[0]


def _tokens(slot: Any, pkcs11: Any) -> list[Any]:
    """Return the token of a slot, if it can be read: another one that cannot is none of ours."""
    try:
        return [slot.get_token()]
    except pkcs11.PKCS11Error:
        return []


def _key(session: Any, uri: TokenUri) -> Any:
    import pkcs11  # noqa: PLC0415 - an optional dependency

    try:
        return session.get_key(
            object_class=pkcs11.ObjectClass.SECRET_KEY,
            key_type=pkcs11.KeyType.AES,
            label=uri.label or None,
            id=uri.key_id or None,
        )
    except pkcs11.NoSuchKey as error:
        raise TokenFaultError(
            f"the token has no AES key {_names(uri)}: restore it from its backup; for a new"
            " installation, `upwell encryption new-key 'pkcs11:…'` makes one"
        ) from error
    except pkcs11.MultipleObjectsReturned as error:
        raise TokenFaultError(f"there are several keys {_names(uri)}: name one by id=") from error


def _make_key(session: Any, uri: TokenUri) -> None:
    import pkcs11  # noqa: PLC0415 - an optional dependency

    attribute = pkcs11.Attribute
    wanted = {attribute.LABEL: uri.label} if uri.label else {attribute.ID: uri.key_id}
    if list(session.get_objects(wanted)):
        raise TokenFaultError(f"the token has {_names(uri)}, which may be what a database needs")
    session.generate_key(
        pkcs11.KeyType.AES,
        _KEY_BITS,
        label=uri.label or None,
        id=uri.key_id or None,
        store=True,
        capabilities=pkcs11.MechanismFlag.ENCRYPT | pkcs11.MechanismFlag.DECRYPT,
        template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
    )


def _names(uri: TokenUri) -> str:
    return " ".join(filter(None, (uri.label, uri.key_id.hex())))


def _pin(uri: TokenUri) -> str:
    path = uri.pin_file
    if path is None:
        folder = os.environ.get("CREDENTIALS_DIRECTORY", "")
        name = uri.pin_source.removeprefix(CREDENTIAL)
        if not folder:
            raise TokenFaultError(
                f"systemd gave this process no credentials: add LoadCredential={name}:/PATH to the"
                " unit"
            )
        path = Path(folder) / name
    elif path.exists() and is_open_to_others(path):
        raise TokenFaultError(f"{path} has the PIN and can be read by others: chmod 600 {path}")
    try:
        pin = read_secret_file(path)
    except OSError as error:
        raise TokenFaultError(f"{path} should have the PIN: {error.strerror}") from error
    if not pin or len(pin) > MAX_SECRET_BYTES:
        raise TokenFaultError(f"{path} has no PIN: write it there, on one line")
    return pin


def main() -> None:
    """Answer one request; what the library prints goes to stderr."""
    answer = os.dup(1)
    os.dup2(2, 1)
    verb, text = sys.argv[1:3]
    try:
        content = base64.b64decode(sys.stdin.buffer.read(_MAX_INPUT).strip(), validate=True)
        found = run(verb, TokenUri.parse(text), content)
    except SealError:
        sys.exit(OTHER_KEY)
    except (TokenFaultError, InvalidTokenUriError) as error:
        _fail(str(error), getattr(error, "code", EXPLAINED))
    except Exception as error:  # noqa: BLE001 - of a library of somebody's
        _fail(f"the token failed: {type(error).__name__} {error}".rstrip(), EXPLAINED)
    os.write(answer, base64.b64encode(found) + b"\n")


def _fail(message: str, code: int) -> NoReturn:
    print(" ".join(message.split()), file=sys.stderr)  # noqa: T201 - the answer of a program
    sys.exit(code)


if __name__ == "__main__":
    main()
