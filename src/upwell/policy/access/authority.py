"""Rights that an object takes besides the right to write it, for every kind; pure.

The server acts on what an object names by its own right: so whoever writes the name must have the
right themselves. This is the one place that is asked. A subject adds a rule for what its kinds
name, and nothing else checks what a name takes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from upwell.api.meta import Resource
from upwell.policy.access.foreign_streams import foreign_streams
from upwell.policy.access.network_rights import network_rights
from upwell.policy.access.roles import Action, Grant, is_allowed, missing
from upwell.policy.access.subscriptions import reaches_everywhere


@dataclass(frozen=True, slots=True)
class Need:
    """A right that an object takes.

    What a role does not allow by its own resources is an action of verb `use`, as OpenShift's
    SecurityContextConstraints are used: `use hostpaths in namespace shop`.
    """

    action: Action
    why: str
    """Use that the object makes of it, to follow "it": `takes images from ImageStream a/b`."""
    stays: bool = True
    """True if it is asked only of who brings it in; False if of everyone who changes the spec,
    because the spec says what is done with the right."""


type Rule = Callable[[Resource], Iterable[Need]]


def _streams(resource: Resource) -> Iterable[Need]:
    for stream in foreign_streams(resource):
        action = Action("get", "imagestreams", stream.namespace, stream.name)
        yield Need(action, f"takes images from ImageStream {stream.namespace}/{stream.name}")


def _subscriptions(resource: Resource) -> Iterable[Need]:
    if reaches_everywhere(resource):
        action = Action("create", "subscriptions", part="everywhere")
        yield Need(action, 'has spec.namespaces ["*"]', stays=False)


def _network(resource: Resource) -> Iterable[Need]:
    for right, why in network_rights(resource):
        yield Need(Action("use", right, resource.namespace), why)


RULES: Sequence[Rule] = (_streams, _subscriptions, _network)


def needs(resource: Resource) -> frozenset[Need]:
    """Return every right that an object takes."""
    return frozenset(chain.from_iterable(rule(resource) for rule in RULES))


def refusal(resource: Resource, old: Resource | None, grants: Iterable[Grant]) -> str | None:
    """Say which right the author of `resource` lacks, as what follows "it"; None: they have all.

    `old` is the object as it was. Whoever changes a label alone is asked for nothing.
    """
    grants = tuple(grants)
    wanted: Iterable[Need] = needs(resource)
    if old is not None:
        known = needs(old)
        is_same = _spec(resource) == _spec(old)
        wanted = {one for one in wanted if one not in known or not (one.stays or is_same)}
    for need in sorted(wanted, key=lambda one: str(one.action)):
        if not is_allowed(grants, need.action):
            return f"{need.why}, and {need.action} {missing(need.action)}"
    return None


def _spec(resource: Resource) -> object:
    """Return all of an object but its metadata and status."""
    return resource.model_dump(exclude={"metadata", "status"})
