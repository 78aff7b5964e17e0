"""The table [keyless] of the configuration file: signatures without a key of one's own."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import ValidationInfo, model_validator

from upwell.registry.hosts import is_loopback
from upwell.settings.base import SettingsTable
from upwell.settings.values import AllowedValues, FilePath, HttpAddress, Text, require_readable


class KeylessSettings(SettingsTable):
    """Keyless signatures besides those of the server's key; without `fulcio`, there are none."""

    fulcio: HttpAddress = ""
    """The address of Fulcio, which certifies a key for each signature (API v2)."""
    rekor: HttpAddress = ""
    """The address of Rekor, whose log keeps each signature (API v1)."""
    fulcio_ca_file: FilePath | None = None
    """Certificates of Fulcio's authorities, PEM: the root, and those between."""
    rekor_key_file: FilePath | None = None
    """The public key of Rekor's log, PEM."""
    ca_file: FilePath | None = None
    """A certificate authority that is trusted besides the system's for both addresses, PEM."""
    identity_token_file: FilePath | None = None
    """A file with this server's identity token, which is read for each signature: somebody else
    renews it."""
    issuer: Text = ""
    """The issuer of the identity, to the letter as certificates have it."""
    identity: Annotated[str, AllowedValues("an email address or a URI", blank=True)] = ""
    """The identity that certificates are for, as policies ask for it."""

    @model_validator(mode="after")
    def _goes_together(self, info: ValidationInfo) -> "KeylessSettings":
        if not self.fulcio:
            return self
        needed = {
            "rekor": self.rekor,
            "fulcio-ca-file": self.fulcio_ca_file,
            "rekor-key-file": self.rekor_key_file,
            "identity-token-file": self.identity_token_file,
            "issuer": self.issuer,
            "identity": self.identity,
        }
        for key, value in needed.items():
            if not value:
                raise ValueError(f"{key}: missing, as there is fulcio")
        if not self.fulcio.startswith("https://") and not is_loopback(_host(self.fulcio)):
            raise ValueError("fulcio: has to be https://, as the identity token is sent there")
        require_readable("fulcio-ca-file", self.fulcio_ca_file, info)
        require_readable("rekor-key-file", self.rekor_key_file, info)
        require_readable("ca-file", self.ca_file, info)
        return self


def _host(url: str) -> str:
    return urlsplit(url).hostname or ""
