"""Content of repositories, counted: that of a whole index at once, and beside the event loop."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from upwell.registry.bucket.index import ContentLink
from upwell.registry.hosted.quotas import charge


@dataclass(frozen=True, slots=True)
class ContentTally:
    """Content that an index links, each once; bytes of all of it, and `charged` as they count."""

    contents: Mapping[str, int]
    """ID -> bytes."""
    size: int
    charged: int

    @classmethod
    def of(cls, links: Iterable[ContentLink]) -> Self:
        """Count links: seconds for a hundred thousand of them, on a thread."""
        contents = {link.content: link.size for link in links}
        sizes = contents.values()
        return cls(contents, sum(sizes), sum(map(charge, sizes)))


class HeldContents:
    """Content of several repositories, each once."""

    def __init__(self) -> None:
        self._links: dict[str, int] = {}
        """ID -> the repositories that link to it."""
        self.size = 0
        """Bytes of all content, and `charged` as they count."""
        self.charged = 0

    def __contains__(self, content: str) -> bool:
        return content in self._links

    def add(self, content: str, size: int) -> None:
        """Count a link."""
        self._count(content, size, 1)

    def remove(self, content: str, size: int) -> None:
        """Count a link no more."""
        self._count(content, size, -1)

    def add_all(self, tally: ContentTally) -> None:
        """Count what a repository links that had nothing: few steps of the event loop for much."""
        shared = {one: self._links[one] for one in self._links.keys() & tally.contents.keys()}
        self._links.update(dict.fromkeys(tally.contents, 1))
        self.size += tally.size
        self.charged += tally.charged
        for content, links in shared.items():
            self._links[content] = links + 1
            self.size -= tally.contents[content]
            self.charged -= charge(tally.contents[content])

    def _count(self, content: str, size: int, more: int) -> None:
        before = self._links.get(content, 0)
        after = before + more
        if after:
            self._links[content] = after
        else:
            del self._links[content]
        if not before or not after:
            self.size += more * size
            self.charged += more * charge(size)
