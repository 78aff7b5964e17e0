"""The table [oidc] of the configuration file."""

from pathlib import Path

import pytest

from upwell.policy.access.groups import grants_of_groups
from upwell.policy.access.roles import grant_text
from upwell.settings import FileSettings, ServerSettings, SettingsError, read_file

WHOLE = """
[oidc]
issuer = "https://id.example.com/realm"
client-id = "upwell"
url = "https://upwell.example.com:7080"

[[oidc.grants]]
group = "team-shop"
grant = "deployer@shop,test"

[[oidc.grants]]
group = "platform"
grant = "admin@*"
"""


def read(folder: Path, text: str) -> FileSettings:
    path = folder / "upwell.toml"
    path.write_text(text)
    return read_file(path)


def test_groups_have_grants(tmp_path: Path) -> None:
    rules = read(tmp_path, WHOLE).oidc.group_grants

    found = grants_of_groups(rules, ["platform", "Team-Shop", "others", "team-shop"])

    assert [grant_text(one) for one in found] == ["deployer@shop,test", "admin@*"]
    assert grants_of_groups(rules, ["TEAM-SHOP", "*", ""]) == ()


def test_without_an_issuer_nobody_signs_in(tmp_path: Path) -> None:
    assert read(tmp_path, "").oidc.issuer == ""


def test_the_server_answers_to_the_name_of_its_pages(tmp_path: Path) -> None:
    settings = ServerSettings(data_dir=tmp_path, oidc=read(tmp_path, WHOLE).oidc)

    assert settings.answered_names == ("upwell.example.com",)


@pytest.mark.parametrize(
    ("before", "after", "fault"),
    [
        ("https://id", "http://id", "expected https://HOST"),
        ('client-id = "upwell"', "", "client-id: missing"),
        ("deployer@shop,test", "deployer", "expected ROLE@NAMESPACE"),
        ("deployer@shop,test", "owner@shop", "expected ROLE@NAMESPACE"),
        ("deployer@shop,test", "admin@upwell-system", "expected ROLE@NAMESPACE"),
        ("deployer@shop,test", "", "expected ROLE@NAMESPACE"),
        ('group = "platform"', 'group = ""', "expected a group"),
        ('group = "platform"', "", "group: missing"),
        ('"upwell"', '"upwell"\nusername-prefix = "system:"', "expected a text with a colon"),
        ('"upwell"', '"upwell"\nusername-prefix = ""', "expected a text with a colon"),
        ('"upwell"', '"upwell"\nusername-prefix = "corp-"', "expected a text with a colon"),
        ('"upwell"', '"upwell"\nscopes = ["profile"]', "`openid` has to be one"),
        ('"upwell"', '"upwell"\nrecheck = "2h"', "recheck: longer than believed"),
        ('"upwell"', '"upwell"\nidle = "5m"', "idle: has to be twice"),
        ('"upwell"', '"upwell"\nca-file = "/none/ca.pem"', "ca-file /none/ca.pem cannot be read"),
        (
            '"upwell"',
            '"upwell"\nclient-secret-file = "/none/s"',
            "client-secret-file /none/s cannot",
        ),
        ("deployer@shop,test", "deployer@shop,viewer@test", "expected ROLE@NAMESPACE"),
        ('"upwell"', '"upwell"\nsecret = "x"', "unknown key"),
    ],
)
def test_faults_are_named(tmp_path: Path, before: str, after: str, fault: str) -> None:
    assert before in WHOLE

    with pytest.raises(SettingsError) as caught:
        read(tmp_path, WHOLE.replace(before, after, 1))
    assert fault in str(caught.value)
