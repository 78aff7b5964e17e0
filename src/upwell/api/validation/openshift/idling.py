"""OpenShift's mark of what is idled until a request comes (unidling/v1alpha1)."""

from collections.abc import Iterator

from upwell.api.meta import Resource
from upwell.api.values.faults import Fault

_IDLED_AT = "idling.alpha.openshift.io/idled-at"
NEVER_WOKEN = "nothing here wakes an idled workload by a request"


def idling_faults(new: Resource, old: Resource) -> Iterator[Fault]:
    """Yield the mark of a Service or a workload that an update idles.

    A new object may have it: manifests of what was idled in OpenShift do.
    """
    idled_at = new.annotations.get(_IDLED_AT)
    if idled_at is not None and idled_at != old.annotations.get(_IDLED_AT):
        path = f"metadata.annotations[{_IDLED_AT}]"
        why = f"{NEVER_WOKEN}: `oc scale --replicas=0` stops one without this annotation"
        yield Fault.forbidden(path, why)
