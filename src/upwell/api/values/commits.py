"""Ids of commits."""

_SHORT = 12


def short_commit(commit: str) -> str:
    """Return the first digits of a commit's id, as people compare them; empty without one."""
    return commit[:_SHORT]
