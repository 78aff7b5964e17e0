"""The table [keyless] of the configuration file."""

from pathlib import Path

import pytest

from upwell.settings import FileSettings, SettingsError, read_file

WHOLE = """
[keyless]
fulcio = "https://fulcio.example.com"
rekor = "https://rekor.example.com"
fulcio-ca-file = "{folder}/fulcio.pem"
rekor-key-file = "{folder}/rekor.pub"
identity-token-file = "{folder}/token-of-later"
issuer = "https://accounts.example.com"
identity = "upwell@example.com"
"""


def read(folder: Path, text: str) -> FileSettings:
    for name in ("fulcio.pem", "rekor.pub"):
        (folder / name).write_text("PEM")
    path = folder / "upwell.toml"
    path.write_text(text.format(folder=folder))
    return read_file(path)


def test_nothing_is_asked_for_without_fulcio(tmp_path: Path) -> None:
    assert read(tmp_path, "").keyless.fulcio == ""


def test_the_token_may_come_later(tmp_path: Path) -> None:
    assert read(tmp_path, WHOLE).keyless.identity == "upwell@example.com"


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("https://fulcio", "http://fulcio", "fulcio: has to be https://"),
        ('issuer = "https://accounts.example.com"', "", "issuer: missing"),
        ('identity = "upwell@example.com"', "", "identity: missing"),
        ('rekor = "https://rekor.example.com"', "", "rekor: missing"),
        ("/rekor.pub", "/other.pub", "rekor-key-file"),
        ("/fulcio.pem", "/other.pem", "cannot be read"),
    ],
)
def test_what_does_not_go_together_is_refused(
    tmp_path: Path, before: str, after: str, fault: str
) -> None:
    assert before in WHOLE
    with pytest.raises(SettingsError, match=fault):
        read(tmp_path, WHOLE.replace(before, after))
