"""Images as far as a namespace, or a client, may see them."""

import asyncio
from collections.abc import Iterable
from itertools import batched, product

from starlette.requests import Request

from upwell.api.image import Image, ImageStream
from upwell.policy.access.roles import EVERYWHERE, Action, Grant, is_allowed, is_granted, missing
from upwell.policy.images.proofs import has_proof, is_public, shows
from upwell.policy.rollouts.history import has_run
from upwell.policy.rollouts.settings import WORKLOADS
from upwell.server.auth.caller import caller_of, grants_of
from upwell.server.http.errors import ApiError
from upwell.server.http.target import RequestTarget
from upwell.store.interface import NotFoundError, Reader, Selector

_TURN = 64
"""Streams that are looked at before others have their turn."""


async def shown_image(store: Reader, digest: str, namespaces: Iterable[str]) -> Image | None:
    """Return what is known of an image, if everybody or a stream of a namespace may show it."""
    image = await _image(store, digest)
    if image is None or is_public(image):
        return image
    return image if await _is_in_streams(store, digest, image, namespaces) else None


async def require_image(request: Request, store: Reader, target: RequestTarget) -> None:
    """Raise ApiError unless the client may see what an Image says, whether there is one or not.

    It is shown to all where a login is needed nowhere, else to those who may read a stream that has
    or had the image in a tag, and to roles in all namespaces. Parts, such as its packages, are not
    shown for what a client has said of it, but also to those who may read a workload that runs it
    or has run it.
    """
    grants = grants_of(request)
    digest, plural = target.name, target.kind.plural
    wanted = Action("get", plural, "", digest, target.subresource)
    if grants is None or is_granted(grants, wanted):
        return
    image = await _image(store, digest)
    if image is not None and is_public(image):
        return
    named = sorted({place for grant in grants for place in grant.namespaces} - {EVERYWHERE})
    readable = (
        place
        for place in named
        if is_allowed(grants, Action("get", ImageStream.KIND.plural, place))
    )
    described = None if target.subresource else image
    if await _is_in_streams(store, digest, described, readable):
        return
    if target.subresource and await _has_run(store, digest, grants, named):
        return
    raise ApiError(
        403,
        f"token {caller_of(request)} may not {wanted}: {missing(wanted)}, or a role in the"
        " namespace of an ImageStream that has it",
    )


async def _is_in_streams(
    store: Reader, digest: str, image: Image | None, namespaces: Iterable[str]
) -> bool:
    for namespace in namespaces:
        listing = await store.list(ImageStream, Selector(namespace))
        for some in batched(listing.items, _TURN):
            for stream in some:
                if has_proof(stream, digest) or (image is not None and shows(stream, image)):
                    return True
            await asyncio.sleep(0)
    return False


async def _has_run(
    store: Reader, digest: str, grants: Iterable[Grant], namespaces: Iterable[str]
) -> bool:
    """Return True if a workload that the grants let be read runs the image, or has run it."""
    for kind, namespace in product(WORKLOADS, namespaces):
        if not is_allowed(grants, Action("get", kind.KIND.plural, namespace)):
            continue
        listing = await store.list(kind, Selector(namespace))
        for some in batched(listing.items, _TURN):
            if any(has_run(workload.status.revisions, digest) for workload in some):
                return True
            await asyncio.sleep(0)
    return False


async def _image(store: Reader, digest: str) -> Image | None:
    try:
        return await store.get(Image, "", digest)
    except NotFoundError:
        return None
