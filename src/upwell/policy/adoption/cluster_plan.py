"""Plan for workloads of a cluster whose images other updaters set: streams and triggers."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from upwell.api.apps import TRIGGERS_ANNOTATION, CronJob
from upwell.api.codec import encode
from upwell.api.image import ImageStream
from upwell.oci import InvalidReferenceError, Reference
from upwell.policy.adoption.cluster_unmatched import Place, made_by, unmatched_rules
from upwell.policy.adoption.cluster_updaters import (
    ARGO,
    UpdaterRule,
    argo_rules,
    flux_rules,
    keel_rule,
    mapping_in,
)
from upwell.policy.adoption.images import followed_stream, normalised
from upwell.policy.cluster_rollouts.field_owners import GITOPS_MANAGERS, image_owners
from upwell.policy.cluster_rollouts.observation import NativeWorkload
from upwell.policy.rollouts.image_ownership import pod_template
from upwell.policy.rollouts.trigger_annotation import trigger_entry

_GIT_MARKS = {
    "kustomize.toolkit.fluxcd.io/name": "Flux",
    "helm.toolkit.fluxcd.io/name": "Flux",
    "argocd.argoproj.io/tracking-id": "Argo CD",
}
"""Labels and annotations of what is applied from git, again and again."""


@dataclass(frozen=True, slots=True)
class UpdaterObjects:
    """Objects of other updaters, as the cluster has them."""

    applications: Sequence[Mapping[str, Any]] = ()
    """Argo CD's."""
    policies: Sequence[Mapping[str, Any]] = ()
    """Flux' ImagePolicies."""
    repositories: Sequence[Mapping[str, Any]] = ()
    """Flux' ImageRepositories."""


@dataclass(frozen=True, slots=True)
class FollowedContainer:
    """A container whose image an updater sets, and what would follow it here."""

    workload: NativeWorkload
    name: str
    image: str
    rules: tuple[UpdaterRule, ...]
    tag: str = ""
    """`STREAM:TAG`; empty: its image has no name that can be followed."""


@dataclass(slots=True)
class ClusterAdoption:
    """Plan for all workloads."""

    containers: list[FollowedContainer] = field(default_factory=list)
    streams: dict[tuple[str, str], ImageStream] = field(default_factory=dict)
    """By namespace and name."""
    triggers: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    """Fields to apply to workloads, by kind, namespace and name."""
    warnings: list[str] = field(default_factory=list)

    def documents(self) -> Sequence[Mapping[str, Any]]:
        """Return the manifests, to be applied on the server's side."""
        return [*(encode(one) for one in self.streams.values()), *self.triggers.values()]


def cluster_adoption(
    workloads: Iterable[NativeWorkload], others: UpdaterObjects
) -> ClusterAdoption:
    """Return what follows the images that other updaters set now, and which rules set none."""
    plan = ClusterAdoption()
    workloads = list(workloads)
    flux = list(flux_rules(others.policies, others.repositories))
    argo = _argo_workloads(others.applications)
    for workload in workloads:
        place = (workload.KIND.kind, workload.namespace, workload.name)
        rules = [*flux, *argo.get(place, ())]
        template = pod_template(workload)
        followed = [
            found
            for one in (template.spec.containers if template is not None else ())
            if (found := _container(workload, one.name, one.image, rules)) is not None
        ]
        if followed:
            _plan_workload(plan, workload, followed)
    plan.warnings += unmatched_rules(
        workloads, others.applications, others.policies, others.repositories
    )
    return plan


def _argo_workloads(
    applications: Iterable[Mapping[str, Any]],
) -> Mapping[Place, Sequence[tuple[str, UpdaterRule]]]:
    """Return the rules of Applications by the workloads that they say they have made."""
    found: dict[Place, Sequence[tuple[str, UpdaterRule]]] = {}
    for one in applications:
        annotations = mapping_in(mapping_in(one, "metadata"), "annotations")
        rules = list(argo_rules(annotations))
        found.update(dict.fromkeys(made_by(one), rules))
    return found


