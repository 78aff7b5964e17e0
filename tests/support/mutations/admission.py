"""The product's own judgement of an object: what the API would answer to its creation or update."""

from tests.support.mutations.mutants import Document

from upwell.api.codec import (
    InvalidObjectError,
    UnknownKindError,
    decode,
    decode_as,
    resource_of_kind,
)
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStreamImport
from upwell.api.meta import Resource
from upwell.api.validation.openshift.images import import_faults
from upwell.server.admission.admission import admit
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget

NAMESPACE = "shop"


def refusal(document: Document, old: Document | None = None) -> str | None:
    """Return why the API refuses to create the object, or to put it in the place of `old`.

    None: it is accepted.
    """
    target = RequestTarget(resource_of_kind(str(document.get("kind"))), NAMESPACE)
    try:
        if target.resource is ImageStreamImport:
            return (
                "; ".join(map(str, import_faults(decode_as(ImageStreamImport, document)))) or None
            )
        admit(target, document, None if old is None else stored(old))
    except (ApiError, InvalidObjectError, UnknownKindError) as error:
        return str(error)
    return None


def stored(document: Document) -> Resource:
    """Return the object as the store would have it, whether or not it is valid."""
    metadata = {**document["metadata"], "namespace": NAMESPACE}
    return apply_defaults(decode({**document, "metadata": metadata}))
