"""Certificate authorities for Podman and Buildah, which have no setting for them.

Both read what Go reads: `SSL_CERT_DIR`, besides the system's file.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path

_SYSTEM_FOLDERS = ("/etc/ssl/certs", "/etc/pki/tls/certs")
"""Folders that Go reads when nobody names others (crypto/x509 on Linux)."""


def write_authorities(folder: Path, files: Iterable[Path]) -> Path | None:
    """Make `folder` hold copies of exactly these files; None when there are none."""
    shutil.rmtree(folder, ignore_errors=True)
    wanted = sorted(set(files))
    if not wanted:
        return None
    folder.mkdir(parents=True)
    for number, file in enumerate(wanted):
        shutil.copyfile(file, folder / f"{number}.pem")
    return folder


def certificate_folders(folder: Path) -> str:
    """Return the value of SSL_CERT_DIR: the system's folders, and this one."""
    return ":".join((*_SYSTEM_FOLDERS, str(folder.absolute())))
