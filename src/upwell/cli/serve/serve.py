"""`upwell serve`: run the server."""

import logging
import os
import sys
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from upwell.cli.core.addresses import join_address, parse_address
from upwell.cli.core.errors import CommandError
from upwell.cli.core.loading import uncollected
from upwell.cli.core.terminal import echo
from upwell.cli.serve.access import access_options
from upwell.cli.serve.options import data_dir_option, platform_options, router_options
from upwell.machine.service_manager import ServiceManager
from upwell.policy.images.schedule import InvalidDurationError, parse_duration

if TYPE_CHECKING:
    from upwell.settings import AccessSettings, KubernetesSettings, ServerSettings


def _say_where(settings: "ServerSettings") -> None:
    """Say on a terminal where the server is, and what to do next."""
    if not sys.stderr.isatty():
        return
    scheme = "https" if settings.access.is_encrypted else "http"
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    echo(f"Upwell serves at {scheme}://{host}:{settings.port}", err=True)
    if settings.on == "machine":
        routes = f"http://{settings.router_address}, https://{settings.router_https_address}"
        echo(f"Routes:  {routes}", err=True)
    echo(f"Data:    {settings.data_dir}", err=True)
    echo("Next:    `upwell status`, `upwell help new-app` in another terminal", err=True)
    echo("Ctrl-C stops the server; what runs goes on", err=True)


def _cluster_settings(
    found: "KubernetesSettings", kubeconfig: Path | None, replica_address: str
) -> "KubernetesSettings":
    """Return the settings with what options say besides; raises click.BadParameter."""
    try:
        return found.at(kubeconfig, replica_address)
    except ValueError as error:
        message = f"{replica_address!r} is {error}"
        raise click.BadParameter(message, param_hint="--replica-address") from error


def _duration(_: click.Context, __: click.Parameter, value: str | None) -> timedelta | None:
    if value is None:
        return None
    try:
        found = parse_duration(value)
    except InvalidDurationError as error:
        raise click.BadParameter(str(error)) from error
    if not found:
        raise click.BadParameter(f"{value!r} is no time at all: give a duration such as 5m")
    return found


