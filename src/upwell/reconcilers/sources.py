"""The one reader of the Secrets and ConfigMaps that other objects name."""

from collections.abc import Iterable

from upwell.api.core import ConfigMap, Secret
from upwell.policy.rollouts.pod_template import SECRET, SourceName
from upwell.store.interface import NotFoundError, Store


class MissingSecretError(Exception):
    """A Secret that an object names is not there, or lacks a key; the message says what to do."""


async def read_sources(
    store: Store, namespace: str, names: Iterable[SourceName]
) -> dict[SourceName, Secret | ConfigMap]:
    """Return those that exist: whether another is missed, only who names it knows."""
    found: dict[SourceName, Secret | ConfigMap] = {}
    for name in names:
        kind: type[Secret | ConfigMap] = Secret if name.kind == SECRET else ConfigMap
        try:
            found[name] = await store.get(kind, namespace, name.name)
        except NotFoundError:
            continue
    return found


async def read_secret(store: Store, namespace: str, name: str, *, keys: str = "") -> Secret:
    """Return a Secret; raises MissingSecretError, which says with which `keys` to create it."""
    try:
        return await store.get(Secret, namespace, name)
    except NotFoundError as error:
        how = f"create it with {keys}" if keys else "create it"
        message = f"Secret {name} does not exist in namespace {namespace}: {how}"
        raise MissingSecretError(message) from error


async def secret_value(store: Store, namespace: str, name: str, key: str) -> bytes:
    """Return one value of a Secret, which is not empty; raises MissingSecretError."""
    secret = await read_secret(store, namespace, name, keys=f"the key `{key}`")
    value = secret.decoded().get(key, b"")
    if not value:
        raise MissingSecretError(f"Secret {namespace}/{name} has no key `{key}`: add it")
    return value
