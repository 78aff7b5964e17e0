"""Reads the Secrets and ConfigMaps that templates name."""

from collections.abc import Iterable, Mapping

from upwell.api.core import ConfigMap, Secret
from upwell.policy.rollouts.pod_template import SECRET, SourceName, Sources
from upwell.store.interface import NotFoundError, Store


async def load_sources(store: Store, namespace: str, names: Iterable[SourceName]) -> Sources:
    """Return the values of those that exist."""
    values: dict[SourceName, Mapping[str, bytes]] = {}
    for name in names:
        kind: type[Secret | ConfigMap] = Secret if name.kind == SECRET else ConfigMap
        try:
            values[name] = (await store.get(kind, namespace, name.name)).decoded()
        except NotFoundError:
            continue  # whether that is a fault, only the template knows: it may be optional
    return Sources(values)
