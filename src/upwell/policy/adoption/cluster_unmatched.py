"""Rules of a cluster's updaters that set no image of a workload, and the reason for each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.adoption.cluster_updaters import (
    ARGO,
    FLUX,
    KEEL,
    argo_images,
    argo_rules,
    flux_images,
    flux_repository,
    flux_rules,
    has_keel_marks_alone,
    mapping_in,
    names_no_image,
    place_of,
)
from upwell.policy.cluster_rollouts.observation import NativeWorkload
from upwell.policy.rollouts.image_ownership import pod_template

type Place = tuple[str, str, str]
"""Kind, namespace and name of a workload."""

_FEW = 3
"""Workloads and images that a sentence names."""


def unmatched_rules(
    workloads: Sequence[NativeWorkload],
    applications: Iterable[Mapping[str, Any]],
    policies: Iterable[Mapping[str, Any]],
    repositories: Sequence[Mapping[str, Any]],
) -> Iterator[str]:
    """Yield a sentence for each rule of Argo's, Flux' and Keel's that no container goes by."""
    for one in applications:
        yield from _of_argo(one, workloads)
    running = {repository for one in workloads for repository in _repositories(one)}
    images = flux_images(repositories)
    for policy in policies:
        yield from _of_flux(policy, repositories, images, running)
    for workload in workloads:
        if has_keel_marks_alone(workload.labels, workload.annotations):
            yield (
                f"{_name(workload)}: {KEEL} leaves it alone: it has marks of keel.sh, and no"
                " keel.sh/policy among its own labels and annotations; remove them, or add that"
            )


def made_by(application: Mapping[str, Any]) -> Iterator[Place]:
    """Yield what one of Argo CD's Applications says it has made."""
    made_here = mapping_in(application, "status").get("resources")
    for made in made_here if isinstance(made_here, list) else ():
        if isinstance(made, Mapping):
            yield str(made.get("kind")), str(made.get("namespace") or ""), str(made.get("name"))


def _of_argo(application: Mapping[str, Any], workloads: Sequence[NativeWorkload]) -> Iterator[str]:
    annotations = mapping_in(mapping_in(application, "metadata"), "annotations")
    about = f"Application {'/'.join(place_of(application))}: {ARGO}"
    for entry in argo_images(annotations):
        if names_no_image(entry):
            yield f"{about}: {entry[:100]!r} of its image-list names no image: correct it"
    places = set(made_by(application))
    made = [one for one in workloads if _place(one) in places]
    running = {repository for one in made for repository in _repositories(one)}
    for repository, _ in argo_rules(annotations):
        if repository not in running:
            yield f"{about}: nothing follows {repository}: {_why_not_made(places, made)}"


def _why_not_made(places: set[Place], made: Sequence[NativeWorkload]) -> str:
    if made:
        names = _listed(_name(one) for one in made)
        images = _listed(image for one in made for image in _images(one))
        return (
            f"of what it has made, {names} has no container with that image, but with {images}:"
            " correct its image-list, or the image in git"
        )
    if places:
        return (
            "what its status says it has made is no workload on this cluster: give the kubeconfig"
            " of the cluster that it deploys to"
        )
    return "its status names nothing that it has made: let Argo CD sync it, and ask again"


def _of_flux(
    policy: Mapping[str, Any],
    repositories: Sequence[Mapping[str, Any]],
    images: Mapping[tuple[str, str], str],
    running: set[str],
) -> Iterator[str]:
    about = f"ImagePolicy {'/'.join(place_of(policy))}: {FLUX}"
    place = flux_repository(policy)
    source = f"ImageRepository {'/'.join(place)}"
    rules = list(flux_rules([policy], repositories))
    if not place[1]:
        yield f"{about}: it names no ImageRepository: correct its imageRepositoryRef"
    elif place not in images:
        yield f"{about}: there is no {source}: create it, or correct its imageRepositoryRef"
    elif not rules:
        yield f"{about}: the image of {source}, {images[place][:100]!r}, is no name of one"
    for repository, _ in rules:
        if repository not in running:
            yield (
                f"{about}: nothing follows {repository}, the image of {source}: no workload has"
                " a container with it; correct it, or remove the policy"
            )


def _name(workload: NativeWorkload) -> str:
    return f"{workload.KIND.kind} {workload.namespace}/{workload.name}"


def _place(workload: NativeWorkload) -> Place:
    return workload.KIND.kind, workload.namespace, workload.name


def _images(workload: NativeWorkload) -> Sequence[str]:
    """Return the images of the containers of which rules are."""
    template = pod_template(workload)
    return [one.image for one in template.spec.containers] if template is not None else []


def _repositories(workload: NativeWorkload) -> Iterator[str]:
    for image in _images(workload):
        try:
            named = Reference.parse(image)
        except InvalidReferenceError:
            continue
        yield f"{named.registry}/{named.repository}"


def _listed(found: Iterable[str]) -> str:
    names = sorted(set(found))
    more = f" and {len(names) - _FEW} more" if len(names) > _FEW else ""
    return f"{', '.join(names[:_FEW])}{more}"
