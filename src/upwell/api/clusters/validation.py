"""Rules of a Cluster beyond its types."""

from collections.abc import Iterator

from upwell.api.clusters.cluster import LOCAL, Cluster
from upwell.api.validation.labels import is_label
from upwell.api.values.faults import Fault
from upwell.oci import InvalidReferenceError, Reference

MAX_NAMESPACES = 50
"""Rights are asked for in each."""


def validate_cluster(cluster: Cluster) -> Iterator[Fault]:
    """Yield every fault of a Cluster."""
    spec = cluster.spec
    if spec.local != (cluster.name == LOCAL):
        yield Fault("spec.local", f"true for the Cluster named {LOCAL}, and for no other")
    if spec.local == (spec.kube_config is not None):
        yield Fault("spec", "set either kubeConfig or local")
    if spec.kube_config is not None:
        secret = spec.kube_config.secret_ref
        for field in ("namespace", "name", "key"):
            if not getattr(secret, field):
                yield Fault(f"spec.kubeConfig.secretRef.{field}", "required")
    if len(spec.namespaces) > MAX_NAMESPACES:
        yield Fault("spec.namespaces", f"at most {MAX_NAMESPACES}; empty stands for all")
    for at, namespace in enumerate(spec.namespaces):
        if not is_label(namespace):
            yield Fault(f"spec.namespaces[{at}]", f"{namespace!r} is not a lower-case DNS label")
    if spec.mirror is not None:
        yield from mirror_faults(spec.mirror, "spec.mirror")


def mirror_faults(mirror: str, path: str) -> Iterator[Fault]:
    """Yield that a mirror is not a registry with a prefix of repositories."""
    try:
        Reference.parse(f"{mirror.rstrip('/')}/component")
    except InvalidReferenceError:
        yield Fault(path, f"{mirror!r} is not a registry with a prefix of repositories")
