"""Owner of a container's image: what promoted it, a trigger that has resolved it, or a person."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.api.apps import (
    TRIGGERS_ANNOTATION,
    CronJob,
    DaemonSet,
    Deployment,
    DeploymentConfig,
    StatefulSet,
)
from upwell.api.defaults.pod_templates import pull_policy
from upwell.api.meta import Resource
from upwell.api.pod_template import Container, PodSpec, PodTemplate
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.rollouts import trigger_annotation

PROMOTED_ANNOTATION = "upwell.dev/promoted"
"""JSON: the Pipeline, stage and Release that a workload's images come from, and its containers.
Emptied by a person, the images are the person's again."""

_LAST_APPLIED_ANNOTATION = "kubectl.kubernetes.io/last-applied-configuration"

type _Slot = tuple[str, bool]
"""A container's name, and whether it is an init container."""
type _Sources = Mapping[_Slot, str]
"""The `namespace/stream:tag` that each container follows."""


def keep_triggered_images(old: Resource, new: Resource) -> Resource:
    """Return `new` with the images that triggers or promotions set in `old`.

    What a promotion has set stays until the next one, or until a person empties its annotation.

    An image is kept while it is pinned by digest and its container follows the same tag in both.
    A trigger that `new` drops, pauses or points elsewhere gives the field to the declared image;
    a paused one does not when the declaration is blank, since blank cannot run.
    """
    template = pod_template(new)
    before = pod_template(old)
    if template is None or before is None:
        return new
    resolved = _pinned_images(before.spec)
    promoted = promoted_containers(old) if new.annotations.get(PROMOTED_ANNOTATION) != "" else ()
    followed_before = {**_followed(old, paused=False), **_followed(old, paused=True)}
    keep = {
        slot: resolved[slot]
        for slot, source in _followed(new, paused=False).items()
        if slot in resolved and followed_before.get(slot) == source
    }
    keep |= {slot: image for slot, image in resolved.items() if slot[0] in promoted}
    keep_if_blank = {
        slot: resolved[slot]
        for slot, source in _followed(new, paused=True).items()
        if slot in resolved and followed_before.get(slot) == source
    }
    pod, policies = template.spec, _pull_policies(before.spec)
    kept_images = _KeptImages(keep, keep_if_blank, policies)
    changes = {
        "containers": _with_images(pod.containers, kept_images, init=False),
        "init_containers": _with_images(pod.init_containers, kept_images, init=True),
    }
    if changes == {"containers": pod.containers, "init_containers": pod.init_containers}:
        return new
    kept = template.model_copy(update={"spec": pod.model_copy(update=changes)})
    return _with_template(_with_note(old, new) if promoted else new, kept)


def promoted_containers(workload: Resource) -> tuple[str, ...]:
    """Return the containers whose images a promotion has set; what is no such note names none."""
    names = promotion_note(workload).get("containers")
    return tuple(map(str, names)) if isinstance(names, list) else ()


def promotion_note(workload: Resource) -> Mapping[str, Any]:
    """Return what a promotion has noted on a workload; what is no such note has nothing."""
    try:
        note = json.loads(workload.annotations.get(PROMOTED_ANNOTATION) or "{}")
    except ValueError:
        return {}
    return note if isinstance(note, dict) else {}


def ignored_images(declared: Resource, kept: Resource) -> list[str]:
    """Return what to say of the images that `declared` names and a promotion keeps from running."""
    wanted, present = pod_template(declared), pod_template(kept)
    if wanted is None or present is None:
        return []
    promoted, stays = promoted_containers(kept), _images(present.spec)
    return [
        f"container {slot[0]} keeps {stays[slot]}, which was promoted, and not {image}:"
        f" promote another Release, or empty annotation {PROMOTED_ANNOTATION} to set images by hand"
        for slot, image in _images(wanted.spec).items()
        if slot[0] in promoted and image.strip() and stays.get(slot, image) != image
    ]


def untaken_images(old: Resource, declared: Resource, kept: Resource) -> list[str]:
    """Return what to say of images that a client sets where a container follows a tag.

    Not of what the manifest named already that was applied last: a placeholder is no wish.
    """
    wanted, before, present = map(pod_template, (declared, old, kept))
    if wanted is None or before is None or present is None:
        return []
    images, was, stays = (_images(one.spec) for one in (wanted, before, present))
    promoted, name = promoted_containers(kept), f"{kept.KIND.kind.lower()}/{kept.name}"
    said = []
    for slot, source in _followed(kept, paused=False).items():
        image = images.get(slot, "").strip()
        if slot[0] in promoted or image in {"", was.get(slot)} or _was_applied(old, image):
            continue
        taken = f"it has {image} until that has an image"
        result = taken if stays[slot] == image else f"it keeps that image, not {image}"
        said.append(
            f"container {slot[0]} follows {source}: {result}. Move the tag by `oc tag`, or stop"
            f" following by `upwell set triggers {name} --from-image={source} --manual`"
        )
    return said


def _was_applied(resource: Resource, image: str) -> bool:
    """Return True if kubectl's note of the manifest that was applied last names the image."""
    note = resource.annotations.get(_LAST_APPLIED_ANNOTATION, "")
    return f'"image":{json.dumps(image)}' in note.replace('": "', '":"')


def _images(pod: PodSpec) -> dict[_Slot, str]:
    images = {(one.name, False): one.image for one in pod.containers}
    return images | {(one.name, True): one.image for one in pod.init_containers}


