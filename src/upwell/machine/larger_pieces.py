"""Room for pieces of more than the least size, which all who move bytes fast share."""


class LargerPieces:
    """Bytes of all pieces in hand, beyond the least size of each.

    Who moves bytes fast is given larger pieces, which cost less; who is slow would only hold them.
    """

    def __init__(self, room: int) -> None:
        self._left = room

    def resized(self, size: int, wanted: int) -> int:
        """Return the size of the next piece of who had `size`: as wanted, or as there is room.

        Give all back in the end, by wanting the least.
        """
        more = min(wanted - size, self._left)
        self._left -= more
        return size + more
