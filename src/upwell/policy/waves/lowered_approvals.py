"""Approvals that a change of an object lowers, and the rights that this takes; pure.

What asks for an approval is not taken away by those whom it is to hold: of a stage of a Pipeline
(`policy/promotion/lowered_approvals`), or of the changes that an ImageStream imports.
"""

from collections.abc import Iterator
from dataclasses import replace

from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.waves.wave import APPROVAL_ANNOTATION, Wave
from upwell.policy.access.needs import Need
from upwell.policy.access.rights import Rights
from upwell.policy.access.roles import Action
from upwell.policy.promotion.lowered_approvals import lowering_needs as pipeline_needs
from upwell.policy.waves.approval import asks_for_approval


def lowering_refusal(old: Resource | None, new: Resource | None, rights: Rights) -> str | None:
    """Say which right a change that lowers an approval lacks, as what follows "it"; None: none.

    No right is enough to begin to ask for approvals on an object with an owner: whoever deletes the
    owner, which anybody may have given it before, has it deleted, and is asked nothing.
    """
    if (lacking := rights.lacking(lowering_needs(old, new))) is not None:
        return lacking
    if new is not None and _owners(new) and _asks(new) and not _asks(old):
        return (
            "asks for approvals and has an owner, with which it would be deleted: take"
            " metadata.ownerReferences away"
        )
    return None


def lowering_needs(old: Resource | None, new: Resource | None) -> frozenset[Need]:
    """Return the rights that a change takes because it lowers an approval.

    `new` is None for a deletion. Who gives the object another owner could delete it with that.
    """
    if old is None:
        return frozenset(_new_needs(new))
    found = frozenset(_needs(old, new))
    if new is None or not _owners(new) - _owners(old):
        return found
    gone = _needs(old, None)
    return found | {replace(one, why=f"gets an owner, whose deletion {one.why}") for one in gone}


def _new_needs(new: Resource | None) -> Iterator[Need]:
    """Yield the rights to make an object that says who approves what.

    The server makes Waves of changes that it finds; one that is written beforehand stands in for
    its own, with an approval and a requester of its own.
    """
    if isinstance(new, Wave):
        for part in ("approve", "override"):
            why = "says whether its change is approved, and who has asked for it"
            yield Need(Action("create", "waves", "", new.name, part), why)


def tag_removal_refusal(stream: ImageStream, rights: Rights) -> str | None:
    """Say which right it takes to remove a tag with its history, as what follows "it".

    The next import of such a tag would be its first, which waits for nobody.
    """
    why = f"has the next import go on unapproved (annotation {APPROVAL_ANNOTATION})"
    return rights.lacking(_stream_needs(stream, why))


def _needs(old: Resource, new: Resource | None) -> Iterator[Need]:
    yield from pipeline_needs(old, new)
    if not isinstance(old, ImageStream):
        return
    if new is None:
        yield from _stream_needs(old, f"removes annotation {APPROVAL_ANNOTATION} with the stream")
    elif isinstance(new, ImageStream) and not asks_for_approval(new):
        yield from _stream_needs(old, f"takes annotation {APPROVAL_ANNOTATION} away")


def _stream_needs(stream: ImageStream, why: str) -> Iterator[Need]:
    """Yield the right to approve the changes of a stream, if it asks for that."""
    if asks_for_approval(stream):
        action = Action("create", "imagestreams", stream.namespace, stream.name, "approve")
        yield Need(action, why)


def _asks(resource: Resource | None) -> bool:
    """Return True for an object that asks for approvals: its deletion lowers them."""
    return resource is not None and any(True for _ in _needs(resource, None))


def _owners(resource: Resource) -> set[str]:
    return {owner.uid for owner in resource.metadata.owner_references}
