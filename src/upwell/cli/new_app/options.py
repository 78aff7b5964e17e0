"""Options of `new-app`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import click

from upwell.cli.core.assignments import parse_assignments, read_assignments
from upwell.cli.core.kept_options import keep_option, kept
from upwell.cli.notifications.options import notify_option
from upwell.cli.objects.wait_options import timeout_option, wait_option
from upwell.policy.new_app.components import NewAppStrategy
from upwell.policy.new_app.images import ImportOptions

_OF_BUILDS = {
    "name",
    "image_streams",
    "strategy",
    "context_dir",
    "source_secret",
    "build_env",
    "follow_commits",
    "scheduled",
    "insecure",
    "save",
    "dry_run",
}
_BUILD_ALONE = {"binary", "dockerfile", "output"}


@dataclass(slots=True)
class NewAppOptions:
    """Options of one call of `new-app`."""

    name: str = ""
    images: tuple[str, ...] = ()
    image_streams: tuple[str, ...] = ()
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
    approve: tuple[str, ...] = ()
    volumes: tuple[str, ...] = ()
    notify: tuple[str, ...] = ()
    follow_commits: bool = True
    scheduled: bool = True
    insecure: bool = False
    save: str = ""
    dry_run: bool = False
    wait: bool | None = None
    timeout: float = 600.0
    binary: bool = False
    dockerfile: str = ""
    output: str = ""
    build_only: bool = False

    def variables(self) -> dict[str, str]:
        """Return the variables of the containers; raises click.UsageError."""
        return read_assignments("--env-file", self.env_files) | parse_assignments("-e", self.env)

    def build_variables(self) -> dict[str, str]:
        """Return the variables of the build; raises click.UsageError."""
        return parse_assignments("--build-env", self.build_env)

    @property
    def imports(self) -> ImportOptions:
        """Import policy of new images."""
        return ImportOptions(scheduled=self.scheduled, insecure=self.insecure)


def application_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options of `new-app` to a command; `chosen_options` reads them."""
    for target, option in reversed(_options()):
        if target not in _BUILD_ALONE:
            function = option(function)
    return function


def build_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options of `new-build` to a command; `chosen_options` reads them."""
    for target, option in reversed(_options()):
        if target in _OF_BUILDS | _BUILD_ALONE:
            function = option(function)
    return function


def chosen_options(ctx: click.Context) -> NewAppOptions:
    """Return the options of this call."""
    return kept(ctx, NewAppOptions)


def _options() -> list[tuple[str, Callable[[Any], Any]]]:
    return [
        *_source_options(),
        _option(
            "env",
            "-e",
            "--env",
            multiple=True,
            metavar="NAME=VALUE",
            help="Environment variable of the containers; repeatable. Visible in the process list.",
        ),
        _option(
            "env_files",
            "--env-file",
            multiple=True,
            metavar="FILE",
            help="File of NAME=VALUE lines, or - for stdin; repeatable. -e takes precedence.",
        ),
        _option(
            "build_env",
            "--build-env",
            multiple=True,
            metavar="NAME=VALUE",
            help="Environment variable of the build; repeatable.",
        ),
        _option(
            "binary",
            "--binary",
            is_flag=True,
            help="Build what is uploaded when a build is started (start-build --from-dir).",
        ),
        _option(
            "dockerfile",
            "-D",
            "--dockerfile",
            metavar="TEXT",
            show_default="that of the repository",
            help="Text of the Dockerfile to build, or - for stdin.",
        ),
        _option(
            "output",
            "--to",
            metavar="NAME[:TAG]",
            show_default="latest of a stream with the name of the build",
            help="Tag of a stream to which the result is pushed.",
        ),
        _option(
            "port",
            "--port",
            type=click.IntRange(1, 65535),
            show_default="what the Dockerfile or the image exposes, else 8080",
            help="Port that the containers listen on.",
        ),
        _option("expose", "--expose", is_flag=True, help="Create a Route to the Service."),
        _option(
            "as_deployment_config",
            "--as-deployment-config",
            is_flag=True,
            help="Create a DeploymentConfig instead of a Deployment.",
        ),
        _option(
            "stages",
            "--stages",
            metavar="STAGE[=NAMESPACE],...",
            show_default="none",
            help="Stages of a Pipeline to create, in order; each image is tested in each stage. The"
            " namespace of a stage is NAME-STAGE unless given.",
        ),
        _option(
            "test",
            "--test",
            metavar="COMMAND",
            show_default="a TCP check of its port",
            help="Shell command that tests the application in each stage: run in its own image,"
            " with its address in $UPWELL_ADDRESS.",
        ),
        _option(
            "approve",
            "--approve",
            multiple=True,
            metavar="STAGE",
            help="Stage that takes no image before somebody has approved it; repeatable.",
        ),
        _option(
            "volumes",
            "--volume",
            multiple=True,
            metavar="[NAME=]PATH",
            help="Path of the containers that is kept in a claim, of which one instance at a time"
            " has hold; repeatable.",
        ),
        ("notify", notify_option(NewAppOptions)),
        _option(
            "follow_commits",
            "--follow-commits/--no-follow-commits",
            default=True,
            show_default=True,
            help="Have the server look at the repository for commits, at intervals.",
        ),
        _option(
            "scheduled",
            "--scheduled/--no-scheduled",
            default=True,
            show_default=True,
            help="Import new images again at intervals, or once.",
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
            show_default="none",
            help="New file for the manifests, with mode 0600.",
        ),
        (
            "wait",
            wait_option(
                NewAppOptions,
                "Wait until it runs (of stages, in the first), and print the URL of its Route.",
            ),
        ),
        ("timeout", timeout_option(NewAppOptions)),
        _option(
            "dry_run",
            "--dry-run",
            is_flag=True,
            help="Check the objects on the server, and create nothing.",
        ),
    ]


def _source_options() -> list[tuple[str, Callable[[Any], Any]]]:
    return [
        _option(
            "name",
            "--name",
            show_default="from the repository or image",
            help="Name of the application.",
        ),
        _option(
            "images",
            "--image",
            "--docker-image",
            multiple=True,
            metavar="IMAGE",
            help="Image to run, even if a template or folder has that name; repeatable.",
        ),
        _option(
            "image_streams",
            "-i",
            "--image-stream",
            multiple=True,
            metavar="NAME[:TAG]",
            help="Tag of a stream of the namespace, never an image elsewhere; repeatable.",
        ),
        _option(
            "templates",
            "--template",
            multiple=True,
            metavar="NAME",
            help="Name of a Template of the namespace; repeatable.",
        ),
        _option(
            "files",
            "-f",
            "--file",
            multiple=True,
            metavar="SOURCE",
            help="File, http(s) URL or - for stdin with a Template; repeatable.",
        ),
        _option(
            "strategy",
            "--strategy",
            type=click.Choice(NewAppStrategy, case_sensitive=False),
            show_default="source with a BUILDER, docker for a clone with a Dockerfile",
            help="Build strategy.",
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
            help="Secret with the credentials of the repository.",
        ),
    ]


def _option(target: str, *names: str, **facts: Any) -> tuple[str, Callable[[Any], Any]]:
    return target, keep_option(NewAppOptions, target, *names, **facts)
