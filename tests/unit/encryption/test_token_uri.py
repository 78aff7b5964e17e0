"""Names of keys on PKCS#11 tokens."""

from pathlib import Path

import pytest

from upwell.encryption.keys import InvalidKeySourceError, KeySource
from upwell.encryption.token_uri import TokenUri

WHERE = "?module-path=/usr/lib/t.so&pin-source=/etc/upwell/pin"


def test_every_part_is_read() -> None:
    uri = TokenUri.parse(
        "pkcs11:token=my%20token;serial=42;object=data;id=%01%ff;type=secret-key"
        "?module-path=/usr/lib/t.so&pin-source=file:/etc/upwell/pin"
    )
    assert uri == TokenUri(
        Path("/usr/lib/t.so"), "/etc/upwell/pin", "my token", "42", "data", b"\x01\xff"
    )
    assert KeySource.parse(f"pkcs11:token=a;object=b{WHERE}").files == (Path("/etc/upwell/pin"),)
    credential = "pkcs11:token=a;object=b?module-path=/t.so&pin-source=credential:pin"
    assert KeySource.parse(credential).files == ()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (f"pkcs11:object=b{WHERE}", "name the token"),
        (f"pkcs11:token=a{WHERE}", "name the key"),
        (f"pkcs11:token=a;object=b;type=private{WHERE}", "secret-key"),
        ("pkcs11:token=a;object=b?pin-source=/pin", "name the library"),
        ("pkcs11:token=a;object=b?module-path=t.so&pin-source=/pin", "name the library"),
        ("pkcs11:token=a;object=b?module-path=/t.so", "where the PIN is"),
        ("pkcs11:token=a;object=b?module-path=/t.so&pin-source=pin", "where the PIN is"),
        ("pkcs11:token=a;object=b?module-path=/t.so&pin-source=credential:a/b", "where the PIN is"),
        ("pkcs11:token=a;object=b?module-path=/t.so&pin-value=4321", "not for the settings"),
        (f"pkcs11:token=a;token=c;object=b{WHERE}", "there twice"),
        (f"pkcs11:token=a;slot-id=1;object=b{WHERE}", "unknown"),
    ],
)
def test_what_names_no_key_is_refused(text: str, why: str) -> None:
    with pytest.raises(InvalidKeySourceError, match=why) as caught:
        KeySource.parse(text)
    assert "4321" not in str(caught.value)
