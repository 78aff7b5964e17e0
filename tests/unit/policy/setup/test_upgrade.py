"""Commands that install another version, by what has installed this one."""

import pytest

from upwell.policy.setup.upgrade import (
    Installer,
    UnknownInstallerError,
    installer_of,
    source_of,
    upgrade_command,
)


@pytest.mark.parametrize(
    ("prefix", "files", "installer", "command"),
    [
        ("/usr/lib/upwell", {"bin"}, Installer.APT, "apt-get install --yes --only-upgrade upwell"),
        ("/root/x", {"bin", "uv-receipt.toml"}, Installer.UV, "uv tool upgrade upwell"),
        ("/root/x", {"bin", "pipx_metadata.json"}, Installer.PIPX, "pipx upgrade upwell"),
    ],
)
def test_an_installation_is_upgraded_by_its_installer(
    prefix: str, files: set[str], installer: Installer, command: str
) -> None:
    assert installer_of(prefix, files) is installer
    assert " ".join(upgrade_command(installer)) == command
    assert upgrade_command(installer, "/tmp/x.whl")[-1] == "/tmp/x.whl"  # noqa: S108 - a name
    again = upgrade_command(installer, "x.whl", "3.12", source="/root/before.whl")
    assert ("--force --python 3.12 x.whl" in " ".join(again)) == (installer is not Installer.APT)


def test_a_wheel_goes_into_an_environment_that_finds_the_newest_version_later() -> None:
    into = upgrade_command(Installer.UV, "x.whl", "3.12", prefix="/root/tools/upwell")
    assert " ".join(into) == "uv pip install --python /root/tools/upwell/bin/python x.whl"
    with_pip = upgrade_command(Installer.PIPX, "x.whl", "3.12", prefix="/root/venvs/upwell")
    assert " ".join(with_pip) == "pipx runpip upwell install x.whl"


UV_RECEIPT = """\
[tool]
requirements = [{ name = "apprise" }, { name = "upwell"%s }]
"""


@pytest.mark.parametrize(
    ("installer", "receipt", "source"),
    [
        (Installer.UV, UV_RECEIPT % "", ""),
        (Installer.UV, UV_RECEIPT % ', specifier = ">=1"', ""),
        (Installer.UV, UV_RECEIPT % ', path = "/root/a.whl"', "/root/a.whl"),
        (Installer.UV, UV_RECEIPT % ', url = "https://x.test/a.whl"', "https://x.test/a.whl"),
        (Installer.PIPX, '{"main_package": {"package_or_url": "upwell"}}', ""),
        (Installer.PIPX, '{"main_package": {"package_or_url": "upwell==1.0"}}', ""),
        (Installer.PIPX, '{"main_package": {"package_or_url": "/root/a.whl"}}', "/root/a.whl"),
        (Installer.UV, "[tool", ""),
        (Installer.PIPX, "[]", ""),
    ],
)
def test_what_was_installed_from_a_file_is_known(
    installer: Installer, receipt: str, source: str
) -> None:
    assert source_of(installer, receipt) == source


def test_an_installer_does_not_install_the_same_file_again() -> None:
    with pytest.raises(UnknownInstallerError, match=r"installed from /a.whl.*upwell upgrade FILE"):
        upgrade_command(Installer.UV, source="/a.whl")


def test_of_another_environment_its_owner_takes_care() -> None:
    with pytest.raises(UnknownInstallerError, match=r"lies in /opt/venv.*`upwell backup FILE`"):
        installer_of("/opt/venv", {"bin", "pyvenv.cfg"})
