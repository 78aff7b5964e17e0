"""Faults that keep an object from being stored; the server and its clients ask for them; pure.

What a stored one has had before keeps no change away.
"""

from collections.abc import Iterable, Iterator

from upwell.api.core import LimitRange
from upwell.api.defaults import with_defaults
from upwell.api.image import ImageStream
from upwell.api.image_policies.policy import ImagePolicyResource
from upwell.api.meta import Resource
from upwell.api.validation.objects import validate
from upwell.api.validation.updates import immutable_faults, new_faults
from upwell.api.values.faults import Fault
from upwell.policy.access.service_accounts import account_faults
from upwell.policy.images.selection import selection_faults
from upwell.policy.pod_security.namespaces import label_faults
from upwell.policy.pod_security.templates import template_faults
from upwell.policy.quotas.limit_ranges import range_faults
from upwell.policy.routing.requested_addresses import requested_faults


def admission_faults(resource: Resource, old: Resource | None = None) -> tuple[Fault, ...]:
    """Return what is wrong with a complete object that is to take the place of `old`."""
    return _one_for_each(
        (
            *_object_faults(resource, old),
            *_image_policy_faults(resource),
            *_new_selection_faults(resource, old),
            *account_faults(resource),
            *(range_faults(resource) if isinstance(resource, LimitRange) else ()),
            *requested_faults(resource, old),
            *_new_template_faults(resource, old),
        )
    )


def _one_for_each(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the first fault of each path that several rules find wrong."""
    found: dict[str, Fault] = {}
    for fault in faults:
        found.setdefault(fault.path, fault)
    return tuple(found.values())


def _object_faults(resource: Resource, old: Resource | None) -> Iterator[Fault]:
    """Yield what is wrong with the object, but for what a stored one has had before."""
    found = validate(resource)
    if old is None:
        yield from found
        return
    complete = with_defaults(old)
    if found:
        yield from new_faults(found, validate(complete))
    yield from immutable_faults(resource, complete)


def _image_policy_faults(resource: Resource) -> Iterator[Fault]:
    if isinstance(resource, ImagePolicyResource):
        from upwell.policy.signatures.validation import (  # noqa: PLC0415 - loads cryptography
            image_policy_faults,
        )

        yield from image_policy_faults(resource)


def _new_selection_faults(resource: Resource, old: Resource | None) -> Iterator[Fault]:
    """Yield the faults of tag selections that are brought in.

    One that was stored before there was a rule is a failed import of its tag, and hinders no other
    change.
    """
    if isinstance(resource, ImageStream):
        known = (
            {fault.message for fault in selection_faults(old)}
            if isinstance(old, ImageStream)
            else set()
        )
        yield from (one for one in selection_faults(resource) if one.message not in known)


def _new_template_faults(resource: Resource, old: Resource | None) -> Iterator[Fault]:
    """Yield faults that objects of earlier versions may have: they can be written all the same."""
    found = (*template_faults(resource), *label_faults(resource))
    if found and old is not None:
        yield from new_faults(found, (*template_faults(old), *label_faults(old)))
    else:
        yield from found
