"""Reads what the instances of a revision need besides its template."""

from upwell.api.apps import RevisionRecord
from upwell.api.meta import Resource
from upwell.policy.pod_security.namespaces import NamespaceProfiles
from upwell.policy.rollouts.instance import RevisionTemplate
from upwell.policy.rollouts.pod_template import Sources, needed_sources
from upwell.reconcilers.rollouts.images import TemplateImages
from upwell.reconcilers.sources import read_sources
from upwell.store.interface import Store
from upwell.store.namespaces import namespace_labels


class Revisions:
    """Completes records of revisions to what can be started."""

    def __init__(self, store: Store, images: TemplateImages) -> None:
        self._store = store
        self._images = images

    async def load(self, workload: Resource, record: RevisionRecord) -> RevisionTemplate:
        """Return the revision with the Secrets, ConfigMaps and logins as they are now."""
        found = await read_sources(self._store, workload.namespace, needed_sources(record.template))
        sources = Sources({name: source.decoded() for name, source in found.items()})
        logins = await self._images.logins(record.images.values(), workload.namespace)
        return RevisionTemplate(
            workload,
            record.hash,
            record.template,
            record.images,
            sources,
            logins,
            await self._images.insecure(record.images.values(), workload.namespace),
            NamespaceProfiles.of(await namespace_labels(self._store, workload.namespace)),
        )
