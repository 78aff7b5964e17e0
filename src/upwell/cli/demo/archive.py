"""Debian's archives, from the configuration of this machine's apt."""

from dataclasses import dataclass

from upwell.cli.core.errors import CommandError
from upwell.cli.demo.children import run

_FORMAT = "$(LABEL)|$(REPO_URI)|$(CREATED_BY)"
_SECONDS = 30.0


@dataclass(frozen=True, slots=True)
class Archive:
    """URIs of the archives of suites and of their security updates."""

    debian: str
    security: str

    def sources(self, suite: str, *, fixed: bool) -> list[str]:
        """Return the lines of sources.list(5) for a suite, alone or with its security updates."""
        lines = [f"deb {self.debian} {suite} main"]
        if fixed:
            lines.append(f"deb {self.security} {suite}-security main")
        return lines


async def find_archive() -> Archive:
    """Return the archives of this machine; raises CommandError."""
    return parse_targets(
        await run("apt-get", "indextargets", "--format", _FORMAT, seconds=_SECONDS)
    )


def parse_targets(text: str) -> Archive:
    """Parse the output of apt-get indextargets; raises CommandError if it lacks an archive."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        label, uri, kind = (*line.split("|"), "", "", "")[:3]
        if kind == "Packages":
            found.setdefault(label, uri.rstrip("/"))
    try:
        return Archive(found["Debian"], found["Debian-Security"])
    except KeyError as error:
        raise CommandError(
            f"apt has no archive labelled {error}: add Debian and its security updates to"
            " /etc/apt/sources.list.d, and run `apt-get update`"
        ) from error
