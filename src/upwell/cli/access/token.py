"""`upwell token`: create, list and delete the tokens of people and machines."""

import re
from datetime import datetime, timedelta

import click
from click.core import ParameterSource

from upwell.api.core import Secret, ServiceAccount
from upwell.api.requests.admin_token import AdminTokenRotation
from upwell.cli.access.lifetimes import WantedToken, lifetime_option
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.durations import SPAN
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.output import (
    MISSING,
    Format,
    aligned,
    format_age,
    output_option,
    write_report,
)
from upwell.cli.core.terminal import echo
from upwell.formats.human_duration import human_duration
from upwell.machine import clock
from upwell.policy.access.roles import (
    SYSTEM_NAMESPACE,
    Grant,
    InvalidGrantError,
    Role,
    grant_text,
    parse_grant,
)
from upwell.server.auth.tokens import (
    TOKEN_TYPE,
    TokenRecord,
    secret_name,
    valid_group,
    valid_person,
)
from upwell.store.interface import AlreadyExistsError, ApiClient, NotFoundError, Selector

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,50}[a-z0-9])?")


class _GrantType(click.ParamType[Grant]):
    """Parameter type for a role in namespaces, `builder@shop,bank`."""

    name = "grant"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> Grant:
        """Return the grant, or fail."""
        try:
            return value if isinstance(value, Grant) else parse_grant(str(value))
        except InvalidGrantError as error:
            self.fail(str(error), param, ctx)


