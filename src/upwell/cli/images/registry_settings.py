"""Registries of a server's configuration file, for commands that stand alone."""

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click

from upwell.app.local_access import registry_tokens, server_authorities
from upwell.app.registries.client import RegistryClientSettings
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError, Exit
from upwell.registry.credentials import default_auth_files
from upwell.registry.errors import UnauthorizedError, UntrustedCertificateError
from upwell.registry.hosts import RegistryHost
from upwell.registry.interface import Credential

_ANYBODY = "upwell"
"""User name beside a token: the server's registry takes any."""


def registry_options[C: Callable[..., Any]](command: C) -> C:
    """Add the options of commands that ask registries themselves."""
    config = click.option(
        "--config",
        type=click.Path(path_type=Path),
        default=None,
        show_default="none",
        help="Configuration file of `upwell serve` with registries to apply here.",
    )
    insecure = click.option("--insecure", is_flag=True, help="Allow plain HTTP and unverified TLS.")
    return insecure(config(command))


def client_settings(session: Session, options: Mapping[str, Any]) -> RegistryClientSettings:
    """Return how registries are asked by these options, with the logins of `podman login`.

    The server's own registry is asked with the server's token where these have none for it; never
    over TLS that is not verified.
    """
    tokens = {} if options["insecure"] else registry_tokens(session.server, session.token)
    return RegistryClientSettings(
        auth_files=default_auth_files(os.environ, Path.home()),
        registries=_configured(options["config"]) if options["config"] else (),
        insecure=options["insecure"],
        authorities=server_authorities(session.server, session.authority),
        logins={name: Credential(_ANYBODY, token) for name, token in tokens.items()},
    )


def error_text(error: Exception) -> str:
    """Return what a command says of a failed request, with what its user can do."""
    if isinstance(error, UntrustedCertificateError):
        return (
            f"{error.name}: its certificate is not trusted: name its authority by --ca before the"
            " command's name (UPWELL_CA) where it is the server's own registry, by `ca-file` in a"
            " [[registry]] of the file of --config elsewhere, or use --insecure"
        )
    if isinstance(error, UnauthorizedError):
        return (
            f"{error.refusal}; log in with `podman login {error.name.partition('/')[0]}`, or with"
            " `upwell login` where it is the server's own registry (which --server names)"
        )
    return str(error)


def _configured(config: Path) -> Sequence[RegistryHost]:
    """Return the registries of a server's configuration file; raises CommandError."""
    # The server's settings take longer to load than a small image to copy.
    from upwell.settings import SettingsError, read_file  # noqa: PLC0415

    try:
        return read_file(config).registries
    except SettingsError as error:
        raise CommandError(str(error), Exit.USAGE) from error
