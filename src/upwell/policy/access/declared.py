"""Declaration of an object: its spec, and the annotations that say as much as one; pure.

An annotation that chooses what runs, or with which rights, is spec that stands elsewhere: whoever
changes it changes the object, and is asked as for its spec.
"""

from upwell.api.apps import TRIGGERS_ANNOTATION
from upwell.api.builds.config import HOST_NETWORK_ANNOTATION
from upwell.api.core import GRANTS_ANNOTATION
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.policy.images.local_names import RESOLVE_NAMES_ANNOTATION
from upwell.policy.images.repository_tags import GENERATION_ANNOTATION, INSECURE_ANNOTATION
from upwell.policy.rollouts.hooks import declared_hooks
from upwell.policy.rollouts.image_ownership import PROMOTED_ANNOTATION
from upwell.policy.rollouts.starts.exclusive_use import SHARE_ANNOTATION
from upwell.policy.rollouts.triggers import followers_of

_NAMING = (RESOLVE_NAMES_ANNOTATION, PROMOTED_ANNOTATION)
"""Annotations that choose the images of a workload, besides its triggers."""
_DECLARING = (
    *_NAMING,
    TRIGGERS_ANNOTATION,
    HOST_NETWORK_ANNOTATION,
    INSECURE_ANNOTATION,
    GENERATION_ANNOTATION,
    SHARE_ANNOTATION,
    GRANTS_ANNOTATION,
)

UNREAD = ("labels", "managed_fields", "resource_version", "generation")
"""Metadata on which no right depends."""


def declared(resource: Resource) -> object:
    """Return all that an object declares; its other metadata and its status are left out."""
    return resource.model_dump(exclude={"metadata", "status"}), _of(resource, _DECLARING)


def says_the_same(resource: Resource, old: Resource) -> bool:
    """Return True if an object differs from what it was in labels and bookkeeping alone.

    No rule reads these, so it takes the rights that it took, whatever they are.
    """
    unread = {name: getattr(resource.metadata, name) for name in UNREAD}
    return old.with_metadata(**unread) == resource


def run_beside(resource: Resource) -> str:
    """Return what an object's Pods run besides its templates, as one text: images, and hooks."""
    if isinstance(resource, Pipeline):
        return repr([component.model_dump() for component in resource.spec.components])
    followed = [(one.slot, str(one.tag), one.mode.value) for one in followers_of(resource).entries]
    named = _of(resource, _NAMING)
    hooks = [hook.model_dump() for hook in declared_hooks(resource)]
    return repr((followed, named, hooks)) if followed or named or hooks else ""


def _of(resource: Resource, keys: tuple[str, ...]) -> dict[str, str]:
    return {key: text for key in keys if (text := resource.annotations.get(key)) is not None}
