"""Request options of `start-build`: variables, build arguments, strategy options."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import click

from upwell.api.validation.labels import is_variable_name
from upwell.policy.builds.triggers import MANUAL

_KEY = "upwell.cli.builds.requests"


@dataclass(slots=True)
class RequestChoice:
    """Request options of one call."""

    env: tuple[str, ...] = ()
    build_args: tuple[str, ...] = ()
    incremental: bool | None = None
    no_cache: bool | None = None
    log_level: str = ""
    unless_built: bool = False
    given: list[str] = field(default_factory=list)
    """Named options that have no effect on an upload."""

    def document(self, name: str, namespace: str) -> dict[str, Any]:
        """Return the BuildRequest (build/v1); raises click.UsageError."""
        env = [_variable("--env", text) for text in self.env]
        _require_variables("--env", env)
        if self.log_level:
            env.append({"name": "BUILD_LOGLEVEL", "value": self.log_level})
        request: dict[str, Any] = {
            "apiVersion": "build.openshift.io/v1",
            "kind": "BuildRequest",
            "metadata": {"name": name, "namespace": namespace},
            "triggeredBy": [{"message": MANUAL}],
            "env": env,
        }
        if self.unless_built:
            request["unlessBuilt"] = True
        docker: dict[str, Any] = {}
        if self.build_args:
            docker["buildArgs"] = [_variable("--build-arg", text) for text in self.build_args]
        if self.no_cache is not None:
            docker["noCache"] = self.no_cache
        if docker:
            request["dockerStrategyOptions"] = docker
        if self.incremental is not None:
            request["sourceStrategyOptions"] = {"incremental": self.incremental}
        return request


def request_options[F: Callable[..., Any]](function: F) -> F:
    """Add the request options to a command; `request_choice` reads them."""
    for option in (
        _option(
            "log_level",
            "--build-loglevel",
            metavar="0-10",
            show_default="none",
            help="Value of BUILD_LOGLEVEL in the build.",
        ),
        _option(
            "no_cache",
            "--no-cache/--cache",
            default=None,
            help="Docker strategy: rebuild or use cached layers.  [default: as configured]",
        ),
        _option(
            "incremental",
            "--incremental/--clean",
            default=None,
            help="Source strategy: reuse the last artifacts or not.  [default: as configured]",
        ),
        _option(
            "build_args",
            "--build-arg",
            multiple=True,
            metavar="K=V",
            help="Build argument of the Docker strategy; repeatable.",
        ),
        click.option(
            "--unless-built",
            is_flag=True,
            expose_value=False,
            callback=_store_unless_built,
            help="Use the image of an earlier build with equal inputs: for jobs that are retried.",
        ),
        _option(
            "env",
            "-e",
            "--env",
            multiple=True,
            metavar="K=V",
            help="Environment variable of the build; repeatable.",
        ),
    ):
        function = option(function)
    return function


def request_choice(ctx: click.Context) -> RequestChoice:
    """Return the request options of this call."""
    choice: RequestChoice = ctx.meta.setdefault(_KEY, RequestChoice())
    return choice


def _store_unless_built(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click passes values by place
    del parameter
    request_choice(ctx).unless_built = value


def _option[F: Callable[..., Any]](target: str, *names: str, **facts: Any) -> Callable[[F], F]:
    def store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        if value in {None, ()}:
            return
        choice = request_choice(ctx)
        setattr(choice, target, value)
        choice.given.append(parameter.opts[-1])

    return click.option(*names, target, expose_value=False, callback=store, **facts)


def _require_variables(option: str, variables: Sequence[Mapping[str, str]]) -> None:
    """Raise click.UsageError for a name that no environment variable may have."""
    for variable in variables:
        if not is_variable_name(variable["name"]):
            raise click.UsageError(
                f"{option}: {variable['name']!r} is not the name of a variable:"
                " use letters, digits, '_', '-' and '.', and no digit first"
            )


def _variable(option: str, text: str) -> dict[str, str]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise click.UsageError(f"{option} takes NAME=VALUE")
    return {"name": key, "value": value}
