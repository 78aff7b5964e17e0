"""Reads what the instances of a revision need besides its template."""

from collections.abc import Awaitable, Callable

from upwell.api.apps import RevisionRecord
from upwell.api.meta import Resource
from upwell.policy.pod_security.namespaces import NamespaceProfiles
from upwell.policy.rollouts.instance import RevisionTemplate
from upwell.policy.rollouts.pod_template import (
    AUTHORITY_CONFIG_MAP,
    CONFIG_MAP,
    SourceName,
    Sources,
    needed_sources,
)
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.sources import read_sources
from upwell.store.interface import Store
from upwell.store.namespaces import namespace_labels

type ApiAuthority = Callable[[], Awaitable[bytes]]
"""Returns the certificate by which the API is trusted, as PEM; empty: there is none."""

_AUTHORITY = SourceName(CONFIG_MAP, AUTHORITY_CONFIG_MAP)
"""Every namespace has it in Kubernetes; here the server knows its content."""


async def no_api_authority() -> bytes:
    """Return nothing, where no API is served."""
    return b""


class Revisions:
    """Completes records of revisions to what can be started."""

    def __init__(
        self,
        store: Store,
        images: TemplateImages,
        api_authority: ApiAuthority = no_api_authority,
    ) -> None:
        self._store = store
        self._images = images
        self._api_authority = api_authority

    async def load(self, workload: Resource, record: RevisionRecord) -> RevisionTemplate:
        """Return the revision with the Secrets, ConfigMaps and logins as they are now."""
        names = needed_sources(record.template)
        found = await read_sources(self._store, workload.namespace, names)
        values = {name: source.decoded() for name, source in found.items()}
        is_missing = _AUTHORITY in names and _AUTHORITY not in values
        if is_missing and (authority := await self._api_authority()):
            values[_AUTHORITY] = {"ca.crt": authority}
        sources = Sources(values)
        images = record.images.values()
        logins = await self._images.logins(images, workload.namespace, record.template)
        return RevisionTemplate(
            workload,
            record.hash,
            record.template,
            record.images,
            sources,
            logins,
            await self._images.insecure(images, workload.namespace),
            NamespaceProfiles.of(await namespace_labels(self._store, workload.namespace)),
        )
