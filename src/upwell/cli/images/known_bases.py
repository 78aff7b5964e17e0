"""Bases that the server knows, for images that record none."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from upwell.cli.core.connection import Session
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.rebase.images import LayeredImage
from upwell.policy.rebase.plan import KnownBase

if TYPE_CHECKING:
    from upwell.api.requests.base_search import FoundBase


@dataclass
class ServersBases:
    """Known bases of the server of a session; none where there is no server, or an older one."""

    session: Session

    async def below(self, image: LayeredImage) -> Sequence[KnownBase]:
        """Ask which known images an image stands on, by its layers."""
        # The API's models and its client take longer to load than a rebase takes.
        from upwell.api.codec import decode_as, encode  # noqa: PLC0415
        from upwell.api.requests.base_search import BaseSearch, BaseSearchSpec  # noqa: PLC0415
        from upwell.store.interface import StoreError  # noqa: PLC0415

        session = self.session
        layers = tuple(str(one.digest) for one in image.layers)
        asked = BaseSearch(spec=BaseSearchSpec(layers=layers))
        body = encode(asked.with_metadata(namespace=session.namespace))
        try:
            async with session.connect(session.server, session.token, session.authority) as client:
                answer = await client.call("POST", BaseSearch, session.namespace, "", "", body)
        except StoreError:
            return ()
        found = decode_as(BaseSearch, answer).status.bases
        return [base for one in found for base in _known(one)]


def _known(found: "FoundBase") -> Iterator[KnownBase]:
    with suppress(InvalidReferenceError):
        name, pinned = Reference.parse(found.name), Reference.parse(found.image)
        yield KnownBase(name, pinned, found.layers, found.own)
