"""Bases that the server knows, for images that record none."""

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from upwell.cli.core.connection import Session
from upwell.oci import InvalidReferenceError, Reference
from upwell.oci.rebase.images import LayeredImage
from upwell.policy.rebase.plan import KnownBase


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
        return [base for one in found for base in _known(one.name, one.image, one.layers)]


def _known(name: str, image: str, layers: int) -> Iterator[KnownBase]:
    with suppress(InvalidReferenceError):
        yield KnownBase(Reference.parse(name), Reference.parse(image), layers)
