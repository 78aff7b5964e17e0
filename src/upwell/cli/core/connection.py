"""Connection of commands to the server: its options, and one runner for what awaits."""

import os
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, override

import click
from click.core import ParameterSource

from upwell.cli.core.addresses import namespace_fault, server_url_fault
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.logins import Login, Logins, logins_path, read_logins
from upwell.cli.core.terminal import echo, silence_notes

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient, StoreError
    from upwell.store.kubernetes_connections import ServerAccess

DEFAULT_SERVER = "http://127.0.0.1:7080"
DEFAULT_NAMESPACE = "default"


def _connect(server: str, token: str, authority: str) -> "ApiClient":
    from upwell.app.client import create_client  # noqa: PLC0415 - loads the models and aiohttp

    return create_client(server, token, authority)


def _find_access(server: str, token: str, authority: str) -> "ServerAccess":
    from upwell.app.server_access import server_access  # noqa: PLC0415 - loads asyncio with TLS

    return server_access(server, token, authority)


@dataclass(slots=True)
class Session:
    """Server, credentials and namespace that the commands of one call use."""

    server: str = DEFAULT_SERVER
    token: str = field(default="", repr=False)
    authority: str = ""
    """Path of a PEM file to trust besides the system's authorities."""
    namespace: str = DEFAULT_NAMESPACE
    namespace_given: bool = False
    """True if the user named the namespace, by option or environment."""
    verbose: bool = False
    logins: Logins = field(default_factory=Logins)
    """Defaults where the user names nothing."""
    connect: Callable[[str, str, str], "ApiClient"] = _connect
    find_access: Callable[[str, str, str], "ServerAccess"] | None = None
    """Finds the server for what is read without a client; None: by clients alone."""

    _given: dict[str, str] = field(default_factory=dict, init=False)
    """Names of the fields that the user set, each with the option or the variable that did."""

    def __post_init__(self) -> None:
        if (current := self.logins.of(self.logins.current)) is not None:
            self.use(current)

    def set_option(self, name: str, value: Any, source: str) -> None:
        """Set a field to the user's value, of an option or a variable; a server has its login."""
        setattr(self, name, value)
        self._given[name] = source
        if name == "namespace":
            self.namespace_given = True
        elif name == "server":
            self.use(self.logins.of(value) or Login(value))

    def use(self, login: Login) -> None:
        """Use a server with its login, except for the fields that the user set."""
        self.server = login.server
        if "token" not in self._given:
            self.token = login.token
        if "authority" not in self._given:
            self.authority = login.authority
        if "namespace" not in self._given:
            self.namespace = login.namespace or DEFAULT_NAMESPACE

    @property
    def given_token(self) -> str:
        """The token that the user named for this call; never that of another login."""
        return self.token if "token" in self._given else ""

    def start_over(self, login: Login) -> None:
        """Use a server with this login and nothing else, but for the user's authority."""
        self.server, self.token = login.server, login.token
        self.authority = self.authority if "authority" in self._given else login.authority

    def run(self, work: Callable[["ApiClient"], Awaitable[None]]) -> None:
        """Run `work` with a client of the server; every error becomes a CommandError."""
        try:
            run_awaited(self._with_client(work))
        except CommandError as error:
            if self.verbose and error.__cause__ is not None:
                echo(f"cause: {type(error.__cause__).__name__}: {error.__cause__}", err=True)
            raise

    async def _with_client(self, work: Callable[["ApiClient"], Awaitable[None]]) -> None:
        from upwell.machine.tasks import first_error  # noqa: PLC0415 - loads asyncio
        from upwell.store.interface import StoreError  # noqa: PLC0415 - loads the API's models

        try:
            async with self.connect(self.server, self.token, self.authority) as client:
                await work(client)
        except ExceptionGroup as group:
            # Of several reads at once, the first error stands for all.
            error = first_error(group)
            if not isinstance(error, StoreError):
                raise error from group
            raise await self._command_error(error) from error
        except StoreError as error:
            raise await self._command_error(error) from error

    def fail(self, error: "StoreError") -> NoReturn:
        """Raise CommandError with what is told of an answer of the server."""
        raise run_awaited(self._command_error(error)) from error

    async def _command_error(self, error: "StoreError") -> CommandError:
        """Return what is told of an error, with the name that was probably meant."""
        from upwell.cli.hints.similar import similar_name  # noqa: PLC0415 - of errors alone
        from upwell.store.interface import NotFoundError  # noqa: PLC0415 - loads the API's models

        told = self._explain(error)
        if isinstance(error, NotFoundError) and not error.cause:
            near = await similar_name(
                lambda: self.connect(self.server, self.token, self.authority), error.key
            )
            if near:
                message = f"{told.message}; did you mean {near}?"
                return CommandError(message, Exit(told.exit_code))
        return told

    def _explain(self, error: "StoreError") -> CommandError:
        from upwell.store.interface import (  # noqa: PLC0415 - loads the API's models
            NotFoundError,
            UnavailableError,
        )
        from upwell.store.kubernetes_errors import (  # noqa: PLC0415 - the same
            ServerFaultError,
            StoreUnauthenticatedError,
        )

        if isinstance(error, NotFoundError):
            if error.cause:
                # One that speaks of the object that was named says that it exists.
                exists = str(error.key) in error.cause
                return CommandError(error.cause, Exit.FAILED if exists else Exit.NOT_FOUND)
            from upwell.api.codec import resource_of_kind  # noqa: PLC0415 - the same

            kind = resource_of_kind(error.key.kind).KIND
            where = f" in namespace {error.key.namespace}" if error.key.namespace else ""
            return CommandError(
                f'{kind.resource} "{error.key.name}" not found{where};'
                f" `upwell get {kind.singular} -A` lists what exists",
                Exit.NOT_FOUND,
            )
        if isinstance(error, UnavailableError) and not isinstance(error, ServerFaultError):
            return self.unreachable(str(error))
        if isinstance(error, StoreUnauthenticatedError):
            return self._refused(error.refusal)
        return CommandError(str(error))

    def _refused(self, refusal: str) -> CommandError:
        """Return what is told of a server that does not know the user: of which token, and why."""
        if not self.token:
            return CommandError(f"{self.server}: {refusal}")
        if "token" in self._given:
            return CommandError(
                f"{self.server} refused the token of {self._given['token']}: {refusal}"
            )
        return CommandError(
            f"{self.server} refused the token of {logins_path()}: {refusal};"
            f" `upwell login {self.server}` replaces it"
        )

    def unreachable(self, reason: str) -> CommandError:
        """Return what is told of a server that does not answer."""
        if "speaks plain http" in reason:
            plain = self.server.replace("https://", "http://", 1)
            return CommandError(f"{reason}: name it as {plain}", Exit.UNREACHABLE)
        return CommandError(
            f"{reason}: is `upwell serve` running at {self.server}?"
            " Name another server with --server or UPWELL_SERVER",
            Exit.UNREACHABLE,
        )


