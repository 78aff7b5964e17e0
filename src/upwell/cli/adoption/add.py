"""`upwell add`: follow an image for a service, with one line."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, override

import click

from upwell.api.codec import encode
from upwell.api.pipeline import Window
from upwell.cli.adoption.following_options import snapshot_option
from upwell.cli.core.assignments import parse_assignments, read_assignments
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.documents import check_documents
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.output import Format, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.cli.notifications.options import notify_option
from upwell.cli.objects.creation import apply_all, refuse_existing, try_all
from upwell.cli.objects.running import should_wait, wait_until_running
from upwell.cli.objects.wait_options import timeout_option, wait_option
from upwell.formats.compose.model import (
    ComposeService,
    HealthCheck,
    MountKind,
    PublishedPort,
    ServiceMount,
)
from upwell.policy.adoption.following import FollowOptions, follow_plan
from upwell.policy.adoption.names import AdoptionError
from upwell.policy.images.schedule import InvalidDurationError, parse_duration
from upwell.policy.new_app.components import NewAppComponent, NewAppError, application_name
from upwell.store.interface import ApiClient

_PORT = re.compile(
    r"(?:(?P<ip>\d+\.\d+\.\d+\.\d+|\[[0-9a-fA-F:]+\]):)?(?:(?P<host>\d{1,5}):)?(?P<port>\d{1,5})"
    r"(?:/(?P<protocol>tcp|udp))?"
)
_DAILY = re.compile(r"(?P<hour>\d{1,2}):(?P<minute>\d{2})")
_INSTEAD = "or change them with the same options: `upwell add … -o yaml | upwell apply -f -`"
_HOURS, _MINUTES = 24, 60
_PATH_WORDS = frozenset({"health", "healthz", "live", "livez", "ping", "ready", "readyz", "status"})
"""Words that end the paths of health checks, and are no programs of most images."""
_MAX_PORT = 65535
_HTTP_PORTS = frozenset({80, 3000, 5000, 8000, 8080, 8888, 9090})
"""Ports of containers at which most images speak HTTP."""
_PROBE_SECONDS, _PROBE_TIMEOUT = 5, 2


class _Port(click.ParamType[PublishedPort]):
    """`[[IP:]HOST:]CONTAINER[/udp]`."""

    name = "port"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> PublishedPort:
        if isinstance(value, PublishedPort):
            return value
        text = str(value)
        match = _PORT.fullmatch(text)
        if match is None:
            self.fail(f"{text!r}: write [[IP:]HOST:]CONTAINER, /udp behind it", param, ctx)
        port, host = int(match["port"]), int(match["host"]) if match["host"] else None
        if not 0 < port <= _MAX_PORT or (host is not None and not 0 < host <= _MAX_PORT):
            self.fail(f"{text!r}: a port is a number from 1 to {_MAX_PORT}", param, ctx)
        address = (match["ip"] or "").strip("[]")
        return PublishedPort(port, host, address, match["protocol"] or "tcp")


class _Mount(click.ParamType[ServiceMount]):
    """`NAME:/path[:ro]`, or `/path/of/host:/path[:ro]`."""

    name = "volume"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> ServiceMount:
        if isinstance(value, ServiceMount):
            return value
        source, _, rest = str(value).partition(":")
        target, _, option = rest.partition(":")
        if not source or not target.startswith("/") or option not in {"", "ro", "rw"}:
            self.fail(
                f"{str(value)!r}: write NAME:/path or /path/of/host:/path, :ro behind it",
                param,
                ctx,
            )
        is_path = source.startswith("/")
        if not is_path and (source.startswith((".", "~")) or "/" in source):
            self.fail(
                f"{str(value)!r}: a path of the machine is written absolute, such as"
                f" /srv/{source.rpartition('/')[2] or 'data'}:{target},"
                " and the name of a volume has no /",
                param,
                ctx,
            )
        kind = MountKind.BIND if is_path else MountKind.VOLUME
        return ServiceMount(kind, target, source, read_only=option == "ro")


class _Window(click.ParamType[Window]):
    """`HH:MM+DURATION[ ZONE]`, or a cron expression in its place."""

    name = "window"

    @override
    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Window:
        if isinstance(value, Window):
            return value
        text = str(value)
        begin, plus, rest = text.rpartition("+")
        length, _, zone = rest.partition(" ")
        try:
            seconds = int(parse_duration(length).total_seconds()) if plus else 0
        except InvalidDurationError as error:
            self.fail(f"{text!r}: {error}", param, ctx)
        if not seconds:
            self.fail(f"{text!r}: write 03:00+2h, or '0 3 * * 1-5+2h Europe/Berlin'", param, ctx)
        daily = _DAILY.fullmatch(begin.strip())
        if daily and not (int(daily["hour"]) < _HOURS and int(daily["minute"]) < _MINUTES):
            self.fail(f"{text!r}: {begin} is no time of the day, 00:00 to 23:59", param, ctx)
        cron = f"{int(daily['minute'])} {int(daily['hour'])} * * *" if daily else begin.strip()
        return Window(cron=cron, duration_seconds=seconds, time_zone=zone.strip() or "UTC")


@dataclass(slots=True)
class _AddOptions:
    """Options of one call."""

    name: str = ""
    ports: tuple[PublishedPort, ...] = ()
    mounts: tuple[ServiceMount, ...] = ()
    env: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    health: str | None = None
    window: Window | None = None
    notify: tuple[str, ...] = ()
    snapshot: bool = False
    watch: bool = False
    wait: bool | None = None
    timeout: float = 600.0
    dry_run: bool = False

    def variables(self) -> dict[str, str]:
        """Return the variables of the containers; raises click.UsageError."""
        return read_assignments("--env-file", self.env_files) | parse_assignments("-e", self.env)


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_AddOptions, target, *names, **facts)


def _refuse_same_ports(ports: Sequence[PublishedPort]) -> None:
    """Raise UsageError for a port of the machine that would lead to two of the container."""
    for at, port in enumerate(ports):
        for other in ports[:at]:
            if port.is_at_one_with(other) and other.port != port.port:
                raise click.UsageError(
                    f"--port {port.host_port}:{port.port}: port {port.host_port} of the machine"
                    f" leads to {other.port} already: give another"
                )


@click.command(
    epilog=examples(
        "upwell add docker.io/library/nginx:1.27 --port 8080:80",
        "upwell add vendor/db:16 --name db --volume db:/var/lib/db --env-file db.env --health tcp",
        "upwell add vendor/app:1.2 --port 80:8080 --health /ready --window 03:00+2h",
        "upwell add vendor/app:1.2 --watch --notify slack://TokenA/TokenB/TokenC",
        "upwell add vendor/app:1.2 --port 80:8080 --dry-run -o yaml",
    )
)
@click.argument("image")
@_option("name", "--name", show_default="from the image", help="Name of the service.")
@_option(
    "ports",
    "-p",
    "--port",
    multiple=True,
    type=_Port(),
    metavar="[[IP:]HOST:]CONTAINER[/udp]",
    help="Port, and the machine's port that leads to it; repeatable.",
)
@_option(
    "mounts",
    "--volume",
    multiple=True,
    type=_Mount(),
    metavar="NAME:PATH[:ro]",
    help="Volume that outlives updates, or an absolute path of the machine; repeatable.",
)
@_option("env", "-e", "--env", multiple=True, metavar="NAME=VALUE", help="Variable; repeatable.")
@_option(
    "env_files",
    "--env-file",
    multiple=True,
    metavar="FILE",
    help="File with variables, one NAME=VALUE a line; repeatable.",
)
@_option(
    "health",
    "--health",
    metavar="PATH|tcp|none|COMMAND",
    show_default="tcp where there is a port",
    help="Check that a new image has to pass: /PATH over HTTP, a connection, or a shell command.",
)
@_option(
    "window",
    "--window",
    type=_Window(),
    metavar="BEGIN+LENGTH",
    show_default="any time",
    help="Time for updates: 03:00+2h each day, or a cron expression: '0 3 * * 6+4h Europe/Berlin'.",
)
@notify_option(_AddOptions)
@snapshot_option(_AddOptions)
@wait_option(_AddOptions, "Wait until it runs.")
@timeout_option(_AddOptions)
@_option("watch", "--watch", is_flag=True, help="Only tell of new images: run and change nothing.")
@_option(
    "dry_run", "--dry-run", is_flag=True, help="Have the server check the objects; create nothing."
)
@output_option(Format.NAME, Format.YAML, Format.JSON)
@connection_options
@click.pass_context
def add(ctx: click.Context, image: str, output: str) -> None:
    """Follow IMAGE for a service: run it, and update it whenever its tag names another image.

    On a terminal it waits until the service runs, and prints the addresses of the machine's ports.

    A new image takes the place of the old one once it passes the health check; one that does not is
    rolled back. With a volume, the old one is stopped first. -o yaml prints the objects that do all
    this and creates nothing; `upwell apply -f` takes them.
    """
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, _AddOptions)
    _refuse_same_ports(options.ports)
    try:
        service = ComposeService(
            application_name(options.name, NewAppComponent(image)),
            image,
            environment=options.variables(),
            ports=options.ports,
            mounts=options.mounts,
            health=_health(options.health, options.ports),
        )
        asked = FollowOptions(
            options.watch, options.window, snapshot=options.snapshot, notify=options.notify
        )
        plan = follow_plan(service, session.namespace, asked)
    except (AdoptionError, NewAppError) as error:
        raise CommandError(f"nothing was created: {error}", Exit.USAGE) from error
    manifests = check_documents([encode(one) for one in plan.objects], session)
    for note in plan.notes:
        echo(f"note: {note}", err=True)
    if output != Format.NAME:
        items = [manifest.document for manifest in manifests]
        write_data({"apiVersion": "v1", "kind": "List", "items": items}, output)
        return

    async def work(client: ApiClient) -> None:
        await refuse_existing(client, manifests, instead=_INSTEAD)
        if not options.dry_run:
            await try_all(client, manifests)
        await apply_all(client, manifests, dry_run=options.dry_run)
        if options.dry_run:
            return
        waits = not options.watch and should_wait(options.wait)
        if waits:
            await wait_until_running(client, manifests, options.timeout)
        _print_addresses(service, running=waits)
        _print_next_steps(service, waits=waits, watch=options.watch)

    session.run(work)


def _health(asked: str | None, ports: tuple[PublishedPort, ...]) -> HealthCheck | None:
    """Return the health check of an option's value; raises AdoptionError."""
    times = HealthCheck(interval=_PROBE_SECONDS, timeout=_PROBE_TIMEOUT)
    if asked is None:
        return times if ports else None
    if asked == "none":
        return HealthCheck(disabled=True)
    if asked.rpartition("/")[2] in _PATH_WORDS and not asked.startswith(("/", ".")):
        raise AdoptionError(
            f"--health {asked}: write /{asked} to ask this path over HTTP, or"
            f" '/bin/sh -c {asked}' to run it as a command"
        )
    if asked != "tcp" and not asked.startswith("/"):
        return replace(times, command=("/bin/sh", "-c", asked))
    if all(port.protocol != "tcp" for port in ports):
        raise AdoptionError(f"--health {asked} asks a TCP port: name it with --port")
    return times if asked == "tcp" else replace(times, http_path=asked)


def _print_addresses(service: ComposeService, *, running: bool) -> None:
    """Print where the machine's ports lead to it: the result, once it runs."""
    speaks_http = service.health is not None and bool(service.health.http_path)
    for port in service.ports:
        if port.host_port is None:
            continue
        place = f"{port.host_ip or 'localhost'}:{port.host_port}"
        suffix = "" if port.protocol == "tcp" else f"/{port.protocol}"
        is_http = not suffix and (speaks_http or port.port in _HTTP_PORTS)
        address = f"http://{place}/" if is_http else f"{place}{suffix}"
        if running:
            echo(address)
        else:
            echo(f"next: {address} once it is ready", err=True)


def _print_next_steps(service: ComposeService, *, waits: bool, watch: bool) -> None:
    echo(
        f"{service.name} follows {service.image}: `upwell describe is/{service.name}` shows what it"
        " names, and when it is looked at",
        err=True,
    )
    if not waits and not watch:
        echo(f"next: `upwell rollout status deployment/{service.name}` waits for it", err=True)
