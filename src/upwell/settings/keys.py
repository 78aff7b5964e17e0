"""Tables of keys in the configuration file: what encrypts the database, what signs images."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from upwell.encryption.keys import KeySource
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, FilePath, Flag


def _key_source(value: Any) -> str:
    return str(KeySource.parse(str(value)))


class EncryptionSettings(SettingsTable):
    """Encryption of `upwell.db`, `deliveries.db` and the server's own keys."""

    keys: Annotated[
        tuple[
            Annotated[
                str,
                BeforeValidator(_key_source),
                AllowedValues(
                    '"file:/PATH", "credential:NAME", "pkcs11:URI", "exec:/PROGRAM" or "none"',
                    explained=True,
                ),
            ],
            ...,
        ],
        Field(strict=False),
        AllowedValues("a list of keys"),
    ] = ()
    """Keys outside the data folder. The first encrypts, all open what is encrypted; `none` in the
    first place writes plain texts. Without keys, nothing is encrypted."""

    @property
    def sources(self) -> tuple[KeySource, ...]:
        """The keys, parsed."""
        return tuple(map(KeySource.parse, self.keys))


class SigningSettings(SettingsTable):
    """Signatures and attestations of the images that builds make."""

    enabled: Flag = True
    """Signs images and attests how they were made."""
    key: FilePath | None = None
    """The private key, ECDSA on P-256 in PEM without a passphrase; without one, a key is made in
    the data folder at the first start."""
    builder_id: Annotated[str, AllowedValues("a URI", blank=True)] = ""
    """The name of this builder in provenance; without one, the API's address."""
