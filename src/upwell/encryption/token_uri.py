"""Names of keys on PKCS#11 tokens: URIs (RFC 7512).

pkcs11:token=upwell;object=data?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=/etc/pin
"""

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, unquote_to_bytes

_SCHEME = "pkcs11:"
_PATH = {"token", "serial", "object", "id", "type"}
_QUERY = {"module-path", "pin-source"}
CREDENTIAL = "credential:"


class InvalidTokenUriError(ValueError):
    """The text names no key on a token; the message says what to change."""


@dataclass(frozen=True, slots=True)
class TokenUri:
    """A key on a token, the library that reaches it, and where its PIN is."""

    module: Path
    pin_source: str
    """A path, or `credential:NAME`."""
    token: str = ""
    serial: str = ""
    label: str = ""
    key_id: bytes = b""

    @classmethod
    def parse(cls, text: str) -> "TokenUri":
        """Read a URI; raises InvalidTokenUriError."""
        if not text.startswith(_SCHEME):
            raise InvalidTokenUriError(f"{text!r} does not begin with {_SCHEME}")
        path, _, query = text.removeprefix(_SCHEME).partition("?")
        named = _attributes(path, ";", _PATH)
        asked = _attributes(query, "&", _QUERY)
        if not (named.get("token") or named.get("serial")):
            raise InvalidTokenUriError("name the token: token=LABEL, or serial=NUMBER")
        if not (named.get("object") or named.get("id")):
            raise InvalidTokenUriError("name the key: object=LABEL, or id=%01")
        if named.get("type", "secret-key") != "secret-key":
            raise InvalidTokenUriError("type is secret-key: an AES key of 256 bits wraps data keys")
        module, pin = unquote(asked.get("module-path", "")), unquote(asked.get("pin-source", ""))
        if not Path(module).is_absolute():
            raise InvalidTokenUriError("name the library: module-path=/usr/lib/….so after a ?")
        pin = pin.removeprefix("file:")
        if not (Path(pin).is_absolute() or _is_credential(pin)):
            raise InvalidTokenUriError(
                "say where the PIN is: pin-source=/PATH or pin-source=credential:NAME"
            )
        return cls(
            Path(module),
            pin,
            unquote(named.get("token", "")),
            unquote(named.get("serial", "")),
            unquote(named.get("object", "")),
            unquote_to_bytes(named.get("id", "")),
        )

    @property
    def pin_file(self) -> Path | None:
        """File with the PIN; None: it is a credential of systemd."""
        return None if _is_credential(self.pin_source) else Path(self.pin_source)


def _is_credential(pin: str) -> bool:
    name = pin.removeprefix(CREDENTIAL)
    return pin.startswith(CREDENTIAL) and bool(name) and "/" not in name


def _attributes(text: str, separator: str, known: set[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in filter(None, text.split(separator)):
        name, _, value = part.partition("=")
        if name == "pin-value":
            raise InvalidTokenUriError("a PIN is not for the settings: pin-source=/PATH")
        if name not in known or name in found:
            raise InvalidTokenUriError(
                f"{name!r} is unknown, or there twice: {', '.join(sorted(known))} come here"
            )
        found[name] = value
    return found
