"""Sign-in by the device flow (RFC 8628), which the server runs with the identity provider."""

import asyncio
from typing import TYPE_CHECKING, Any

from upwell.cli.core.errors import CommandError, Exit
from upwell.cli.core.terminal import echo, echo_request
from upwell.machine import clock
from upwell.store.interface import MissingPathError, UnavailableError

if TYPE_CHECKING:
    from upwell.store.interface import ApiClient

SIGN_IN = "/oidc"
SESSIONS = f"{SIGN_IN}/sessions"
SESSION_PREFIX = "upwell_oidc:"
"""Begins the tokens of sessions."""
_MIN_INTERVAL, _SLOWER = 1.0, 5.0
"""Seconds between two questions; and by how much more a busy provider wants (RFC 8628, 3.5)."""


async def sign_in(client: "ApiClient") -> str:
    """Have the person confirm a sign-in, and return the token of the session.

    Empty where the server has no sign-in of command lines. Raises CommandError or StoreError.
    """
    try:
        found = await client.send_raw("GET", SIGN_IN)
    except MissingPathError:
        return ""
    if not found.get("device"):
        echo(f"{found.get('issuer', '')} signs in browsers alone: a token is needed", err=True)
        return ""
    begun = await client.send_raw("POST", f"{SIGN_IN}/device", {})
    _tell(begun)
    return await _confirmed(client, begun)


def _tell(begun: dict[str, Any]) -> None:
    page, code = begun["verificationUri"], begun["userCode"]
    echo_request(f"open {page} in a browser and enter the code {code}")
    if whole := begun.get("verificationUriComplete"):
        echo_request(f"or open {whole}, and see that it shows this code")


async def _confirmed(client: "ApiClient", begun: dict[str, Any]) -> str:
    """Ask at the provider's interval until the person has answered; return the token."""
    interval = max(float(begun["interval"]), _MIN_INTERVAL)
    end = clock.elapsed() + float(begun["expiresIn"])
    while clock.elapsed() < end:
        await asyncio.sleep(interval)
        try:
            answer = await client.send_raw("POST", f"{SIGN_IN}/token", {"device": begun["device"]})
        except UnavailableError:
            continue  # the server restarts; what waits for the person is kept here
        if not answer.get("pending"):
            return str(answer["token"])
        interval += _SLOWER if answer.get("slower") else 0
    raise CommandError("nobody has confirmed the sign-in in time: run it again", Exit.TIMEOUT)
