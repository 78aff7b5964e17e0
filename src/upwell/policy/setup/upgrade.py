"""Upgrades of an installation by what has installed it."""

import json
import re
import tomllib
from collections.abc import Collection, Mapping, Sequence
from enum import StrEnum

DEBIAN_PREFIX = "/usr/lib/upwell"
_NAME = "upwell"
_REQUIREMENT = re.compile(r"upwell\s*([<>=!~].*|\[.*)?")
"""Name of a registry's package, with or without a version, as pipx keeps it."""


class Installer(StrEnum):
    """Programs that look after an installation."""

    APT = "apt-get"
    UV = "uv"
    PIPX = "pipx"


RECEIPTS: Mapping[Installer, str] = {
    Installer.UV: "uv-receipt.toml",
    Installer.PIPX: "pipx_metadata.json",
}
"""Files at the top of an environment in which its installer has written what was asked for."""


class UnknownInstallerError(Exception):
    """No known program looks after the installation; the message says what to do."""


def installer_of(prefix: str, files: Collection[str]) -> Installer:
    """Return what has installed the environment `prefix`, which has these files at its top.

    Raises UnknownInstallerError.
    """
    if prefix == DEBIAN_PREFIX:
        return Installer.APT
    for installer, receipt in RECEIPTS.items():
        if receipt in files:
            return installer
    raise UnknownInstallerError(
        f"this Upwell lies in {prefix}, which neither uv, pipx nor apt looks after: take a backup"
        " (`upwell backup FILE`), install the new version there, and restart the server"
    )


def source_of(installer: Installer, receipt: str) -> str:
    """Return the file or address that an environment was installed from; empty: by its name.

    `receipt` is what the installer wrote into the environment. An upgrade by the installer alone
    would install the same file again.
    """
    try:
        match installer:
            case Installer.UV:
                wanted = tomllib.loads(receipt)["tool"]["requirements"]
                own = next(one for one in wanted if one["name"] == _NAME)
                places = ("path", "url", "git", "directory", "editable")
                return next((str(own[key]) for key in places if key in own), "")
            case Installer.PIPX:
                written = str(json.loads(receipt)["main_package"]["package_or_url"])
                return "" if _REQUIREMENT.fullmatch(written) else written
    except (ValueError, KeyError, TypeError, StopIteration):
        return ""  # of another version of the installer, which knows what it does
    return ""


def upgrade_command(
    installer: Installer, file: str = "", python: str = "", *, prefix: str = "", source: str = ""
) -> Sequence[str]:
    """Return the command that installs the newest version, or the one of a wheel or package.

    A wheel gets the interpreter `python`, that of the installation: the first that uv finds may be
    too old. It goes into the environment `prefix` as it is, so that the next upgrade finds the
    newest version again; where that was installed from a file, its `source`, it takes its place.
    Raises UnknownInstallerError where nothing but another file can be newer.
    """
    own = ("--python", python) if python else ()
    if source and not file:
        raise UnknownInstallerError(
            f"this Upwell was installed from {source}, so {installer} would install that again:"
            " `upwell upgrade FILE` installs another one, such as the wheel of a newer release"
        )
    newest: Mapping[Installer, Sequence[str]] = {
        Installer.APT: ("apt-get", "install", "--yes", "--only-upgrade", _NAME),
        Installer.UV: ("uv", "tool", "upgrade", _NAME),
        Installer.PIPX: ("pipx", "upgrade", _NAME),
    }
    if not file:
        return newest[installer]
    anew: Mapping[Installer, Sequence[str]] = {
        Installer.UV: ("uv", "tool", "install", "--force", *own, file),
        Installer.PIPX: ("pipx", "install", "--force", *own, file),
    }
    if source and installer in anew:
        return anew[installer]
    in_place: Mapping[Installer, Sequence[str]] = {
        Installer.APT: ("apt-get", "install", "--yes", "--allow-downgrades", file),
        Installer.UV: ("uv", "pip", "install", "--python", f"{prefix}/bin/python", file),
        Installer.PIPX: ("pipx", "runpip", _NAME, "install", file),
    }
    return in_place[installer]
