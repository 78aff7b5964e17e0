"""Pod Security Admission: the profile of each namespace in which an object's templates run."""

from collections.abc import Iterator
from dataclasses import dataclass

from upwell.api.meta import Resource
from upwell.policy.pod_security.namespaces import (
    NamespaceProfiles,
    profile_audits,
    profile_warnings,
    refusal,
)
from upwell.policy.pod_security.templates import PlacedTemplate, templates_of
from upwell.server.http.errors import ApiError
from upwell.store.interface import Store
from upwell.store.namespaces import namespace_labels


@dataclass(frozen=True, slots=True)
class ProfileReview:
    """Words about new templates that a namespace forbids nothing of."""

    warnings: tuple[str, ...] = ()
    audited: tuple[str, ...] = ()
    """For the audit log."""


async def enforce_profiles(store: Store, resource: Resource, old: Resource | None) -> ProfileReview:
    """Raise ApiError 403 if a namespace forbids a template that is new; else return the review.

    As in Kubernetes, a profile that comes later leaves what is stored as it is: what cannot run
    then says so in its conditions.
    """
    known = {} if old is None else {one.path: one for one in templates_of(old)}
    warnings: list[str] = []
    audited: list[str] = []
    profiles: dict[str, NamespaceProfiles] = {}
    for template in _changed(resource, known):
        if template.namespace not in profiles:
            labels = await namespace_labels(store, template.namespace)
            profiles[template.namespace] = NamespaceProfiles.of(labels)
        if why := refusal(template, profiles[template.namespace]):
            raise ApiError(403, f"{resource.key} is forbidden: {why}", key=resource.key)
        warnings += profile_warnings(template, profiles[template.namespace])
        audited += profile_audits(template, profiles[template.namespace])
    return ProfileReview(tuple(warnings), tuple(audited))


def _changed(resource: Resource, known: dict[str, PlacedTemplate]) -> Iterator[PlacedTemplate]:
    for template in templates_of(resource):
        if known.get(template.path) != template:
            yield template
