"""`upwell login`, `logout` and `whoami`."""

import json
from dataclasses import dataclass, replace
from pathlib import Path

import click

from upwell.cli.access.sign_in import SESSION_PREFIX, SESSIONS, sign_in
from upwell.cli.core.addresses import server_url_fault
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.logins import Login, logins_path, read_logins, write_logins
from upwell.cli.core.output import Format, aligned, output_option, write_report
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient
from upwell.store.kubernetes_errors import StoreForbiddenError

_MAX_TOKEN_BYTES = 4096
_GRANTS, _ENDS = "upwell.dev/grants", "upwell.dev/ends"


@click.command(
    epilog=examples(
        "upwell login https://upwell.example.com:7080 --ca ca.pem",
        "upwell login https://upwell.example.com:7080 --token-file ci.token -n shop",
        "pass show upwell | upwell login https://upwell.example.com:7080 --token-file -",
    )
)
@click.argument("url", metavar="URL")
@click.option(
    "--token-file",
    type=click.Path(dir_okay=False, allow_dash=True),
    default=None,
    show_default="sign in, or prompt",
    help="File with the token, or - for stdin.",
)
@click.option(
    "--exec-credential",
    is_flag=True,
    help="Print the token as kubectl's plugins do, and sign in only if there is none that works.",
)
@connection_options
@click.pass_obj
def login(session: Session, url: str, token_file: str | None, *, exec_credential: bool) -> None:
    """Log in to a server: commands use it and the token until `logout`.

    Where the server has people sign in at an identity provider, the command shows a page and a
    code, and waits until you have confirmed it there. Elsewhere, and with --token-file, it takes a
    token.

    Server and token are kept in $XDG_CONFIG_HOME/upwell/logins.json (~/.config), a file that only
    you can read. The token is checked first. --server, --token and their variables outrank it.
    """
    _require_address(url)
    server = url.rstrip("/")
    if exec_credential and (document := _working_credential(session, server)):
        echo(document)
        return
    given = session.given_token
    session.start_over(replace(session.logins.of(server) or Login(server), token=""))
    authority = str(Path(session.authority).resolve()) if session.authority else ""
    namespace = session.namespace if session.namespace_given else ""
    token = _read_token(token_file) if token_file is not None else given
    if not token:
        token = _signed_in(session) or _prompted(server, can_prompt=not exec_credential)
    found = Login(server, token, authority, namespace)
    session.start_over(found)
    lines: list[str] = []

    async def work(client: ApiClient) -> None:
        user = await _identity(client)
        lines.append(
            f"logged in to {server} as {user.name} ({', '.join(user.grants) or 'no grants'})"
        )
        lines.append(_credential(token, user))

    session.run(work)
    path = logins_path()
    write_logins(path, read_logins(path).with_login(found))
    echo(lines[0], err=exec_credential)
    if exec_credential:
        echo(lines[1])


@click.command(epilog=examples("upwell logout", "upwell logout https://upwell.example.com:7080"))
@click.argument("url", required=False, metavar="[URL]")
@click.pass_context
def logout(ctx: click.Context, url: str | None) -> None:
    """Log out of a server, by default the current one: forget its token.

    A session of somebody who has signed in ends. A token stays valid until `upwell token delete`.
    """
    path = logins_path()
    logins = read_logins(path)
    found = logins.of(url or logins.current)
    if found is None:
        where = f"to {url}" if url else "to any server"
        raise CommandError(f"not logged in {where}: run `upwell login URL`", Exit.NOT_FOUND)
    if found.token.startswith(SESSION_PREFIX):
        _end_session(ctx.find_object(Session) or Session(), found)
    write_logins(path, logins.without(found.server))
    echo(f"logged out of {found.server}")


@click.command(epilog=examples("upwell whoami", "upwell whoami -o json"))
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def whoami(session: Session, output: str) -> None:
    """Show the name, grants, groups and end of the token or session in use."""

    async def work(client: ApiClient) -> None:
        user = await _identity(client)
        if output != Format.TABLE:
            document = {
                "server": session.server,
                "name": user.name,
                "grants": list(user.grants),
                "groups": list(user.groups),
                "ends": user.ends or None,
            }
            write_report("Identity", document, output)
            return
        named = (session.server, user.name, ", ".join(user.grants) or "-")
        rows = [
            ("SERVER", "NAME", "GRANTS", "GROUPS", "ENDS"),
            (*named, ", ".join(user.groups) or "-", user.ends or "-"),
        ]
        for line in aligned(rows):
            echo(line)

    session.run(work)


@dataclass(frozen=True, slots=True)
class _User:
    """The user of a token, as the server knows them."""

    name: str
    grants: tuple[str, ...]
    groups: tuple[str, ...]
    """Without those of the server's own."""
    ends: str
    """RFC 3339; empty: without an end."""


async def _identity(client: ApiClient) -> _User:
    """Return the user of the token in use."""
    from upwell.api.reviews import SelfSubjectReview  # noqa: PLC0415 - logout needs no models

    user = (await client.create(SelfSubjectReview())).status.user_info
    groups = tuple(one for one in user.groups if not one.startswith("system:"))
    ends = user.extra.get(_ENDS, ("",))[0]
    return _User(user.username, user.extra.get(_GRANTS, ()), groups, ends)


def _signed_in(session: Session) -> str:
    """Return the token of a session that the person has begun; empty where there are none."""
    found: list[str] = []

    async def work(client: ApiClient) -> None:
        found.append(await sign_in(client))

    session.run(work)
    return found[0]


def _prompted(server: str, *, can_prompt: bool) -> str:
    if not can_prompt:
        raise CommandError(f"nobody signs in at {server}: run `upwell login {server}` with a token")
    answer: str = click.prompt(f"token for {server}", hide_input=True, err=True)
    return answer.strip()


def _working_credential(session: Session, server: str) -> str:
    """Return the credential of the login at a server; empty when it does not work any more."""
    known = session.logins.of(server)
    if known is None or not known.token:
        return ""
    session.start_over(known)
    found: list[str] = []

    async def work(client: ApiClient) -> None:
        try:
            found.append(_credential(known.token, await _identity(client)))
        except StoreForbiddenError:
            return

    session.run(work)
    return found[0] if found else ""


def _credential(token: str, user: _User) -> str:
    """Return what a plugin of kubectl prints (client.authentication.k8s.io/v1)."""
    status = {"token": token} | ({"expirationTimestamp": user.ends} if user.ends else {})
    kind = {"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential"}
    return json.dumps({**kind, "status": status})


def _end_session(session: Session, login: Login) -> None:
    session.start_over(login)

    async def work(client: ApiClient) -> None:
        await client.send_raw("DELETE", f"{SESSIONS}/current")

    try:
        session.run(work)
    except CommandError as error:
        echo(f"warning: the session was not ended at {login.server}: {error.message}", err=True)


def _require_address(url: str) -> None:
    if fault := server_url_fault(url):
        raise click.BadParameter(fault, param_hint="URL")


def _read_token(source: str) -> str:
    try:
        with click.open_file(source, "rb") as file:
            raw: bytes = file.read(_MAX_TOKEN_BYTES)
    except OSError as error:
        raise CommandError(f"{source}: {error.strerror}", Exit.USAGE) from error
    token = raw.decode(errors="replace").strip()
    if not token or len(token.split()) != 1:
        raise CommandError(f"{source}: expected one token and nothing else", Exit.USAGE)
    return token
