"""Answer to clients that want to sign in with a password, as `oc login -u` does: there are none.

They look for an authorization server (RFC 8414) and ask it; they show its text to their user.
"""

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

METADATA = "/.well-known/oauth-authorization-server"
AUTHORIZE = "/oauth/authorize"
_TEXT = """\
This server has no passwords: it takes tokens.

    oc login {server} --token=TOKEN

Who runs the server makes one with `upwell token create NAME --grant ROLE@NAMESPACE`, or a whole
kubeconfig with `upwell kubeconfig --file FILE`. Where people sign in at a provider, `upwell login`
does that, and `upwell kubeconfig` then has the session's token.
"""


def create_routes(*, plain: bool) -> list[BaseRoute]:
    """Return the routes; they need no token.

    `plain`: the port answers without TLS too, and in TLS only those who offer a protocol: no such
    client could ask, so none is told to. It says then that there is no such server.
    """
    if plain:
        return []
    return [
        Route(METADATA, _describe, methods=["GET"]),
        Route(AUTHORIZE, _refuse, methods=["GET"]),
    ]


async def _describe(request: Request) -> Response:
    """Say where clients ask."""
    server = _address(request)
    return JSONResponse(
        {
            "issuer": server,
            "authorization_endpoint": f"{server}{AUTHORIZE}",
            "token_endpoint": f"{server}/oauth/token",
            "response_types_supported": ["code"],
            "code_challenge_methods_supported": ["S256"],
        }
    )


async def _refuse(request: Request) -> Response:
    """Say how to sign in instead."""
    return PlainTextResponse(_TEXT.format(server=_address(request)), 401)


def _address(request: Request) -> str:
    return str(request.base_url).rstrip("/")
