"""Rights that an object takes besides the right to write it, for every kind; pure.

The server acts on what an object names by its own right: so whoever writes the name must have the
right themselves, and must have it still when the server acts. This is the one place that is asked.
A subject adds a rule for what its kinds name, and nothing else checks what a name takes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.meta import Resource
from upwell.api.pipeline import Pipeline
from upwell.api.values.author import (
    author_of,
    author_person_of,
    authored_as,
    content_authors_of,
    made_of_uid,
    with_author,
    with_content_authors,
    with_import_requesters,
    with_made_of_uid,
    with_writers,
    writers_of,
)
from upwell.policy.access.account_uses import service_account_needs, token_needs
from upwell.policy.access.declared import declared, says_the_same
from upwell.policy.access.foreign_streams import foreign_streams
from upwell.policy.access.host_rights import host_needs
from upwell.policy.access.images import image_needs, respelt_needs
from upwell.policy.access.namespaces import namespace_needs
from upwell.policy.access.needs import Need
from upwell.policy.access.network_rights import network_rights
from upwell.policy.access.own_registry import registry_needs
from upwell.policy.access.people.import_requesters import asked_imports
from upwell.policy.access.rights import Rights
from upwell.policy.access.roles import Action
from upwell.policy.access.secrets import secret_needs
from upwell.policy.access.service_accounts import grant_needs
from upwell.policy.access.subscriptions import reaches_everywhere

__all__ = [
    "Need",
    "Requester",
    "Rule",
    "authored",
    "needs",
    "needs_in_use",
    "refusal",
]

type Rule = Callable[[Resource], Iterable[Need]]


@dataclass(frozen=True, slots=True)
class Requester:
    """The client that writes an object."""

    name: str
    rights: Rights
    registry: str = ""
    """The `host:port` of the embedded registry."""
    person: str = ""
    """Name of the person whose token it is; empty: unknown."""
    groups: tuple[str, ...] = ()
    """Groups of a user of the cluster."""
    admission: str = ""
    """On a cluster: id of the admission that asks them."""


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


RULES: Sequence[Rule] = (
    _streams,
    _subscriptions,
    _network,
    host_needs,
    secret_needs,
    namespace_needs,
    grant_needs,
    service_account_needs,
    token_needs,
)


def needs(resource: Resource, registry: str = "") -> frozenset[Need]:
    """Return every right that an object takes; `registry` is the embedded one's `host:port`."""
    images = image_needs(resource, registry) if registry else ()
    return frozenset(chain(images, needs_in_use(resource, registry)))


def needs_in_use(resource: Resource, registry: str = "") -> frozenset[Need]:
    """Return every right that an object takes when it acts.

    That is all but the images that it names: triggers and promotions may have named them since, but
    never by another name of the registry.
    """
    moved: Iterable[Need] = ()
    if registry:
        moved = chain(registry_needs(resource, registry), respelt_needs(resource, registry))
    return frozenset(chain(moved, chain.from_iterable(rule(resource) for rule in RULES)))


def refusal(
    resource: Resource, old: Resource | None, rights: Rights, registry: str = ""
) -> str | None:
    """Say which right the author of `resource` lacks, as what follows "it"; None: they have all.

    `old` is the object as it was. Whoever changes a label alone is asked for nothing.
    """
    if old is not None and says_the_same(resource, old):
        return None
    wanted: Iterable[Need] = needs(resource, registry)
    if old is not None and wanted:
        known = needs(old, registry)
        is_same = declared(resource) == declared(old)
        wanted = {one for one in wanted if one not in known or not (one.stays or is_same)}
    return rights.lacking(wanted)


def authored[R: Resource](resource: R, old: Resource | None, requester: Requester) -> R:
    """Return the object with its author, whatever it says itself.

    That is the last who changed what it declares and has every right that it takes: who may change
    less of it than that (the replicas of what mounts a Secret, say) leaves it to whoever stands for
    it. Of a build they stand for its content then, beside the author.
    Images of the embedded registry are asked for when they are named alone: triggers and
    promotions name them afterwards.
    """
    resource = with_made_of_uid(resource, made_of_uid(old) if old is not None else "")
    resource = _with_writer(resource, old, requester)
    requesters = asked_imports(resource, old, requester.person or requester.name)
    resource = with_import_requesters(resource, requesters)
    if old is None:
        return with_content_authors(_written_by(resource, requester, requester.person), ())
    kept = with_writers(authored_as(resource, old), writers_of(resource))
    kept = with_import_requesters(kept, requesters)
    if requester.name == author_of(old):  # a token of that name may have got a person since
        kept = _written_by(kept, requester, requester.person or author_person_of(old))
    if says_the_same(resource, old):
        return kept
    wanted = needs_in_use(resource, requester.registry)
    if declared(resource) == declared(old) and wanted == needs_in_use(old, requester.registry):
        return kept
    if requester.rights.lacking(wanted) is None:
        return with_content_authors(_written_by(resource, requester, requester.person), ())
    if requester.name == author_of(old) or not isinstance(resource, Build | BuildConfig):
        return kept
    return with_content_authors(kept, (*content_authors_of(old), requester.name))


def _written_by[R: Resource](resource: R, requester: Requester, person: str) -> R:
    return with_author(
        resource,
        requester.name,
        person,
        groups=requester.groups,
        admission=requester.admission,
    )


def _with_writer[R: Resource](resource: R, old: Resource | None, requester: Requester) -> R:
    """Return a Pipeline with all who have written it; other objects have none.

    Whoever changes a word after somebody else is its author, and not the only one who wrote it.
    """
    if not isinstance(resource, Pipeline):
        return with_writers(resource, {})
    if old is None:
        return with_writers(resource, {requester.person or requester.name: 0})
    known = dict(writers_of(old))
    if requester.person and requester.name in known:  # it may have got a person since
        known[requester.person] = known.pop(requester.name)
    if declared(resource) != declared(old):
        if author := author_person_of(old):  # of a time when nobody else was kept
            known.setdefault(author, 0)
        known[requester.person or requester.name] = old.metadata.generation or 0
    return with_writers(resource, known)