def _person(_context: click.Context, _parameter: click.Parameter, value: str) -> str:
    try:
        return valid_person(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _groups(
    _context: click.Context, _parameter: click.Parameter, value: tuple[str, ...]
) -> tuple[str, ...]:
    try:
        return tuple(map(valid_group, value))
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


@click.group(
    no_args_is_help=True,
    epilog=examples(
        "upwell token create ci --grant builder@shop --for 30d",
        "upwell token create ada --grant admin@shop,bank --grant viewer@'*'",
        "upwell token create ada-laptop --grant promoter@shop --person oidc:ada@example.com",
        "upwell token request ci -n shop --for 30m",
        "upwell token list",
        "upwell token delete ci",
    ),
)
def token() -> None:
    """Create, list and delete tokens for people and machines.

    A token authenticates to the API, and to the registry as the password of any user. These
    commands need the role admin in all namespaces.
    """


@token.command(
    epilog=examples(
        "upwell token create ci --grant builder@shop --for 30d",
        "upwell token create ci --grant builder@shop | docker login -u ci --password-stdin HOST",
    )
)
@click.argument("name")
@click.option(
    "--grant",
    "grants",
    type=_GrantType(),
    multiple=True,
    required=True,
    metavar="ROLE@NAMESPACE",
    help=f"Role ({', '.join(Role)}) and its namespaces, separated by commas;"
    " * stands for all. Repeatable.",
)
@lifetime_option
@click.option("--never", is_flag=True, help="The token has no end.")
@click.option(
    "--person",
    default="",
    callback=_person,
    metavar="NAME",
    show_default="none",
    help="Person whose token it is, such as oidc:ada@example.com: all their tokens and sessions"
    " are one voter, and one author for four eyes.",
)
@click.option(
    "--group",
    "groups",
    multiple=True,
    callback=_groups,
    metavar="NAME",
    show_default="none",
    help="Group of the person, where a stage names it as approver (group:NAME); it gives no"
    " grants. Repeatable.",
)
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def create(  # noqa: PLR0913, PLR0917 - each option is a parameter
    session: Session,
    /,
    name: str,
    grants: tuple[Grant, ...],
    lifetime: timedelta,
    never: bool,  # noqa: FBT001 - click passes options by name
    person: str,
    groups: tuple[str, ...],
    output: str,
) -> None:
    """Create a token and print it: only its hash is kept, so it cannot be shown again."""
    if _NAME.fullmatch(name) is None:
        raise click.UsageError(f"{name!r} is not a valid name: use letters a to z, digits and -")
    source = click.get_current_context().get_parameter_source("lifetime")
    if never and source is not ParameterSource.DEFAULT:
        raise click.UsageError("--never and --for exclude each other")
    wanted = WantedToken(name, grants, None if never else lifetime, person, groups)

    async def work(client: ApiClient) -> None:
        try:
            made = await wanted.create(client)
        except AlreadyExistsError as error:
            message = f"token/{name} exists already; remove it with `upwell token delete {name}`"
            raise CommandError(f"{message}, or choose another name") from error
        if output == Format.TABLE:
            echo(made)
        else:
            write_report("CreatedToken", {"name": name, "token": made}, output)

    session.run(work)


@token.command(
    epilog=examples(
        "upwell token request ci -n shop --for 30m",
        "upwell token request ci -n shop --audience vault",
    )
)
@click.argument("account")
@click.option(
    "--for",
    "lifetime",
    type=SPAN,
    default="1h",
    show_default=True,
    metavar="DURATION",
    help="Lifetime of the token, 1m to 24h.",
)
@click.option(
    "--audience",
    "audiences",
    multiple=True,
    show_default="the API of the server",
    help="Receiver of the token. Repeatable.",
)
@connection_options
@click.pass_obj
def request(
    session: Session, account: str, lifetime: timedelta, audiences: tuple[str, ...]
) -> None:
    """Print a new token of the ServiceAccount ACCOUNT; it is kept nowhere.

    It needs the role deployer there, and each grant that the account has.
    """
    spec = {"expirationSeconds": int(lifetime.total_seconds()), "audiences": list(audiences)}

    async def work(client: ApiClient) -> None:
        answer = await client.call(
            "POST", ServiceAccount, session.namespace, account, "token", {"spec": spec}
        )
        echo(answer["status"]["token"])

    session.run(work)


@token.command("list", epilog=examples("upwell token list", "upwell token list -o json"))
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def list_tokens(session: Session, output: str) -> None:
    """List tokens with their grants, their expiry and their last use, to the hour."""

    async def work(client: ApiClient) -> None:
        found = await client.list(Secret, Selector(namespace=SYSTEM_NAMESPACE))
        kept = [secret for secret in found.items if secret.type == TOKEN_TYPE]
        if output != Format.TABLE:
            write_report("TokenList", [_document(secret) for secret in kept], output)
            return
        now = clock.now()
        rows = [("NAME", "PERSON", "GRANTS", "EXPIRES", "USED", "AGE")]
        for secret in kept:
            record = TokenRecord.of(secret)
            grants = " ".join(map(grant_text, record.grants))
            age = format_age(secret.metadata.creation_timestamp, now)
            used = format_age(record.used, now)
            end, person = _end(record.expires, now), record.person or MISSING
            rows.append((record.name, person, grants, end, used, age))
        for line in aligned(rows):
            echo(line)

    session.run(work)


@token.command(epilog=examples("upwell token rotate --admin"))
@click.option("--admin", is_flag=True, required=True, help="The token of the server's own user.")
@connection_options
@click.pass_obj
def rotate(session: Session, *, admin: bool) -> None:
    """Replace the token of the server's own user; the old one is refused at once.

    The new one is in DATA-DIR/admin.token. Other tokens are replaced by `create` and `delete`.
    """
    if not admin:
        raise click.UsageError("name --admin")

    async def work(client: ApiClient) -> None:
        await client.create(AdminTokenRotation())
        echo("token/system:admin rotated")

    session.run(work)


@token.command(epilog=examples("upwell token delete ci"))
@click.argument("names", nargs=-1, required=True, metavar="NAME...")
@connection_options
@click.pass_obj
def delete(session: Session, names: tuple[str, ...]) -> None:
    """Delete tokens; the server refuses them at once."""

    async def work(client: ApiClient) -> None:
        for name in names:
            try:
                await client.delete(Secret, SYSTEM_NAMESPACE, secret_name(name))
            except NotFoundError as error:
                message = f"token/{name} does not exist; `upwell token list` lists the tokens"
                raise CommandError(message, Exit.NOT_FOUND) from error
            echo(f"token/{name} deleted")

    session.run(work)


def _document(secret: Secret) -> dict[str, object]:
    record = TokenRecord.of(secret)
    return {
        "name": record.name,
        "grants": [grant_text(grant) for grant in record.grants],
        "person": record.person or None,
        "expires": record.expires.isoformat() if record.expires else None,
        "used": record.used.isoformat() if record.used else None,
    }


def _end(expires: datetime | None, now: datetime) -> str:
    if expires is None:
        return MISSING
    return human_duration(expires - now) if expires > now else "expired"
