"""Registry logins from the Secrets of a namespace."""

from collections.abc import Iterable, Sequence

from upwell.api.core import Secret, ServiceAccount
from upwell.registry.credentials import ChainedCredentials, SecretCredentials
from upwell.registry.errors import RegistryError
from upwell.registry.interface import CredentialSource
from upwell.store.interface import NotFoundError, Selector, Store

_CONFIG_JSON = ("kubernetes.io/dockerconfigjson", ".dockerconfigjson")
_CONFIG = ("kubernetes.io/dockercfg", ".dockercfg")
EXCLUDE_ANNOTATION = "openshift.io/image.excludeSecret"


class PullSecrets:
    """Finds logins: the Secrets of a namespace first, then what the server itself knows."""

    def __init__(self, store: Store, fallback: CredentialSource | None = None) -> None:
        self._store = store
        self._fallback = fallback

    async def of_namespace(self, namespace: str, first: Sequence[str] = ()) -> CredentialSource:
        """Return the logins of every pull Secret in the namespace (as OpenShift's import does).

        Those of `first`, by name, come before the others.
        """
        listing = await self._store.list(Secret, Selector(namespace=namespace))
        places = {name: at for at, name in reversed(list(enumerate(first)))}
        secrets = sorted(listing.items, key=lambda one: places.get(one.name, len(first)))
        return self._chain(
            secret for secret in secrets if secret.annotations.get(EXCLUDE_ANNOTATION) != "true"
        )

    async def of_account(
        self, namespace: str, account: str, first: Sequence[str] = ()
    ) -> CredentialSource:
        """Return the same logins, those that a ServiceAccount links right after `first`.

        A link decides which of several logins is taken, and gives none that would not be.
        """
        return await self.of_namespace(namespace, (*first, *await self._links(namespace, account)))

    async def _links(self, namespace: str, account: str) -> Sequence[str]:
        try:
            found = await self._store.get(ServiceAccount, namespace, account)
        except NotFoundError:
            return ()
        pulls = (one.name for one in found.image_pull_secrets)
        return [*pulls, *(one.name for one in found.secrets)]

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
