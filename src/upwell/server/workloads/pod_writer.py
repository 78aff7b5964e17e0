"""Writes of stored Pods: their names, finalizers and versions are not their authors' alone."""

from typing import Any, override

from upwell.api.codec import InvalidObjectError
from upwell.api.meta import Resource
from upwell.api.values.faults import Fault
from upwell.policy.jobs.pods import FINALIZER
from upwell.policy.rollouts.instance import INSTANCE_PREFIX, is_reserved
from upwell.server.admission.admission import Admitted
from upwell.server.http.target import RequestTarget
from upwell.server.objects.writes import Writer

type Document = dict[str, Any]


class PodWriter(Writer):
    """Stores Pods: each is run once it is there, and its instance is removed before it goes."""

    @override
    def _admit(
        self,
        target: RequestTarget,
        document: Document,
        old: Resource | None,
        user: str,
        *,
        applied: bool = False,
    ) -> Admitted:
        # The version that clients see is none of the store's.
        found = document.get("metadata")
        metadata = {**found} if isinstance(found, dict) else {}
        metadata.pop("resourceVersion", None)
        if old is None or not old.is_deleting:
            held = metadata.get("finalizers") or ()
            metadata["finalizers"] = list(dict.fromkeys((*held, FINALIZER)))
        placed = {**document, "metadata": metadata}
        admitted = super()._admit(target, placed, old, user, applied=applied)
        pod = admitted.resource
        name = pod.name or f"{pod.metadata.generate_name}xxxxx"
        if old is None and is_reserved(name):
            why = f"what begins with {INSTANCE_PREFIX!r} is an instance of a workload"
            fault = Fault.invalid("metadata.name", name, why)
            raise InvalidObjectError(f"{pod.KIND} {name!r}", (fault,), pod.key)
        return admitted
