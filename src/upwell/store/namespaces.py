"""Labels of a namespace, whether or not there is an object for it."""

from collections.abc import Mapping

from upwell.api.core import Namespace
from upwell.store.interface import NotFoundError, Store


async def namespace_labels(store: Store, namespace: str) -> Mapping[str, str]:
    """Return the labels of a namespace; one that is not there has none. Raises StoreError."""
    try:
        found = await store.get(Namespace, "", namespace)
    except NotFoundError:
        return {}
    return found.labels
