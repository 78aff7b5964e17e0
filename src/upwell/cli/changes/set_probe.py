"""`upwell set probe`: change the probes of containers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import click

from upwell.cli.changes.pod_templates import containers, containers_option, pod_spec, port_of
from upwell.cli.changes.writing import (
    Document,
    Wanted,
    WritingOptions,
    change_objects,
    write_options,
)
from upwell.cli.core.after_dashes import CommandAfterDashes, words_after_dashes
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.core.targets import TargetOptions, parse_targets, target_options

_ACTIONS = ("exec", "httpGet", "tcpSocket", "grpc")


@dataclass(slots=True)
class _ProbeOptions:
    liveness: bool = False
    readiness: bool = False
    startup: bool = False
    remove: bool = False
    get_url: str = ""
    open_tcp: str = ""
    pattern: str = "*"
    initial_delay_seconds: int | None = None
    timeout_seconds: int | None = None
    period_seconds: int | None = None
    success_threshold: int | None = None
    failure_threshold: int | None = None
    command: tuple[str, ...] = ()

    @property
    def fields(self) -> list[str]:
        """The fields of a container that are meant."""
        chosen = {
            "livenessProbe": self.liveness,
            "readinessProbe": self.readiness,
            "startupProbe": self.startup,
        }
        return [field for field, is_chosen in chosen.items() if is_chosen]

    @property
    def numbers(self) -> dict[str, int]:
        """The numbers that were given, by their field."""
        given = {
            "initialDelaySeconds": self.initial_delay_seconds,
            "timeoutSeconds": self.timeout_seconds,
            "periodSeconds": self.period_seconds,
            "successThreshold": self.success_threshold,
            "failureThreshold": self.failure_threshold,
        }
        return {field: number for field, number in given.items() if number is not None}

    def action(self) -> Document | None:
        """Return what the probe does; None to leave that as it is. Raises click.UsageError."""
        if sum((bool(self.get_url), bool(self.open_tcp), bool(self.command))) > 1:
            raise click.UsageError("give one of --get-url, --open-tcp and -- COMMAND")
        if self.command:
            return {"exec": {"command": list(self.command)}}
        if self.open_tcp:
            return {"tcpSocket": {"port": port_of(self.open_tcp)}}
        return {"httpGet": _http_get(self.get_url)} if self.get_url else None


def _http_get(url: str) -> Document:
    """Return the action of a URL such as `http://:8080/healthz`; the port may be a name."""
    parts = urlsplit(url)
    host, colon, port = parts.netloc.rpartition(":")
    if parts.scheme not in {"http", "https"} or not parts.netloc:
        raise click.UsageError(f"--get-url={url}: write http://:PORT/PATH or https://:PORT/PATH")
    if not colon:
        host, port = port, {"http": "80", "https": "443"}[parts.scheme]
    path = parts.path + (f"?{parts.query}" if parts.query else "")
    action: Document = {"path": path or "/", "port": port_of(port), "scheme": parts.scheme.upper()}
    return {**action, "host": host} if host else action


@dataclass(frozen=True, slots=True)
class _Probes:
    options: _ProbeOptions
    action: Document | None

    def __call__(self, document: Document) -> None:
        for container in containers(pod_spec(document), self.options.pattern):
            for field in self.options.fields:
                if self.options.remove:
                    container.pop(field, None)
                else:
                    container[field] = self._probe(container, field)

    def _probe(self, container: Document, field: str) -> Document:
        probe = dict(container.get(field) or {})
        if self.action is not None:
            probe = {key: value for key, value in probe.items() if key not in _ACTIONS}
            probe |= self.action
        if not any(action in probe for action in _ACTIONS):
            raise CommandError(
                f"container {container.get('name')} has no {field}: say what it does with"
                " --get-url, --open-tcp or -- COMMAND"
            )
        return {**probe, **self.options.numbers}


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    return keep_option(_ProbeOptions, target, *names, **facts)


def _number(target: str, name: str, text: str) -> Callable[[Any], Any]:
    whole = click.IntRange(min=0)
    return _option(target, name, type=whole, show_default="as it is", help=text)


@click.command(
    cls=CommandAfterDashes,
    epilog=examples(
        "upwell set probe deployment/shop --readiness --get-url=http://:8080/healthz",
        "upwell set probe dc/gate --liveness --open-tcp=5432 --initial-delay-seconds=30",
        "upwell set probe deployment/shop --liveness -c web -- cat /tmp/alive",
        "upwell set probe deployment/shop --remove --readiness --liveness",
    ),
)
@click.argument("words", nargs=-1, metavar="KIND/NAME... [-- COMMAND...]")
@_option("liveness", "--liveness", is_flag=True, help="Change the liveness probe.")
@_option("readiness", "--readiness", is_flag=True, help="Change the readiness probe.")
@_option("startup", "--startup", is_flag=True, help="Change the startup probe.")
@_option("remove", "--remove", is_flag=True, help="Remove these probes.")
@_option(
    "get_url",
    "--get-url",
    metavar="URL",
    show_default="as it is",
    help="URL to ask; without a host, at the Pod's own address.",
)
@_option(
    "open_tcp",
    "--open-tcp",
    metavar="PORT",
    show_default="as it is",
    help="Number or name of the port to connect to.",
)
@containers_option(_ProbeOptions)
@_number("initial_delay_seconds", "--initial-delay-seconds", "Seconds before the first try.")
@_number("timeout_seconds", "--timeout-seconds", "Seconds after which a try has failed.")
@_number("period_seconds", "--period-seconds", "Seconds between tries.")
@_number("success_threshold", "--success-threshold", "Successes in turn that count as one.")
@_number("failure_threshold", "--failure-threshold", "Failures in turn that count as one.")
@target_options
@write_options(local=True)
@connection_options
@click.pass_context
def probe(ctx: click.Context, words: tuple[str, ...]) -> None:
    """Set and remove the liveness, readiness and startup probes of containers.

    What is not given stays as it is.
    """
    session: Session = ctx.ensure_object(Session)
    options = kept(ctx, _ProbeOptions)
    options.command = words_after_dashes(ctx)
    if not options.fields:
        raise click.UsageError("say which probe: --readiness, --liveness, --startup")
    action = options.action()
    if options.remove and (action or options.numbers):
        raise click.UsageError("--remove takes neither an action nor numbers")
    targets = parse_targets(session, kept(ctx, TargetOptions), words)
    wanted = Wanted(_Probes(options, action), "probes updated", "probes unchanged")
    change_objects(session, targets, wanted, kept(ctx, WritingOptions))
