from datetime import timedelta
from pathlib import Path

import pytest

from upwell.settings import SettingsError, read_file

TABLE = """
[[token-exchange]]
name = "github"
issuer = "https://token.actions.githubusercontent.com"
service-account = "shop/ci"
claims = ["repository=acme/shop", "ref=refs/heads/main"]
"""


def read(folder: Path, text: str) -> str:
    path = folder / "upwell.toml"
    path.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_file(path)
    return str(caught.value)


def test_a_table_becomes_a_rule(tmp_path: Path) -> None:
    path = tmp_path / "upwell.toml"
    path.write_text(TABLE)
    (table,) = read_file(path).token_exchange
    rule = table.rule
    assert (rule.namespace, rule.account, rule.audience) == ("shop", "ci", "upwell")
    assert rule.lifetime == timedelta(minutes=15)
    assert [one.text for one in rule.claims] == ["repository=acme/shop", "ref=refs/heads/main"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ('claims = ["repository=acme/shop", "ref=refs/heads/main"]', "claims = []", "at least one"),
        ('"ref=refs/heads/main"', '"main"', "CLAIM=PATTERN"),
        ('claims = ["repository=acme/shop", "ref=refs/heads/main"]', "", "claims: missing"),
        ("https://", "http://", "issuer: expected https://"),
        ("shop/ci", "ci", "service-account: expected NAMESPACE/NAME"),
        ("shop/ci", "upwell-system/ci", "none of upwell-system"),
        (
            'name = "github"',
            'name = "github"\nca-file = "/none/ca"',
            "ca-file /none/ca cannot be read",
        ),
        ('name = "github"', 'name = ""', "name: expected a text"),
        ('name = "github"', 'name = "github"\nlifetime = "25h"', "lifetime: expected a duration"),
    ],
)
def test_a_fault_is_told_with_its_key(tmp_path: Path, old: str, new: str, fault: str) -> None:
    assert fault in read(tmp_path, TABLE.replace(old, new))


def test_tables_of_one_issuer_go_together(tmp_path: Path) -> None:
    other = TABLE.replace('name = "github"', 'name = "two"\naudience = "other"')
    assert "one issuer, so the same audience" in read(tmp_path, TABLE + other)
    assert "several tables have this name" in read(tmp_path, TABLE + TABLE)
