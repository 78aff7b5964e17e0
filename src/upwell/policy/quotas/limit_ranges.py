"""LimitRanges: what a container that states none is given, and what is more or less than may be.

The rules are those of Kubernetes (plugin/pkg/admission/limitranger): bounds of a Container hold for
each, those of a Pod for the sum of its containers; a build is a Pod with one container. Pure.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import chain
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import (
    CLAIM,
    CONTAINER,
    IMAGE,
    IMAGE_STREAM,
    IMAGE_TAGS,
    IMAGES,
    POD,
    STORAGE,
    LimitRange,
    LimitRangeItem,
    Quantity,
)
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.pod import Pod
from upwell.api.pod_template import Container, PodTemplate, ResourceRequirements
from upwell.api.values.faults import Fault
from upwell.api.values.quantities import InvalidQuantityError, parse_quantity
from upwell.policy.pod_security.templates import PlacedTemplate, templates_of
from upwell.policy.quotas.claims import asked_of_claims

TYPES = frozenset({CONTAINER, POD, CLAIM, IMAGE, IMAGE_STREAM})
_BOUNDS = {
    CLAIM: {"max": {STORAGE}, "min": {STORAGE}},
    IMAGE: {"max": {STORAGE}},
    IMAGE_STREAM: {"max": {IMAGE_TAGS, IMAGES}},
}
"""Names that each field of these types bounds; a Container and a Pod have any."""
_COMPUTE = frozenset({"cpu", "memory", "ephemeral-storage"})
_ONE_BUILD = "spec.resources"

type Amounts = Mapping[str, Decimal]


@dataclass(frozen=True, slots=True)
class Bounds:
    """One item of a LimitRange, read."""

    name: str
    """Name of the LimitRange."""
    type: str
    max: Amounts
    min: Amounts
    default: Mapping[str, Quantity]
    default_request: Mapping[str, Quantity]
    ratio: Amounts

    @classmethod
    def of(cls, name: str, item: LimitRangeItem) -> "Bounds":
        """Return an item with the defaults that follow from it (core/v1 defaults.go)."""
        default = item.default | {key: n for key, n in item.max.items() if key not in item.default}
        asked = item.default_request
        request = item.min | default | asked if item.type == CONTAINER else {}
        return cls(
            name,
            item.type,
            _amounts(item.max),
            _amounts(item.min),
            default if item.type == CONTAINER else {},
            request,
            _amounts(item.max_limit_request_ratio),
        )


type BoundsOf = Mapping[str, Sequence[Bounds]]
"""By namespace."""


def bounds_of(ranges: Iterable[LimitRange], *types: str) -> Sequence[Bounds]:
    """Return the items of some types, in the order of the LimitRanges' names."""
    return [
        Bounds.of(one.name, item)
        for one in sorted(ranges, key=lambda each: each.name)
        for item in one.spec.limits
        if item.type in types
    ]


def range_faults(limits: LimitRange) -> Iterator[Fault]:
    """Yield what is wrong with a LimitRange itself."""
    for at, item in enumerate(limits.spec.limits):
        path = f"spec.limits[{at}]"
        if item.type not in TYPES:
            yield Fault(f"{path}.type", f"{item.type!r} is none of {', '.join(sorted(TYPES))}")
        fields = _fields(item)
        for field, values in fields.items():
            for name, text in values.items():
                try:
                    parse_quantity(text)
                except InvalidQuantityError as error:
                    yield Fault(f"{path}.{field}[{name}]", str(error))
            if values and field.startswith("default") and item.type != CONTAINER:
                yield Fault(f"{path}.{field}", f"only type {CONTAINER} has defaults")
        most = _amounts(item.max)
        for field in ("min", "default", "defaultRequest"):
            for name, amount in _amounts(fields[field]).items():
                if name in most and amount > most[name]:
                    yield Fault(f"{path}.{field}[{name}]", "is more than the maximum")


def range_warnings(limits: LimitRange) -> Iterator[str]:
    """Yield which bounds of a LimitRange hold for nothing."""
    for at, item in enumerate(limits.spec.limits):
        if (known := _BOUNDS.get(item.type)) is None:
            continue
        for field, values in _fields(item).items():
            for name in values:
                if name not in known.get(field, ()):
                    path = f"spec.limits[{at}].{field}[{name}]"
                    yield f"{path} limits nothing: type {item.type} has no such bound"


def _fields(item: LimitRangeItem) -> Mapping[str, Mapping[str, Quantity]]:
    return {
        "max": item.max,
        "min": item.min,
        "default": item.default,
        "defaultRequest": item.default_request,
        "maxLimitRequestRatio": item.max_limit_request_ratio,
    }


def with_defaults(resource: Resource, old: Resource | None, bounds: BoundsOf) -> Resource:
    """Return an object whose new containers have limits and requests where they state none."""
    if isinstance(resource, Build | BuildConfig):
        mine = _of_containers(bounds.get(resource.namespace, ()))
        if not mine or _is_same_build(resource, old):
            return resource
        resources = _filled(resource.spec.resources, mine)
        spec = resource.spec.model_copy(update={"resources": resources})
        return resource.model_copy(update={"spec": spec})
    filled: Resource = resource
    for one in changed_templates(resource, old):
        if mine := _of_containers(bounds.get(one.namespace, ())):
            template = _fill(one.template, mine)
            if isinstance(filled, Pod):
                filled = filled.model_copy(update={"spec": template.spec})
            else:
                filled = _replaced(filled, one.path.split("."), template)
    return filled


