"""The options of `new-app`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from upwell.cli.core.assignments import parse_assignments, read_assignments
from upwell.policy.new_app.components import NewAppStrategy
from upwell.policy.new_app.images import ImportWish

_KEY = "upwell.cli.new_app.options"


@dataclass(slots=True)
class NewAppOptions:
    """What one call asks for."""

    name: str = ""
    images: tuple[str, ...] = ()
    templates: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    strategy: NewAppStrategy | None = None
    context_dir: str = ""
    source_secret: str = ""
    env: tuple[str, ...] = ()
    env_files: tuple[str, ...] = ()
    build_env: tuple[str, ...] = ()
    port: int | None = None
    expose: bool = False
    as_deployment_config: bool = False
    stages: str = ""
    test: str = ""
    scheduled: bool = True
    insecure: bool = False
    save: str = ""
    dry_run: bool = False

    def variables(self) -> dict[str, str]:
        """Return the variables of the containers; raises click.UsageError."""
        return read_assignments("--env-file", self.env_files) | parse_assignments("-e", self.env)

    def build_variables(self) -> dict[str, str]:
        """Return the variables of the build; raises click.UsageError."""
        return parse_assignments("--build-env", self.build_env)

    @property
    def imports(self) -> ImportWish:
        """How new images are imported."""
        return ImportWish(scheduled=self.scheduled, insecure=self.insecure)


def application_options[F: Callable[..., Any]](function: F) -> F:
    """Give a command the options of `new-app`; `chosen_options` returns what they say."""
    for option in reversed(_options()):
        function = option(function)
    return function


def chosen_options(ctx: click.Context) -> NewAppOptions:
    """Return the options of this call."""
    options: NewAppOptions = ctx.meta.setdefault(_KEY, NewAppOptions())
    return options


def _options() -> list[Callable[[Any], Any]]:
    return [
        *_source_options(),
        _option(
            "env",
            "-e",
            "--env",
            multiple=True,
            metavar="NAME=VALUE",
            help="Variable of the containers; repeatable. For all to see in `ps`.",
        ),
        _option(
            "env_files",
            "--env-file",
            multiple=True,
            metavar="FILE",
            help="File of NAME=VALUE lines, or - for stdin; repeatable. -e wins.",
        ),
        _option(
            "build_env",
            "--build-env",
            multiple=True,
            metavar="NAME=VALUE",
            help="Variable of the build; repeatable.",
        ),
        _option(
            "port",
            "--port",
            type=click.IntRange(1, 65535),
            show_default="what the Dockerfile or the image exposes, else 8080",
            help="Port that the containers listen on.",
        ),
        _option("expose", "--expose", is_flag=True, help="Make a Route to the Service."),
        _option(
            "as_deployment_config",
            "--as-deployment-config",
            is_flag=True,
            help="Make a DeploymentConfig, not a Deployment.",
        ),
        _option(
            "stages",
            "--stages",
            metavar="STAGE[=NAMESPACE],...",
            show_default="it runs in the one namespace",
            help="Make a Pipeline that takes each image through these, tested in each. Each stage"
            " has a namespace of its own: NAME-STAGE.",
        ),
        _option(
            "test",
            "--test",
            metavar="COMMAND",
            show_default="that it accepts connections",
            help="Shell command that tests it in each stage: run in the application's own image,"
            " with its address in $UPWELL_ADDRESS.",
        ),
        _option(
            "scheduled",
            "--scheduled/--no-scheduled",
            default=True,
            show_default=True,
            help="Look for changes of a new image again and again.",
        ),
        _option(
            "insecure",
            "--insecure-registry",
            is_flag=True,
            help="Import new images over plain HTTP or unverified TLS.",
        ),
        _option(
            "save",
            "--save",
            metavar="FILE",
            show_default="they are not kept",
            help="Write the manifests to a new file, readable for you alone.",
        ),
        _option(
            "dry_run", "--dry-run", is_flag=True, help="Let the server check it; make nothing."
        ),
    ]


def _source_options() -> list[Callable[[Any], Any]]:
    return [
        _option("name", "--name", show_default="from the repository or image", help="Its name."),
        _option(
            "images",
            "--image",
            "--docker-image",
            multiple=True,
            metavar="IMAGE",
            help="An image to run, whatever else has that name; repeatable.",
        ),
        _option(
            "templates",
            "--template",
            multiple=True,
            metavar="NAME",
            help="A Template of the namespace; repeatable.",
        ),
        _option(
            "files",
            "-f",
            "--file",
            multiple=True,
            metavar="SOURCE",
            help="A Template in a file, at an http(s) address or on stdin (-); repeatable.",
        ),
        _option(
            "strategy",
            "--strategy",
            type=click.Choice(NewAppStrategy, case_sensitive=False),
            show_default="source with a builder, docker for a clone with a Dockerfile",
            help="How the image is built.",
        ),
        _option(
            "context_dir",
            "--context-dir",
            metavar="PATH",
            show_default="its root",
            help="Folder of the repository to build.",
        ),
        _option(
            "source_secret",
            "--source-secret",
            metavar="NAME",
            show_default="none",
            help="Secret with the login of the repository.",
        ),
    ]


def _option(target: str, *names: str, **facts: Any) -> Callable[[Any], Any]:
    def keep(ctx: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(chosen_options(ctx), target, value)

    return click.option(*names, expose_value=False, callback=keep, **facts)
