"""`upwell login`, `logout` and `whoami`."""

from pathlib import Path
from urllib.parse import urlsplit

import click

from upwell.cli.core.addresses import server_url_fault
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.examples import examples
from upwell.cli.core.logins import Login, logins_path, read_logins, write_logins
from upwell.cli.core.output import Format, aligned, output_option, write_data
from upwell.cli.core.terminal import echo
from upwell.store.interface import ApiClient

_MAX_TOKEN_BYTES = 4096
_GRANTS = "upwell.dev/grants"


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
    show_default="prompt",
    help="File with the token, or - for stdin.",
)
@connection_options
@click.pass_obj
def login(session: Session, url: str, token_file: str | None) -> None:
    """Log in to a server: commands use it and the token until `logout`.

    Server and token are kept in $XDG_CONFIG_HOME/upwell/logins.json (~/.config), a file that only
    you can read. The token is checked first. --server, --token and their variables outrank it.
    """
    _require_address(url)
    server = url.rstrip("/")
    authority = str(Path(session.authority).resolve()) if session.authority else ""
    token = _read_token(token_file) if token_file is not None else session.token
    if not token:
        token = click.prompt(f"token for {server}", hide_input=True, err=True).strip()
    found = Login(server, token, authority, session.namespace if session.namespace_given else "")
    session.use(found)
    session.token = token
    lines: list[str] = []

    async def work(client: ApiClient) -> None:
        name, grants = await _identity(client)
        lines.append(f"logged in to {server} as {name} ({', '.join(grants) or 'no grants'})")

    session.run(work)
    path = logins_path()
    write_logins(path, read_logins(path).with_login(found))
    echo(lines[0])


@click.command(epilog=examples("upwell logout", "upwell logout https://upwell.example.com:7080"))
@click.argument("url", required=False, metavar="[URL]")
def logout(url: str | None) -> None:
    """Log out of a server, by default the current one: forget its token.

    The token stays valid until `upwell token delete`.
    """
    path = logins_path()
    logins = read_logins(path)
    found = logins.of(url or logins.current)
    if found is None:
        where = f"to {url}" if url else "to any server"
        raise CommandError(f"not logged in {where}: run `upwell login URL`", Exit.NOT_FOUND)
    write_logins(path, logins.without(found.server))
    echo(f"logged out of {found.server}")


@click.command(epilog=examples("upwell whoami", "upwell whoami -o json"))
@output_option(Format.TABLE, Format.JSON, Format.YAML)
@connection_options
@click.pass_obj
def whoami(session: Session, output: str) -> None:
    """Show the name and the grants of the token in use."""

    async def work(client: ApiClient) -> None:
        name, grants = await _identity(client)
        if output != Format.TABLE:
            document = {"server": session.server, "name": name, "grants": list(grants)}
            write_data(document, output)
            return
        rows = [("SERVER", "NAME", "GRANTS"), (session.server, name, ", ".join(grants) or "-")]
        for line in aligned(rows):
            echo(line)

    session.run(work)


async def _identity(client: ApiClient) -> tuple[str, tuple[str, ...]]:
    """Return the name of the token in use, and its grants."""
    from upwell.api.reviews import SelfSubjectReview  # noqa: PLC0415 - logout needs no models

    user = (await client.create(SelfSubjectReview())).status.user_info
    return user.username, user.extra.get(_GRANTS, ())


def _require_address(url: str) -> None:
    fault = server_url_fault(url)
    if not fault and "@" in urlsplit(url).netloc:
        fault = f"{url!r} names a user: log in with a token"
    if fault:
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
