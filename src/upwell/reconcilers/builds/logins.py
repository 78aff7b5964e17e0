"""Logins of a build: for its source, the images that it takes, and the place that it pushes to."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import BUILD_ACCOUNT, Secret
from upwell.api.meta import LocalReference
from upwell.builder.interface import BuildError, BuildPlan, RegistryLogin
from upwell.oci import Reference
from upwell.policy.builds.images import pull_secrets_of
from upwell.policy.builds.source_secrets import matching_secret
from upwell.reconcilers.images.pull_secrets import PullSecrets, credentials_of
from upwell.reconcilers.sources import MissingSecretError, read_secret
from upwell.registry.credentials import ChainedCredentials
from upwell.registry.errors import RegistryError
from upwell.registry.interface import CredentialSource, RequestAccess
from upwell.store.interface import Selector, Store


@dataclass(frozen=True, slots=True)
class BuildCredentials:
    """Logins of one build at registries."""

    pulls: CredentialSource = field(repr=False)
    push: CredentialSource = field(repr=False)
    own: Mapping[str, CredentialSource] = field(repr=False)
    """Of images of the source that have a pull secret of their own, by image name."""

    def of_image(self, name: str) -> CredentialSource:
        """Return the logins for an image by its name in the build."""
        return self.own.get(name, self.pulls)


def _no_login(_plan: BuildPlan) -> AbstractContextManager[RegistryLogin | None]:
    return nullcontext()


class BuildLogins:
    """Reader of the logins that a Build names or that its namespace has. Raises BuildError.

    `internal` gives a build its login at the internal registry for the time of a block.
    """

    def __init__(
        self,
        store: Store,
        internal_host: str,
        fallback: CredentialSource | None = None,
        internal: Callable[[BuildPlan], AbstractContextManager[RegistryLogin | None]] = _no_login,
    ) -> None:
        self.internal = internal
        self._store = store
        self._secrets = PullSecrets(store, fallback)
        self._host = internal_host

    async def of_source(self, build: Build | BuildConfig, uri: str) -> Mapping[str, bytes]:
        """Return the source secret: the one that is named, or that fits the address."""
        named = build.spec.source.source_secret
        if named is not None:
            return (await self._secret(build, named.name)).decoded()
        secrets = await self._store.list(Secret, Selector(build.namespace))
        matching = matching_secret(uri, secrets.items)
        return matching.decoded() if matching is not None else {}

    async def read(self, build: Build) -> BuildCredentials:
        """Return the logins that the build names, before those of its namespace and the server.

        Of the namespace's, those that are linked to the build's ServiceAccount come first.
        """
        account = build.spec.service_account or BUILD_ACCOUNT
        others = await self._secrets.of_account(build.namespace, account)
        return BuildCredentials(
            pulls=await self._chained(build, build.spec.strategy.pull_secret, others),
            push=await self._chained(build, build.spec.output.push_secret, others),
            own={
                name: await self._chained(build, secret, others)
                for name, secret in pull_secrets_of(build).items()
            },
        )

    async def to_push(self, build: Build) -> RequestAccess:
        """Return how the build's output is written to; raises BuildError."""
        return RequestAccess((await self.read(build)).push)

    async def for_builder(
        self,
        credentials: BuildCredentials,
        images: Mapping[str, Reference],
        push: Reference | None,
    ) -> tuple[RegistryLogin, ...]:
        """Return a login for every other registry that the build pulls from or pushes to.

        `images` are those that it takes, by their names in the build.
        """
        found: dict[str, RegistryLogin] = {}
        wanted = [(reference, credentials.of_image(name)) for name, reference in images.items()]
        if push is not None:
            wanted.append((push, credentials.push))
        for reference, source in wanted:
            if reference.registry == self._host:
                continue
            credential = await source.find(reference.registry, reference.repository)
            if credential is not None and credential.username:
                found[reference.registry] = RegistryLogin(
                    reference.registry, credential.username, credential.password
                )
        return tuple(found.values())

    async def _chained(
        self, build: Build, secret: LocalReference | None, others: CredentialSource
    ) -> CredentialSource:
        if secret is None:
            return others
        found = await self._secret(build, secret.name)
        try:
            own = credentials_of(found)
        except RegistryError as error:
            raise BuildError("GenericBuildFailed", str(error)) from error
        return ChainedCredentials([own, others]) if own is not None else others

    async def _secret(self, build: Build | BuildConfig, name: str) -> Secret:
        try:
            return await read_secret(self._store, build.namespace, name)
        except MissingSecretError as error:
            why = f"{error}, then start the build again"
            raise BuildError("GenericBuildFailed", why) from error
