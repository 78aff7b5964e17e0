"""`upwell kubeconfig`: a kubeconfig for kubectl and other Kubernetes clients."""

import base64
from datetime import timedelta
from pathlib import Path
from secrets import token_hex
from typing import TYPE_CHECKING, Any

import click
import yaml

from upwell.cli.access.lifetimes import WantedToken, lifetime_option
from upwell.cli.access.sign_in import SESSION_PREFIX
from upwell.cli.core.connection import Session, connection_options
from upwell.cli.core.errors import CommandError
from upwell.cli.core.examples import examples
from upwell.cli.core.private_file import save_private
from upwell.cli.core.terminal import echo
from upwell.formats.human_duration import human_duration
from upwell.policy.access.roles import EVERYWHERE, Grant, Role
from upwell.server.asgi.mixed_tls import TLS_NAME

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient

_NAME = "upwell"


@click.command(
    epilog=examples(
        "upwell kubeconfig --file ~/.kube/upwell",
        "KUBECONFIG=~/.kube/upwell kubectl get deployments",
        "upwell kubeconfig --server https://upwell.example.com:7080 --ca ca.pem",
    )
)
@click.option(
    "--file",
    "path",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    show_default="stdout",
    help="File to write, with mode 0600.",
)
@lifetime_option
@connection_options
@click.pass_obj
def kubeconfig(session: Session, path: Path | None, lifetime: timedelta) -> None:
    """Print a kubeconfig with the server's URL, its authority and the token in use.

    For a session of somebody who has signed in, it has kubectl run `upwell login`, which signs in
    again when the session has ended.

    The server's own user, who needs no token, gets a new one for it that may do everything:
    `upwell token list` shows it as kubeconfig-…, and --for sets its end.
    """
    from upwell.app.local_access import find_access  # noqa: PLC0415 - only this and clients need it

    token, authority = session.token, session.authority
    local = find_access(session.server)
    if local is not None:
        authority = authority or str(local.authority or "")
    _require_reachable(session, own=local is not None)
    if not token and local is not None:
        token = _own_token(session, lifetime)
    if not token:
        raise CommandError(
            f"no token for {session.server}: set UPWELL_TOKEN (`upwell token create` creates one)"
        )
    document = _document(session, token, authority)
    text = yaml.safe_dump(document, sort_keys=False)
    if path is None:
        echo(text, nl=False)
        return
    save_private(path, text)


def _require_reachable(session: Session, *, own: bool) -> None:
    if session.server.startswith("http://") and not own and session.token:
        raise CommandError(
            f"kubectl sends no token to {session.server}, which has no TLS: name the"
            " server by https://, or run this as the user of the server"
        )


def _own_token(session: Session, lifetime: timedelta) -> str:
    """Return a new token of an administrator: the local one's crosses no network."""
    everything = Grant(Role.ADMIN, frozenset({EVERYWHERE}))
    wanted = WantedToken(f"kubeconfig-{token_hex(4)}", (everything,), lifetime)
    made: list[str] = []

    async def work(client: "ApiClient") -> None:
        made.append(await wanted.create(client))

    session.run(work)
    echo(f"made token/{wanted.name}, which ends in {human_duration(lifetime)}", err=True)
    return made[0]


def _document(session: Session, token: str, authority: str) -> dict[str, Any]:
    cluster = {"server": session.server}
    if session.server.startswith("http://"):
        # The same port serves TLS to clients that ask for this name.
        cluster["server"] = session.server.replace("http", "https", 1)
        cluster["tls-server-name"] = TLS_NAME
    if authority:
        try:
            content = Path(authority).read_bytes()
        except OSError as error:
            raise CommandError(f"{authority}: {error.strerror}") from error
        cluster["certificate-authority-data"] = base64.b64encode(content).decode()
    context = {"cluster": _NAME, "user": _NAME, "namespace": session.namespace}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": _NAME, "cluster": cluster}],
        "users": [{"name": _NAME, "user": _user(session, token, authority)}],
        "contexts": [{"name": _NAME, "context": context}],
        "current-context": _NAME,
    }


def _user(session: Session, token: str, authority: str) -> dict[str, Any]:
    """Return the credentials of a kubeconfig; for a session, the command that renews it."""
    if not token.startswith(SESSION_PREFIX):
        return {"token": token}
    trusting = ["--ca", str(Path(authority).resolve())] if authority else []
    return {
        "exec": {
            "apiVersion": "client.authentication.k8s.io/v1",
            "command": "upwell",
            "args": ["login", session.server, "--exec-credential", *trusting],
            "installHint": "install upwell, and put it on PATH",
            "interactiveMode": "IfAvailable",
            "provideClusterInfo": False,
        }
    }
