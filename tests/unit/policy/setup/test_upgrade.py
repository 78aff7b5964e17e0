"""Commands that install another version, by what has installed this one."""

import pytest

from upwell.policy.setup.upgrade import (
    Installer,
    UnknownInstallerError,
    installer_of,
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
    keeps = "--python 3.12" in " ".join(upgrade_command(installer, "x.whl", "3.12"))
    assert keeps == (installer is not Installer.APT)


def test_of_another_environment_its_owner_takes_care() -> None:
    with pytest.raises(UnknownInstallerError, match=r"lies in /opt/venv.*`upwell backup FILE`"):
        installer_of("/opt/venv", {"bin", "pyvenv.cfg"})
