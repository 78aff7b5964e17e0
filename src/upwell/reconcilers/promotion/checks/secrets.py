"""Values that checks take from Secrets of their Pipeline's namespace."""

import base64

from upwell.api.meta import LocalReference
from upwell.reconcilers.sources import MissingSecretError, read_secret, secret_value
from upwell.store.interface import Store
from upwell.verification.interface import ProbeError

_SIGNS = "secret"
_TOKEN, _USER, _PASSWORD = "token", "username", "password"


async def signing_key(store: Store, namespace: str, reference: LocalReference) -> bytes:
    """Return what signs a request; raises ProbeError: unsigned, it is not sent."""
    try:
        return await secret_value(store, namespace, reference.name, _SIGNS)
    except MissingSecretError as error:
        raise ProbeError(str(error)) from error


async def authorization(store: Store, namespace: str, reference: LocalReference) -> str:
    """Return the header by which a server lets us in; raises ProbeError: without, it is not asked.

    The key `token` makes it a Bearer token; else `username` and `password` are sent.
    """
    try:
        keys = f"`{_TOKEN}`, or with `{_USER}` and `{_PASSWORD}`"
        values = (await read_secret(store, namespace, reference.name, keys=keys)).decoded()
    except MissingSecretError as error:
        raise ProbeError(str(error)) from error
    if token := values.get(_TOKEN, b"").strip():
        return f"Bearer {token.decode(errors='replace')}"
    if _USER in values and _PASSWORD in values:
        login = b":".join((values[_USER].strip(), values[_PASSWORD].strip()))
        return f"Basic {base64.b64encode(login).decode()}"
    wanted = f"neither `{_TOKEN}` nor `{_USER}` and `{_PASSWORD}`"
    raise ProbeError(f"Secret {namespace}/{reference.name} has {wanted}: add them")
