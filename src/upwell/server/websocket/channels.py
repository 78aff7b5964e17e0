"""Numbered channels in one WebSocket (Kubernetes' v4 and v5.channel.k8s.io).

Each message begins with a byte that names its channel. Only v5 can end one channel and go on with
the others: by a message on channel 255 that names it.
"""

from collections.abc import AsyncIterator

from upwell.server.websocket.websockets import Peer

V5, V4 = "v5.channel.k8s.io", "v4.channel.k8s.io"
PROTOCOLS = (V5, V4)
_CLOSE = 255


class Channels:
    """The channels that are shared with one client."""

    def __init__(self, peer: Peer, protocol: str) -> None:
        self._peer = peer
        self.can_close = protocol == V5
        """True if one channel can end before all do."""

    async def send(self, channel: int, piece: bytes) -> None:
        """Send a piece on a channel."""
        await self._peer.send(bytes((channel,)) + piece)

    async def close(self, channel: int) -> None:
        """End a channel, where that is possible."""
        if self.can_close:
            await self._peer.send(bytes((_CLOSE, channel)))

    async def pieces(self) -> AsyncIterator[tuple[int, memoryview]]:
        """Yield channel and piece as they come, an empty piece where a channel ends.

        A piece is a view of the message, which may be megabytes: whoever keeps a part copies that.
        Ends when the client leaves.
        """
        async for message in self._peer.messages():
            channel, piece = message[:1], memoryview(message)[1:]
            if self.can_close and channel == bytes((_CLOSE,)):
                if piece:
                    yield piece[0], piece[:0]
            elif channel and piece:  # an empty one says nothing: clients send it to begin with
                yield channel[0], piece
