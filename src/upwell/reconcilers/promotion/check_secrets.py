"""Values that checks take from Secrets of their Pipeline's namespace."""

import base64
from collections.abc import Mapping

from upwell.api.core import Secret
from upwell.api.meta import LocalReference
from upwell.store.interface import NotFoundError, Store
from upwell.verification.interface import ProbeError

_SIGNS = "secret"
_TOKEN, _USER, _PASSWORD = "token", "username", "password"


async def signing_key(store: Store, namespace: str, reference: LocalReference) -> bytes:
    """Return what signs a request; raises ProbeError: unsigned, it is not sent."""
    values = await _values(store, namespace, reference.name)
    if not values.get(_SIGNS):
        raise ProbeError(f"Secret {namespace}/{reference.name} has no key `{_SIGNS}`: add it")
    return values[_SIGNS]


async def authorization(store: Store, namespace: str, reference: LocalReference) -> str:
    """Return the header by which a server lets us in; raises ProbeError: without, it is not asked.

    The key `token` makes it a Bearer token; else `username` and `password` are sent.
    """
    values = await _values(store, namespace, reference.name)
    if token := values.get(_TOKEN, b"").strip():
        return f"Bearer {token.decode(errors='replace')}"
    if _USER in values and _PASSWORD in values:
        login = b":".join((values[_USER].strip(), values[_PASSWORD].strip()))
        return f"Basic {base64.b64encode(login).decode()}"
    wanted = f"neither `{_TOKEN}` nor `{_USER}` and `{_PASSWORD}`"
    raise ProbeError(f"Secret {namespace}/{reference.name} has {wanted}: add them")


async def _values(store: Store, namespace: str, name: str) -> Mapping[str, bytes]:
    try:
        return (await store.get(Secret, namespace, name)).decoded()
    except NotFoundError:
        return {}