def _with_note(old: Resource, new: Resource) -> Resource:
    """Return `new` with the note of a promotion, which says whose the kept images are."""
    note = {PROMOTED_ANNOTATION: old.annotations[PROMOTED_ANNOTATION]}
    return new.with_metadata(annotations={**note, **new.annotations})


def trigger_warnings(resource: Resource) -> list[str]:
    """Return what is unusual about a workload's triggers."""
    template = pod_template(resource)
    if isinstance(resource, DeploymentConfig):
        return [] if template is None else list(_lost_containers(resource, template))
    text = resource.annotations.get(TRIGGERS_ANNOTATION)
    if template is None or text is None:
        return []
    _, warnings = trigger_annotation.parse(text, template.spec)
    return [f"annotation {TRIGGERS_ANNOTATION}{warning}" for warning in warnings]


def _lost_containers(config: DeploymentConfig, template: PodTemplate) -> Iterator[str]:
    """Say which triggers name a container that the template does not have."""
    containers = (*template.spec.containers, *template.spec.init_containers)
    known = {container.name for container in containers}
    for at, trigger in enumerate(config.spec.triggers or ()):
        params = trigger.image_change_params
        for name in params.container_names if params is not None else ():
            if name not in known:
                where = f"spec.triggers[{at}].imageChangeParams.containerNames"
                yield f"{where}: no container is named {name!r}, so its image follows nothing"


def pod_template(resource: Resource) -> PodTemplate | None:
    """Return the template of a workload's instances; None for other kinds."""
    match resource:
        case Deployment() | StatefulSet() | DaemonSet() | DeploymentConfig():
            return resource.spec.template
        case CronJob():
            return resource.spec.job_template.spec.template
        case _:
            return None


def declared_images(workload: Resource, slots: Iterable[_Slot]) -> dict[_Slot, str]:
    """Return the images of these containers as the template declares them."""
    template = pod_template(workload)
    if template is None:
        return {}
    present = _images(template.spec)
    return {slot: present.get(slot, "") for slot in slots}


def _with_template(resource: Resource, template: PodTemplate) -> Resource:
    match resource:
        case CronJob():
            job = resource.spec.job_template
            job_spec = job.spec.model_copy(update={"template": template})
            changes: dict[str, object] = {"job_template": job.model_copy(update={"spec": job_spec})}
            return resource.model_copy(update={"spec": resource.spec.model_copy(update=changes)})
        case Deployment() | StatefulSet() | DaemonSet() | DeploymentConfig():
            spec = resource.spec.model_copy(update={"template": template})
            return resource.model_copy(update={"spec": spec})
        case _:
            return resource


def _followed(resource: Resource, *, paused: bool) -> _Sources:
    if isinstance(resource, DeploymentConfig):
        return {} if paused else _followed_by_config(resource)
    template = pod_template(resource)
    text = resource.annotations.get(TRIGGERS_ANNOTATION)
    if template is None or text is None:
        return {}
    triggers, _ = trigger_annotation.parse(text, template.spec)
    return {
        (trigger.container, trigger.init): (
            f"{trigger.namespace or resource.namespace}/{trigger.tag}"
        )
        for trigger in triggers
        if trigger.paused is paused
    }


def _followed_by_config(config: DeploymentConfig) -> _Sources:
    followed: dict[_Slot, str] = {}
    for trigger in config.spec.triggers or ():
        params = trigger.image_change_params
        if trigger.type != "ImageChange" or params is None or not params.automatic:
            continue
        source = f"{params.from_.namespace or config.namespace}/{params.from_.name}"
        for name in params.container_names:
            followed[name, False] = followed[name, True] = source
    return followed


def _pinned_images(pod: PodSpec) -> dict[_Slot, str]:
    return {slot: image for slot, image in _images(pod).items() if is_pinned(image)}


def is_pinned(image: str) -> bool:
    """Return True if the image is named by digest."""
    try:
        return Reference.parse(image.strip()).digest is not None
    except InvalidReferenceError:
        return False


def _pull_policies(pod: PodSpec) -> dict[_Slot, str | None]:
    return {(one.name, False): one.image_pull_policy for one in pod.containers} | {
        (one.name, True): one.image_pull_policy for one in pod.init_containers
    }


@dataclass(frozen=True, slots=True)
class _KeptImages:
    """Images that stay, those that stay where none is declared, and when they are pulled."""

    always: Mapping[_Slot, str]
    if_blank: Mapping[_Slot, str]
    policies: Mapping[_Slot, str | None]


def _with_images(
    containers: tuple[Container, ...], kept: _KeptImages, *, init: bool
) -> tuple[Container, ...]:
    changed: list[Container] = []
    for container in containers:
        slot = (container.name, init)
        image = kept.always.get(slot, container.image)
        if not image.strip():
            image = kept.if_blank.get(slot, image)
        same = image == container.image
        changed.append(
            container if same else _with_image(container, image, kept.policies.get(slot))
        )
    return tuple(changed)


def _with_image(container: Container, image: str, before: str | None) -> Container:
    """Return a container with its kept image, pulled as `before` where nobody has said when.

    An object of before there were stored defaults has that of its image by digest.
    """
    changes = {"image": image}
    if container.image_pull_policy == pull_policy(container.image) and before == pull_policy(image):
        changes["image_pull_policy"] = before
    return container.model_copy(update=changes)
