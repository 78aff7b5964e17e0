"""Registry logins from the Secrets of a namespace."""

from collections.abc import Iterable

from upwell.api.core import Secret
from upwell.registry.credentials import ChainedCredentials, SecretCredentials
from upwell.registry.errors import RegistryError
from upwell.registry.interface import CredentialSource
from upwell.store.interface import Selector, Store

_CONFIG_JSON = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson")
_CONFIG = ("kubernetes.io/dockercfg", ".dockercfg")
EXCLUDE_ANNOTATION = "openshift.io/image.excludeSecret"


class PullSecrets:
    """Finds logins: the Secrets of a namespace first, then what the server itself knows."""

    def __init__(self, store: Store, fallback: CredentialSource | None = None) -> None:
        self._store = store
        self._fallback = fallback

    async def of_namespace(self, namespace: str) -> CredentialSource:
        """Return the logins of every pull Secret in the namespace (as OpenShift's import does)."""
        listing = await self._store.list(Secret, Selector(namespace=namespace))
        return self._chain(
            secret
            for secret in listing.items
            if secret.annotations.get(EXCLUDE_ANNOTATION) != "true"
        )

    def _chain(self, secrets: Iterable[Secret]) -> CredentialSource:
        sources: list[CredentialSource] = []
        for secret in secrets:
            try:
                source = credentials_of(secret)
            except RegistryError:
                continue  # one broken Secret must not take the others' logins away
            if source is not None:
                sources.append(source)
        if self._fallback is not None:
            sources.append(self._fallback)
        return ChainedCredentials(sources)


def credentials_of(secret: Secret) -> CredentialSource | None:
    """Return a pull Secret's logins; None when it is of another type. Raises RegistryError."""
    where = str(secret.key)
    values = secret.decoded()
    if secret.type == _CONFIG_JSON[0]:
        return SecretCredentials.from_dockerconfigjson(values.get(_CONFIG_JSON[1], b"{}"), where)
    if secret.type == _CONFIG[0]:
        return SecretCredentials.from_dockercfg(values.get(_CONFIG[1], b"{}"), where)
    return None
