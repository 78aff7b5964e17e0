"""Upgrades of an installation by what has installed it."""

from collections.abc import Collection, Sequence
from enum import StrEnum

DEBIAN_PREFIX = "/usr/lib/upwell"


class Installer(StrEnum):
    """Programs that look after an installation."""

    APT = "apt-get"
    UV = "uv"
    PIPX = "pipx"


class UnknownInstallerError(Exception):
    """No known program looks after the installation; the message says what to do."""


def installer_of(prefix: str, files: Collection[str]) -> Installer:
    """Return what has installed the environment `prefix`, which has these files at its top.

    Raises UnknownInstallerError.
    """
    if prefix == DEBIAN_PREFIX:
        return Installer.APT
    if "uv-receipt.toml" in files:
        return Installer.UV
    if "pipx_metadata.json" in files:
        return Installer.PIPX
    raise UnknownInstallerError(
        f"this Upwell lies in {prefix}, which neither uv, pipx nor apt looks after: take a backup"
        " (`upwell backup FILE`), install the new version there, and restart the server"
    )


def upgrade_command(installer: Installer, file: str = "", python: str = "") -> Sequence[str]:
    """Return the command that installs the newest version, or the one of a wheel or package.

    A wheel gets the interpreter `python`, that of the installation: the first that uv finds may be
    too old.
    """
    own = ("--python", python) if python else ()
    match installer:
        case Installer.APT if file:
            return ("apt-get", "install", "--yes", "--allow-downgrades", file)
        case Installer.APT:
            return ("apt-get", "install", "--yes", "--only-upgrade", "upwell")
        case Installer.UV if file:
            return ("uv", "tool", "install", "--force", *own, file)
        case Installer.UV:
            return ("uv", "tool", "upgrade", "upwell")
        case Installer.PIPX if file:
            return ("pipx", "install", "--force", *own, file)
        case Installer.PIPX:
            return ("pipx", "upgrade", "upwell")
