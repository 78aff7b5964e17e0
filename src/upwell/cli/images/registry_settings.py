"""Registries of a server's configuration file, for commands that stand alone."""

from collections.abc import Sequence
from pathlib import Path

from upwell.cli.core.errors import CommandError, Exit
from upwell.registry.hosts import RegistryHost


def configured_registries(config: Path) -> Sequence[RegistryHost]:
    """Return the registries of a server's configuration file; raises CommandError."""
    # The server's settings take longer to load than a small image to copy.
    from upwell.settings import SettingsError, read_file  # noqa: PLC0415

    try:
        return read_file(config).registries
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error