def _container(
    workload: NativeWorkload, name: str, image: str, rules: Iterable[tuple[str, UpdaterRule]]
) -> FollowedContainer | None:
    try:
        named = Reference.parse(image)
    except InvalidReferenceError as error:
        keel = keel_rule(workload.labels, workload.annotations, "")
        if keel is None:
            return None
        broken = UpdaterRule(keel.updater, "", (f"its image is no name of one: {error}",), keel.off)
        return FollowedContainer(workload, name, image, (broken,))
    keel = keel_rule(workload.labels, workload.annotations, named.tag or "latest")
    repository = f"{named.registry}/{named.repository}"
    found = [rule for about, rule in rules if about == repository]
    found += [keel] if keel is not None else []
    if not found:
        return None
    if named.digest is not None and named.tag is None:
        why = "its image has a digest and no tag: name the tag that is to be followed"
        found = [UpdaterRule(one.updater, "", (*one.notes, why), one.off) for one in found]
        return FollowedContainer(workload, name, image, tuple(found))
    tag = f"{normalised(image)}:{named.tag or 'latest'}"
    return FollowedContainer(workload, name, image, tuple(found), tag)


def _plan_workload(
    plan: ClusterAdoption, workload: NativeWorkload, followed: Sequence[FollowedContainer]
) -> None:
    has_triggers = TRIGGERS_ANNOTATION in workload.annotations
    where = f"{workload.KIND.kind} {workload.namespace}/{workload.name}"
    git = _git_tool(workload, followed)
    entries = []
    for one in followed:
        about = f"{where}, container {one.name}"
        for rule in one.rules:
            plan.warnings += [f"{about}: {rule.updater}: {note}" for note in rule.notes]
        names = sorted({rule.updater for rule in one.rules})
        if len(names) > 1:
            plan.warnings.append(f"{about}: {' and '.join(names)} fight over its image already")
        shown = _with_stream(plan, one) if one.tag else one
        plan.containers.append(shown)
        if shown.tag:
            of_jobs = isinstance(workload, CronJob)
            entries.append(trigger_entry(shown.name, shown.tag, of_jobs=of_jobs))
    offs = sorted({rule.off for one in followed for rule in one.rules})
    if git:
        plan.warnings.append(
            f"{where}: {git} puts back what git says, and would fight with a trigger: let a stage"
            " of a Pipeline commit the digest there (docs/gitops.md)"
        )
    if has_triggers:
        plan.warnings.append(
            f"{where}: Upwell's trigger and another updater fight over its image: remove"
            f" {' and '.join(offs)}, or annotation {TRIGGERS_ANNOTATION}"
        )
    if entries and not git and not has_triggers:
        plan.triggers[workload.KIND.kind, workload.namespace, workload.name] = _fields(
            workload, entries
        )
        plan.warnings.append(f"{where}: remove {' and '.join(offs)} before you apply its trigger")


def _git_tool(workload: NativeWorkload, followed: Sequence[FollowedContainer]) -> str:
    """Return the program that applies a workload from git; empty: none is known of."""
    for mark, tool in _GIT_MARKS.items():
        if mark in workload.labels or mark in workload.annotations:
            return tool
    if any(rule.updater == ARGO for one in followed for rule in one.rules):
        return "Argo CD"
    owners = {name for one in followed for name, _ in image_owners(workload, (one.name, False))}
    return next((one for one in sorted(owners) if one.startswith(GITOPS_MANAGERS)), "")


def _with_stream(plan: ClusterAdoption, one: FollowedContainer) -> FollowedContainer:
    """Note the tag that follows a container's image; one name has one selection."""
    stream, _, tag = one.tag.partition(":")
    selection = next((rule.selection for rule in one.rules if rule.selection), "")
    bare = one.image.partition("@")[0]
    [wanted] = followed_stream(stream, bare, selection).spec.tags
    place = (one.workload.namespace, stream)
    known = plan.streams.get(place) or ImageStream().with_metadata(
        name=stream, namespace=one.workload.namespace
    )
    present = {item.name: item for item in known.spec.tags}
    if present.get(tag, wanted) != wanted:
        tag = f"{one.workload.name}-{one.name}"[:128]
        wanted = wanted.model_copy(update={"name": tag})
    spec = known.spec.model_copy(update={"tags": tuple({**present, tag: wanted}.values())})
    plan.streams[place] = known.model_copy(update={"spec": spec})
    return FollowedContainer(one.workload, one.name, one.image, one.rules, f"{stream}:{tag}")


def _fields(workload: NativeWorkload, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {
        "apiVersion": workload.KIND.api_version,
        "kind": workload.KIND.kind,
        "metadata": {
            "name": workload.name,
            "namespace": workload.namespace,
            "annotations": {TRIGGERS_ANNOTATION: json.dumps(entries)},
        },
    }
