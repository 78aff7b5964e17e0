"""Metadata of objects: names, labels, annotations, finalizers, owners (meta/v1 ObjectMeta)."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from upwell.api.meta import ObjectMeta, Resource
from upwell.api.validation.formats import (
    MAX_LABEL,
    label_problem,
    label_value_problem,
    path_segment_problem,
    qualified_name_problem,
    service_name_problem,
    subdomain_problem,
)
from upwell.api.validation.shapes import mapped, text
from upwell.api.values.faults import Fault

MAX_ANNOTATIONS = 256 * 1024
"""Bytes of all annotations of an object together, keys included."""
_LONGEST: dict[str, int] = {
    "CronJob": 52,  # its Jobs add eleven
    "BuildConfig": MAX_LABEL,  # its Builds have it as a label
    "DeploymentConfig": 58,  # its Pods have it as a label, with the number of their revision
    "Pipeline": MAX_LABEL,  # its Releases and Promotions have it as a label
}
"""Characters that a name may have, by kind, where what is made of an object takes its name."""
_FINALIZERS = {"kubernetes", "orphan", "foregroundDeletion"}


def _parent_problem(longest: int) -> Callable[[str], str]:
    """Return the check of a subdomain of no more than that many characters."""

    def problem(name: str) -> str:
        if len(name) > longest:
            return f"must be no more than {longest} characters"
        return subdomain_problem(name)

    return problem


_NAMES: dict[str, Callable[[str], str]] = {
    "Service": service_name_problem,
    "Namespace": label_problem,
    "Image": path_segment_problem,
    "ImageStreamTag": path_segment_problem,
    "ImageStreamImage": path_segment_problem,
    "Role": path_segment_problem,
    "RoleBinding": path_segment_problem,
    "ClusterRole": path_segment_problem,
    "ClusterRoleBinding": path_segment_problem,
    **{kind: _parent_problem(longest) for kind, longest in _LONGEST.items()},
}
"""By kind; names of others are subdomains."""


def _annotation_key(key: str) -> str:
    return qualified_name_problem(key.lower())


_annotation_texts = mapped(text(), _annotation_key)


def annotations(value: Mapping[str, Any], path: str) -> Iterator[Fault]:
    """Check annotations: their keys, and the size of all of them."""
    yield from _annotation_texts(value, path)
    if not isinstance(value, dict):
        return
    texts = [one for item in value.items() for one in item if isinstance(one, str)]
    if sum(len(one.encode()) for one in texts) > MAX_ANNOTATIONS:
        yield Fault.too_long(path, MAX_ANNOTATIONS)


def _finalizer_problem(name: str) -> str:
    if "/" not in name and name not in _FINALIZERS:
        return "name is neither a standard finalizer name nor is it fully qualified"
    return qualified_name_problem(name)


def metadata_faults(resource: Resource) -> Iterator[Fault]:
    """Yield what is wrong with an object's metadata."""
    meta = resource.metadata
    yield from _name_faults(meta, _NAMES.get(resource.KIND.kind, subdomain_problem))
    if meta.namespace and (why := label_problem(meta.namespace)):
        yield Fault.invalid("metadata.namespace", meta.namespace, why)
    for key, value in meta.labels.items():
        if why := qualified_name_problem(key):
            yield Fault.invalid("metadata.labels", key, why)
        if why := label_value_problem(value):
            yield Fault.invalid(f"metadata.labels[{key}]", value, why)
    yield from annotations(meta.annotations, "metadata.annotations")
    for at, finalizer in enumerate(meta.finalizers):
        if why := _finalizer_problem(finalizer):
            yield Fault.invalid(f"metadata.finalizers[{at}]", finalizer, why)
    yield from _owner_faults(meta)


def _name_faults(meta: ObjectMeta, problem: Callable[[str], str]) -> Iterator[Fault]:
    if not meta.name and not meta.generate_name:
        yield Fault.required("metadata.name", "name or generateName is required")
    if meta.name and (why := problem(meta.name)):
        yield Fault.invalid("metadata.name", meta.name, why)
    if meta.generate_name:
        # What is made of it has letters and digits at its end, and may be cut to fit them.
        example = meta.generate_name.removesuffix("-") or "-"
        if why := problem(example):
            yield Fault.invalid("metadata.generateName", meta.generate_name, why)


def _owner_faults(meta: ObjectMeta) -> Iterator[Fault]:
    controllers: dict[str, str] = {}
    for at, owner in enumerate(meta.owner_references):
        path = f"metadata.ownerReferences[{at}]"
        for name, value in (
            ("apiVersion", owner.api_version),
            ("kind", owner.kind),
            ("name", owner.name),
            ("uid", owner.uid),
        ):
            if not value:
                yield Fault.required(f"{path}.{name}", "must not be empty")
        if owner.controller:
            controllers.setdefault(owner.uid, f"{path}.controller")
    for path in list(controllers.values())[1:]:
        why = "only one reference can have controller set to true"
        yield Fault.invalid(path, value=True, detail=why)
