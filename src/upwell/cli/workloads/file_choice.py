"""Choice of the files that are copied, by patterns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True)
class FileChoice:
    """Patterns of files to leave out, and of those to copy nevertheless.

    A pattern matches a name, or the end of a path, of a file or of a folder with all in it; one
    that begins with a slash matches from the top alone (rsync(1), "FILTER RULES").
    """

    exclude: Sequence[str] = ()
    include: Sequence[str] = ()

    def leaves_out(self, path: str) -> bool:
        """Return whether a relative path, or a folder that it is in, is left out."""
        if not self.exclude:
            return False
        steps = path.split("/")
        above = ("/".join(steps[:count]) for count in range(1, len(steps) + 1))
        return any(_matches(one, self.exclude) and not _matches(one, self.include) for one in above)


def _matches(path: str, patterns: Sequence[str]) -> bool:
    return any(
        fnmatchcase(end, pattern.rstrip("/"))
        for pattern in patterns
        for end in _ends(path, pattern)
    )


def _ends(path: str, pattern: str) -> Iterator[str]:
    if pattern.startswith("/"):
        yield f"/{path}"
        return
    steps = path.split("/")
    count = pattern.rstrip("/").count("/") + 1
    yield "/".join(steps[-count:])
