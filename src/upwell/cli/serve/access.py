"""Options of `upwell serve` for TLS and access."""

from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click

from upwell.policy.access.roles import Role

_FILE = click.Path(path_type=Path, exists=True, dir_okay=False)
_OPTIONS = (
    click.option(
        "--tls",
        is_flag=True,
        envvar="UPWELL_TLS",
        show_envvar=True,
        help="Serve TLS with a generated certificate, signed by DATA-DIR/tls/ca.pem.",
    ),
    click.option(
        "--tls-name",
        "tls_names",
        multiple=True,
        envvar="UPWELL_TLS_NAMES",
        show_envvar=True,
        help="Additional host name of the generated certificate; repeatable.  [default: none]",
    ),
    click.option(
        "--tls-cert",
        type=_FILE,
        envvar="UPWELL_TLS_CERT",
        show_envvar=True,
        help="PEM file of the certificate and its chain.  [default: none]",
    ),
    click.option(
        "--tls-key",
        type=_FILE,
        envvar="UPWELL_TLS_KEY",
        show_envvar=True,
        help="PEM file of the certificate's private key.  [default: none]",
    ),
    click.option(
        "--insecure-listen",
        is_flag=True,
        envvar="UPWELL_INSECURE_LISTEN",
        show_envvar=True,
        help="Allow an address that others can reach without TLS.",
    ),
    click.option(
        "--anonymous",
        type=click.Choice(["none", Role.VIEWER.value]),
        default="none",
        show_default=True,
        envvar="UPWELL_ANONYMOUS",
        show_envvar=True,
        help="Role of requests without a token, in all namespaces.",
    ),
)


def access_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add these options to a command, which gets them as one parameter, `access`."""

    @wraps(command)
    def with_access(
        *,
        tls: bool,
        tls_names: tuple[str, ...],
        tls_cert: Path | None,
        tls_key: Path | None,
        insecure_listen: bool,
        anonymous: str,
        **others: Any,
    ) -> None:
        from upwell.settings import AccessSettings  # noqa: PLC0415 - keeps `--help` fast

        access = AccessSettings(
            tls=tls,
            tls_cert=tls_cert,
            tls_key=tls_key,
            tls_names=tls_names,
            insecure_listen=insecure_listen,
            anonymous=None if anonymous == "none" else Role(anonymous),
        )
        command(access=access, **others)

    decorated: Callable[..., None] = with_access
    for option in reversed(_OPTIONS):
        decorated = option(decorated)
    return decorated