@click.command(
    epilog="""\b
Examples:
  upwell serve
  upwell serve --listen 127.0.0.1:7080 --data-dir /var/lib/upwell
  upwell serve --config /etc/upwell/upwell.toml --import-interval 5m
  upwell serve --listen 0.0.0.0:7080 --tls --tls-name upwell.example.com
  upwell serve --on kubernetes --kubeconfig ~/.kube/config
"""
)
@data_dir_option("Folder for objects, images, logs and volumes.")
@click.option(
    "--listen",
    callback=parse_address,
    default="127.0.0.1:7080",
    show_default=True,
    envvar="UPWELL_LISTEN",
    show_envvar=True,
    help="HOST:PORT of the API and of the embedded registry.",
)
@platform_options
@router_options
@click.option(
    "--config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    default=None,
    envvar="UPWELL_CONFIG",
    show_envvar=True,
    help="TOML file with registries and limits.  [default: none]",
)
@click.option(
    "--import-interval",
    callback=_duration,
    default=None,
    envvar="UPWELL_IMPORT_INTERVAL",
    show_envvar=True,
    help="Interval of scheduled imports, such as 5m.  [default: 15m]",
)
@click.option(
    "--upload-limit",
    metavar="SIZE",
    default=None,
    envvar="UPWELL_UPLOAD_LIMIT",
    show_envvar=True,
    help="Maximum size of an upload for a build, such as 512Mi.  [default: 1Gi]",
)
@click.option(
    "--build-slots",
    type=click.IntRange(min=0),
    default=0,
    show_default=True,
    envvar="UPWELL_BUILD_SLOTS",
    show_envvar=True,
    help="Maximum of parallel builds; 0: one per two CPUs, at least two, if each has 2 GiB.",
)
@click.option(
    "--allow-host-path",
    "host_paths",
    multiple=True,
    envvar="UPWELL_ALLOW_HOST_PATHS",
    show_envvar=True,
    help="Folder that workloads may mount, with its subfolders; repeatable.  [default: none]",
)
@click.option(
    "--allow-outbound",
    "destinations",
    multiple=True,
    metavar="PLACE",
    envvar="UPWELL_ALLOW_OUTBOUND",
    show_envvar=True,
    help=(
        "HOST:PORT, address or network of this machine's that objects may name; repeatable."
        "  [default: none]"
    ),
)
@click.option(
    "--container-storage",
    type=click.Path(path_type=Path, file_okay=False),
    default=None,
    envvar="UPWELL_CONTAINER_STORAGE",
    show_envvar=True,
    help="Podman's storage for workloads.  [default: the system's, as of `podman ps`]",
)
@click.option(
    "--adopt-empty",
    is_flag=True,
    envvar="UPWELL_ADOPT_EMPTY",
    show_envvar=True,
    help="Start although the database lost objects: their instances run on without an owner.",
)
@click.option(
    "--log-level",
    type=click.Choice(["debug", "info", "warning", "error"]),
    default="info",
    show_default=True,
    envvar="UPWELL_LOG_LEVEL",
    show_envvar=True,
    help="Minimum severity of logged messages.",
)
@access_options
def serve(  # noqa: PLR0913, PLR0917 - each option is a parameter
    data_dir: Path,
    platform: str | None,
    kubeconfig: Path | None,
    replica_address: str,
    listen: tuple[str, int],
    router: tuple[str, int],
    router_https: tuple[str, int],
    config: Path | None,
    import_interval: timedelta | None,
    upload_limit: str | None,
    build_slots: int,
    host_paths: tuple[str, ...],
    destinations: tuple[str, ...],
    container_storage: Path | None,
    adopt_empty: bool,  # noqa: FBT001 - click passes options by name
    log_level: str,
    access: "AccessSettings",
) -> None:
    """Run the server until it is stopped.

    Workloads and the router keep running when it stops, and are adopted when it starts.
    """
    with uncollected():
        from upwell.app.server import (  # noqa: PLC0415 - keeps `--help` fast
            ServeError,
            serve_until_stopped,
        )
        from upwell.registry.credentials import default_auth_files  # noqa: PLC0415
        from upwell.server.asgi.logs import configure_logging  # noqa: PLC0415
        from upwell.settings import (  # noqa: PLC0415
            FileSettings,
            ServerPlatform,
            ServerSettings,
            SettingsError,
            parse_size,
            read_file,
            trace_export,
        )

    host, port = listen
    configure_logging(getattr(logging, log_level.upper()))
    try:
        file = read_file(config) if config else FileSettings()
        size = parse_size(upload_limit) if upload_limit else file.upload_limit_bytes
        settings = ServerSettings(
            data_dir=data_dir.absolute(),
            on=ServerPlatform(platform) if platform else file.on,
            kubernetes=_cluster_settings(file.kubernetes, kubeconfig, replica_address),
            host=host,
            port=port,
            router_address=join_address(router),
            router_https_address=join_address(router_https),
            network=file.network,
            trusted_proxies=file.router.trusted_proxies,
            import_interval=import_interval or file.import_interval,
            upload_limit_bytes=size,
            build_slots=build_slots,
            allowed_host_paths=(*host_paths, *file.allowed_host_paths),
            allowed_devices=file.allowed_devices,
            allowed_destinations=(*destinations, *file.outbound.allow),
            container_storage=container_storage.absolute() if container_storage else None,
            build_isolation=file.builds,
            workload_limits=file.workloads,
            registries=file.registries,
            auth_files=tuple(default_auth_files(os.environ, Path.home())),
            access=access,
            retention=file.retention,
            listening=file.server,
            quota=file.quota,
            disk=file.disk,
            embedded_registry=file.embedded_registry,
            external_registry=file.external_registry,
            audit=file.audit,
            encryption=file.encryption,
            signing=file.signing,
            token_exchange=file.token_exchange,
            keyless=file.keyless,
            oidc=file.oidc,
            waves=file.waves,
            tracing=trace_export(os.environ, file.tracing),
            service_manager=ServiceManager.take(os.environ, os.getpid()),
            git_author=file.git.author,
            adopt_empty=adopt_empty,
        )
        serve_until_stopped(settings, lambda: _say_where(settings))
    except (SettingsError, ServeError) as error:
        raise CommandError(str(error)) from error
