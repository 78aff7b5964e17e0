"""Tenants among what a change reaches: one of them alone holds and stops nobody else's."""

from collections.abc import Collection, Iterable

from upwell.api.meta import Resource
from upwell.api.values.author import author_person_of

_SEVERAL = 2


def are_of_several(
    failed: Iterable[tuple[str, Resource | None]], namespaces: Collection[str]
) -> bool:
    """Return True if failures, by their namespaces, are of more than one tenant.

    A tenant is the person who stands for an object, whatever namespaces they have; the
    administrator stands for none, and each namespace counts. What fails in more than half of the
    `namespaces` that are reached is of several, whoever deploys there: a client may do so for all.
    """
    found = list(failed)
    failing = {namespace for namespace, _ in found}
    if len(failing) < min(_SEVERAL, len(namespaces)):
        return False
    tenants = {
        (author_person_of(one) if one is not None else "") or f"namespace {namespace}"
        for namespace, one in found
    }
    return len(tenants) >= min(_SEVERAL, len(namespaces)) or 2 * len(failing) > len(namespaces)
