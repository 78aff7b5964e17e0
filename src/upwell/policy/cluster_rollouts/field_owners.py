"""Owners of the image fields of a workload, by its managedFields (meta/v1 FieldsV1).

Whoever writes the trigger annotation gives the image that they declare beside it to the trigger,
and whoever declares a container of a stage's workload gives its image to the stage: that field is
taken over from them. Nobody else is overruled.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob
from upwell.api.meta import Resource
from upwell.cluster.interface import FIELD_MANAGER
from upwell.policy.rollouts.image_ownership import declared_images
from upwell.policy.rollouts.triggers import Slot

GITOPS_MANAGERS = (
    "argocd",
    "flux",
    "gotk",
    "fleet",
    "helm-controller",
    "kustomize-controller",
    "rancher-fleet",
)
"""Beginnings of the names of managers that put back what git says, again and again."""
_DECLARERS = frozenset({"helm", "kubectl", "kubectl-client-side-apply", "kubectl-replace"})
"""Managers by which a person declares a whole manifest, once each time."""
OWN = (FIELD_MANAGER, "Apply")
"""Manager and operation of what Upwell writes here."""


@dataclass(frozen=True, slots=True)
class ImageOwnership:
    """Owners of the images that a write is about."""

    taken_by: Mapping[Slot, str]
    """Managers that keep a field."""
    handed_over: frozenset[Slot]
    """Fields that their manager has given to the trigger, or to the stage."""
    updated: frozenset[Slot] = frozenset()
    """Fields that are ours, though not by server-side apply: a promotion's, or by admission."""

    @property
    def takes_over(self) -> bool:
        """True if fields have to become ours that a server takes for another's."""
        return bool(self.handed_over or self.updated)


def ownership(
    workload: Resource, slots: Iterable[Slot], *, set_before: bool, staged: bool = False
) -> ImageOwnership:
    """Return who owns the images of these containers.

    With `set_before`, Upwell has set them once: who took one back, and is no person that applied
    the whole manifest again, keeps it. With `staged`, a stage of a Pipeline sets them. A blank
    image is none: whoever writes that asks for one (OpenShift's image triggers).
    """
    declared = declared_images(workload, slots := tuple(slots))
    taken: dict[Slot, str] = {}
    given: set[Slot] = set()
    updated: set[Slot] = set()
    for slot in slots:
        wished = container_path(workload, slot) if staged else TRIGGERS_PATH
        authors = {manager for manager, _ in owners_of(workload, wished)}
        for manager, _ in sorted(image_owners(workload, slot) - {OWN}):
            if manager == FIELD_MANAGER:
                updated.add(slot)
                continue
            may_declare = not set_before or manager in _DECLARERS
            asks = not declared.get(slot, "").strip() or (manager in authors and may_declare)
            if asks and not is_gitops(manager):
                given.add(slot)
            else:
                taken[slot] = manager
    kept = set(taken)
    return ImageOwnership(taken, frozenset(given - kept), frozenset(updated - kept))


def is_gitops(manager: str) -> bool:
    """Return True for a manager that would put back what it has declared."""
    return manager.startswith(GITOPS_MANAGERS)


def owned_text(slot: Slot, manager: str, *, staged: bool = False) -> str:
    """Say who owns an image, and what to do about it."""
    who = f"the image of container {slot[0]} is owned by field manager {manager}"
    if is_gitops(manager):
        whose = (
            "keep the stage in git (`git`), which commits"
            if staged
            else ("let a stage of a Pipeline commit")
        )
        return f"{who}, which sets it from git: {whose} it there instead"
    if staged:
        back = "apply the manifest again to give it back to the stage, or keep the stage in git"
        return f"{who}: {back} (`git`)"
    return f"{who}: apply the manifest again to give it back to the trigger, or remove the trigger"


TRIGGERS_PATH = ("f:metadata", "f:annotations", f"f:{TRIGGERS_ANNOTATION}")


def image_owners(workload: Resource, slot: Slot) -> frozenset[tuple[str, str]]:
    """Return the managers that own the image of a container, and by which operation."""
    return owners_of(workload, image_path(workload, slot))


def image_path(workload: Resource, slot: Slot) -> tuple[str, ...]:
    """Return the path of a container's image in FieldsV1."""
    return (*_container(workload, slot), "f:image")


def container_path(workload: Resource, slot: Slot) -> tuple[str, ...]:
    """Return the path of a container's name in FieldsV1: of whoever declares the container."""
    return (*_container(workload, slot), "f:name")


def _container(workload: Resource, slot: Slot) -> tuple[str, ...]:
    name, init = slot
    job = ("f:jobTemplate", "f:spec") if isinstance(workload, CronJob) else ()
    containers = "f:initContainers" if init else "f:containers"
    key = f'k:{{"name":"{name}"}}'
    return ("f:spec", *job, "f:template", "f:spec", containers, key)


def owners_of(resource: Resource, path: tuple[str, ...]) -> frozenset[tuple[str, str]]:
    """Return the managers that own a field, and by which operation."""
    return frozenset(
        (str(entry.get("manager") or ""), str(entry.get("operation") or ""))
        for entry in resource.metadata.managed_fields
        if not entry.get("subresource") and _has(entry.get("fieldsV1"), path)
    )


def _has(fields: Any, path: tuple[str, ...]) -> bool:
    for step in path:
        if not isinstance(fields, Mapping) or step not in fields:
            return False
        fields = fields[step]
    return True