def violations(resource: Resource, old: Resource | None, bounds: BoundsOf) -> Iterator[Fault]:
    """Yield what of an object is not within bounds, where it differs from what is stored."""
    own = bounds.get(resource.namespace, ())
    if isinstance(resource, Build | BuildConfig):
        if not _is_same_build(resource, old):
            stated = resource.spec.resources or ResourceRequirements()
            yield from _of_pod({_ONE_BUILD: stated}, {}, _ONE_BUILD, own)
        return
    if isinstance(resource, ImageStream):
        yield from _of_stream(resource, old, own)
        return
    for template in changed_templates(resource, old):
        path = template.spec_path
        pod = template.template.spec
        containers = _resources(f"{path}.containers", pod.containers)
        initial = _resources(f"{path}.initContainers", pod.init_containers)
        for where, one in zip(tuple(initial), pod.init_containers, strict=True):
            if one.restart_policy == "Always":  # a sidecar, which runs beside the others
                containers[where] = initial.pop(where)
        yield from _of_pod(containers, initial, path, bounds.get(template.namespace, ()))
    yield from _of_claims(resource, old, [one for one in own if one.type == CLAIM])


def changed_templates(resource: Resource, old: Resource | None) -> list[PlacedTemplate]:
    """Return the templates that are not as they are stored."""
    known = {} if old is None else {one.path: one for one in templates_of(old)}
    return [one for one in templates_of(resource) if known.get(one.path) != one]


def _replaced(value: Any, steps: Sequence[str], template: PodTemplate) -> Any:
    """Return a model with another template at a path."""
    if not steps:
        return template
    name, bracket, at = steps[0].partition("[")
    fields = type(value).model_fields
    field = next(key for key, known in fields.items() if name in {key, known.alias})
    found = getattr(value, field)
    if bracket:
        number = int(at.removesuffix("]"))
        changed = _replaced(found[number], steps[1:], template)
        found = (*found[:number], changed, *found[number + 1 :])
    else:
        found = _replaced(found, steps[1:], template)
    return value.model_copy(update={field: found})


def _of_containers(bounds: Iterable[Bounds]) -> Sequence[Bounds]:
    return [one for one in bounds if one.type == CONTAINER]


def _fill(template: PodTemplate, bounds: Sequence[Bounds]) -> PodTemplate:
    def filled(containers: Iterable[Container]) -> tuple[Container, ...]:
        return tuple(
            one.model_copy(update={"resources": _filled(one.resources, bounds)})
            for one in containers
        )

    pod = template.spec
    changes = {
        "containers": filled(pod.containers),
        "init_containers": filled(pod.init_containers),
    }
    return template.model_copy(update={"spec": pod.model_copy(update=changes)})


def _filled(
    stated: ResourceRequirements | None, bounds: Sequence[Bounds]
) -> ResourceRequirements | None:
    stated = stated or ResourceRequirements()
    limits, requests = dict(stated.limits), dict(stated.requests)
    for name, amount in stated.limits.items():  # as Kubernetes does before a LimitRange is asked
        if name in _COMPUTE:
            requests.setdefault(name, amount)
    for one in bounds:
        for name, amount in one.default.items():
            limits.setdefault(name, amount)
        for name, amount in one.default_request.items():
            requests.setdefault(name, amount)
    if (limits, requests) == (stated.limits, stated.requests):
        return stated
    return stated.model_copy(update={"limits": limits, "requests": requests})


def _of_pod(
    containers: Mapping[str, ResourceRequirements],
    initial: Mapping[str, ResourceRequirements],
    path: str,
    bounds: Sequence[Bounds],
) -> Iterator[Fault]:
    for one in bounds:
        if one.type == CONTAINER:
            for where, stated in chain(containers.items(), initial.items()):
                yield from _outside(one, where, _amounts(stated.limits), _asked(stated))
        elif one.type == POD:
            limits = _together(
                [_amounts(stated.limits) for stated in containers.values()],
                [_amounts(stated.limits) for stated in initial.values()],
            )
            requests = _together(
                [_asked(stated) for stated in containers.values()],
                [_asked(stated) for stated in initial.values()],
            )
            yield from _outside(one, path, limits, requests)


