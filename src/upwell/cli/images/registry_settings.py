"""Registries of a server's configuration file, for commands that stand alone."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from upwell.app.local_access import server_authorities
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError, Exit
from upwell.registry.errors import UntrustedCertificateError
from upwell.registry.hosts import RegistryHost


def own_authorities(session: Session) -> Mapping[str, Path]:
    """Return the PEM file to trust by host name: that of the command's server."""
    return server_authorities(session.server, session.authority)


def error_text(error: Exception) -> str:
    """Return what a command says of a failed request, with what its user can do."""
    if isinstance(error, UntrustedCertificateError):
        return (
            f"{error.name}: its certificate is not trusted: name its authority by --ca before the"
            " command's name (UPWELL_CA) where it is the server's own registry, by `ca-file` in a"
            " [[registry]] of the file of --config elsewhere, or use --insecure"
        )
    return str(error)


def configured_registries(config: Path) -> Sequence[RegistryHost]:
    """Return the registries of a server's configuration file; raises CommandError."""
    # The server's settings take longer to load than a small image to copy.
    from upwell.settings import SettingsError, read_file  # noqa: PLC0415

    try:
        return read_file(config).registries
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error