def run_awaited[T](work: Coroutine[Any, Any, T]) -> T:
    """Return what `work` does; raises CommandError when the user interrupts it."""
    import asyncio  # noqa: PLC0415 - with TLS, half of what the help takes to be shown

    try:
        return asyncio.run(work)
    except (KeyboardInterrupt, asyncio.CancelledError):
        raise CommandError("interrupted", Exit.INTERRUPTED) from None


def cancel_at_end() -> None:
    """Have SIGTERM, and the end of the terminal, interrupt the task that runs as Ctrl-C does."""
    import asyncio  # noqa: PLC0415 - as above
    import signal  # noqa: PLC0415 - loads enumerations

    task = asyncio.current_task()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGHUP, signal.SIGTERM):
        if task is not None:
            loop.add_signal_handler(number, task.cancel)


def session_of(ctx: click.Context) -> Session:
    """Return the session of this call, made when its first option is read."""
    session = ctx.find_object(Session)
    if session is None:
        ctx.obj = session = Session(logins=read_logins(logins_path()), find_access=_find_access)
    return session


def _store(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    def store(ctx: click.Context, parameter: click.Parameter, value: Any) -> None:
        session = session_of(ctx)
        source = ctx.get_parameter_source(parameter.name or "")
        given = source not in {ParameterSource.DEFAULT, ParameterSource.DEFAULT_MAP, None}
        # A variable is read for the group and again for the command: an option given to the
        # group stays in force.
        from_parent = ctx.parent is not None and source is ParameterSource.ENVIRONMENT
        if given and name == "server" and (fault := server_url_fault(value)):
            raise click.BadParameter(fault, ctx, parameter)
        if given and name == "namespace" and (fault := namespace_fault(value)):
            raise click.BadParameter(fault, ctx, parameter)
        if given and not from_parent:
            by_variable = source is ParameterSource.ENVIRONMENT
            session.set_option(
                name, value, str(parameter.envvar if by_variable else parameter.opts[-1])
            )

    return store


def _set_colour(ctx: click.Context, parameter: click.Parameter, value: str) -> None:
    """Have click leave out colours, or keep them where there is no terminal."""
    source = ctx.get_parameter_source(parameter.name or "")
    if source is not ParameterSource.DEFAULT:
        ctx.color = {"always": True, "never": False}.get(value)
    elif ctx.parent is None and os.environ.get("NO_COLOR"):
        ctx.color = False


def _set_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:  # noqa: FBT001 - click's
    if value:
        silence_notes(ctx)


class GlobalOption(click.Option):
    """An option of every command: `upwell options` shows it, and no command's own help does.

    One of them stands there for all.
    """

    @override
    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        if ctx.parent is None or ctx.meta.get(SHOWS_GLOBAL_OPTIONS):
            return super().get_help_record(ctx)
        if self.name != "server":
            return None
        return "-n, --server, …", "Global options: `upwell options` lists them."


SHOWS_GLOBAL_OPTIONS = "upwell.cli.core.connection.shows_global_options"
"""Set in `Context.meta` where the help of a command shows the global options."""


def connection_options[F: Callable[..., Any]](function: F) -> F:
    """Add the options of every command: --server, --token, --ca, --namespace, --verbose, ….

    They stand before or after the command's name, and end in the Session that is `ctx.obj`, or,
    --color and --quiet, in click's context.
    """
    for option in (
        click.option(
            "--quiet",
            cls=GlobalOption,
            is_flag=True,
            expose_value=False,
            callback=_set_quiet,
            help="Print results and errors, and no notes.",
        ),
        click.option(
            "--color",
            cls=GlobalOption,
            type=click.Choice(["auto", "always", "never"]),
            default="auto",
            show_default=True,
            expose_value=False,
            callback=_set_colour,
            help="Colour words of states; auto: on a terminal, unless NO_COLOR is set.",
        ),
        click.option(
            "-v",
            "--verbose",
            cls=GlobalOption,
            is_flag=True,
            expose_value=False,
            callback=_store("verbose"),
            help="Print the cause of an error to stderr.",
        ),
        click.option(
            "-n",
            "--namespace",
            cls=GlobalOption,
            envvar="UPWELL_NAMESPACE",
            show_envvar=True,
            default=DEFAULT_NAMESPACE,
            show_default=True,
            expose_value=False,
            callback=_store("namespace"),
            help="Namespace of the objects.",
        ),
        click.option(
            "--token",
            cls=GlobalOption,
            envvar="UPWELL_TOKEN",
            show_envvar=True,
            default="",
            show_default="the local server's",
            expose_value=False,
            callback=_store("token"),
            help="Bearer token; the variable keeps it out of the process list.",
        ),
        click.option(
            "--ca",
            cls=GlobalOption,
            envvar="UPWELL_CA",
            show_envvar=True,
            default=None,
            type=click.Path(exists=True, dir_okay=False),
            show_default="the local server's",
            metavar="FILE",
            expose_value=False,
            callback=_store("authority"),
            help="PEM file of the certificate authority to trust.",
        ),
        click.option(
            "--server",
            cls=GlobalOption,
            envvar="UPWELL_SERVER",
            show_envvar=True,
            default=DEFAULT_SERVER,
            show_default=True,
            metavar="URL",
            expose_value=False,
            callback=_store("server"),
            help="URL of the server.",
        ),
    ):
        function = option(function)
    return function
