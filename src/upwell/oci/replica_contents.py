"""Repositories of the internal registry that hold what replicas of a server share, and no images.

`upwell.uploads/NAMESPACE` and its like: no namespace has a dot in its name, so no ImageStream's
repository is one of them. They are the server's own, and no client's.
"""

from enum import StrEnum


class ReplicaContent(StrEnum):
    """Kind of content: the first component of its repositories."""

    UPLOADS = "upwell.uploads"
    EVIDENCE = "upwell.evidence"
    LOGS = "upwell.logs"
    AUDIT = "upwell.audit"

    @property
    def is_by_namespace(self) -> bool:
        """True if each namespace has a repository of its own."""
        return self is not ReplicaContent.AUDIT

    @property
    def artifact_type(self) -> str:
        """The type of its manifests (image-spec, Guidelines for Artifact Usage)."""
        return f"application/vnd.{self.value}.v1"

    def repository(self, namespace: str) -> str:
        """Return the repository of a namespace; empty: of what counts for none."""
        return f"{self.value}/{namespace}" if namespace else self.value

    def namespace_of(self, repository: str) -> str | None:
        """Return the namespace whose repository it is; None: it is no such repository."""
        root, _, namespace = repository.partition("/")
        return namespace if root == self.value else None


_ROOTS = frozenset(ReplicaContent)


def is_replica_content(repository: str) -> bool:
    """Return True if a repository of the internal registry holds what replicas share."""
    return repository.partition("/")[0] in _ROOTS