def _outside(one: Bounds, path: str, limits: Amounts, requests: Amounts) -> Iterator[Fault]:
    """Yield where limits or requests are not within bounds."""
    whose = f"(LimitRange {one.name}, {one.type})"
    for name, most in one.max.items():
        if name not in limits:
            yield Fault(f"{path}.limits[{name}]", f"required, at most {_text(most)} {whose}")
        for kind, stated in (("limits", limits), ("requests", requests)):
            if stated.get(name, Decimal(0)) > most:
                much = _text(stated[name])
                yield Fault(f"{path}.{kind}[{name}]", f"{much} is more than {_text(most)} {whose}")
    for name, least in one.min.items():
        if name not in requests:
            yield Fault(f"{path}.requests[{name}]", f"required, at least {_text(least)} {whose}")
        for kind, stated in (("limits", limits), ("requests", requests)):
            if name in stated and stated[name] < least:
                much = _text(stated[name])
                yield Fault(f"{path}.{kind}[{name}]", f"{much} is less than {_text(least)} {whose}")
    for name, most in one.ratio.items():
        limit, request = limits.get(name), requests.get(name)
        if not limit or not request:
            yield Fault(f"{path}.limits[{name}]", f"a limit and a request are required {whose}")
        elif limit / request > most:
            why = f"is more than {_text(most)} times the request {whose}"
            yield Fault(f"{path}.limits[{name}]", why)


def _of_claims(
    resource: Resource, old: Resource | None, bounds: Sequence[Bounds]
) -> Iterator[Fault]:
    known = asked_of_claims(old) if old is not None else {}
    for path, amount in asked_of_claims(resource).items():
        for one in bounds:
            whose = f"(LimitRange {one.name}, {one.type})"
            most, least = one.max.get(STORAGE), one.min.get(STORAGE)
            if known.get(path) == amount:
                continue
            if most is not None and amount > most:
                yield Fault(path, f"{_text(amount)} is more than {_text(most)} {whose}")
            if least is not None and amount < least:
                yield Fault(path, f"{_text(amount)} is less than {_text(least)} {whose}")


def _of_stream(
    stream: ImageStream, old: Resource | None, bounds: Sequence[Bounds]
) -> Iterator[Fault]:
    """Yield that a stream declares more tags than it may, and than before."""
    known = len(old.spec.tags) if isinstance(old, ImageStream) else 0
    tags = len(stream.spec.tags)
    for one in bounds:
        most = one.max.get(IMAGE_TAGS) if one.type == IMAGE_STREAM else None
        if most is not None and tags > most and tags > known:
            whose = f"(LimitRange {one.name}, {IMAGE_STREAM}, {IMAGE_TAGS})"
            yield Fault("spec.tags", f"{tags} tags are more than {_text(most)} {whose}")


def push_fault(stream: ImageStream | None, tag: str, image: str, bounds: Sequence[Bounds]) -> str:
    """Say why a client may not push `image`, a digest, under a tag of a stream; empty: they may."""
    if stream is None:
        return ""
    tags = {one.tag for one in stream.status.tags} | {one.name for one in stream.spec.tags}
    images = {item.image for one in stream.status.tags for item in one.items if item.image}
    for one in bounds:
        if one.type != IMAGE_STREAM:
            continue
        for name, known, new in ((IMAGE_TAGS, tags, tag), (IMAGES, images, image)):
            most = one.max.get(name)
            if most is not None and new not in known and len(known) + 1 > most:
                return (
                    f"{stream.key} has {name}={len(known)}, and LimitRange {one.name} allows"
                    f" {_text(most)}: delete tags of it, or have the limit raised"
                )
    return ""


def image_fault(size: int, bounds: Sequence[Bounds]) -> str:
    """Say why an image of `size` bytes may not be pushed; empty: it may."""
    for one in bounds:
        most = one.max.get(STORAGE) if one.type == IMAGE else None
        if most is not None and size > most:
            return (
                f"the image has {size} bytes in its layers and configuration, and LimitRange"
                f" {one.name} allows {_text(most)}: make it smaller, or have the limit raised"
            )
    return ""


def _is_same_build(resource: Build | BuildConfig, old: Resource | None) -> bool:
    return isinstance(old, Build | BuildConfig) and old.spec.resources == resource.spec.resources


def _resources(path: str, containers: Iterable[Container]) -> dict[str, ResourceRequirements]:
    return {
        f"{path}[{at}].resources": one.resources or ResourceRequirements()
        for at, one in enumerate(containers)
    }


def _asked(stated: ResourceRequirements) -> Amounts:
    """Return what is requested; who states a limit alone requests that."""
    limits = {name: amount for name, amount in stated.limits.items() if name in _COMPUTE}
    return _amounts(limits | stated.requests)


def _together(containers: Sequence[Amounts], initial: Sequence[Amounts]) -> Amounts:
    """Return what a Pod takes: the sum of its containers, or the most of one that goes before.

    A name that one of the containers leaves open is left open by the Pod.
    """
    names = set.intersection(*(set(one) for one in containers)) if containers else set()
    return {
        name: max(
            sum((one[name] for one in containers), Decimal(0)),
            *(one.get(name, Decimal(0)) for one in initial),
            Decimal(0),
        )
        for name in names
    }


def _amounts(texts: Mapping[str, Quantity]) -> dict[str, Decimal]:
    found = {}
    for name, text in texts.items():
        try:
            found[name] = parse_quantity(text)
        except InvalidQuantityError:
            continue  # its own validation says so
    return found


def _text(amount: Decimal) -> str:
    return f"{amount.normalize():f}"
