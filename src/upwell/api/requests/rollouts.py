"""Bodies of requests to roll out and to roll back (apps.openshift.io/v1, and our own)."""

from pydantic import Field

from upwell.api.meta import Model, ObjectReference


class DeploymentRequest(Model):
    """Asks for a rollout of a DeploymentConfig."""

    latest: bool | None = None
    """Newer images of followed tags too; our own default, as `oc rollout latest` asks for it."""


class RollbackSpec(Model):
    """Revision to go back to: by its number, or by its ReplicationController."""

    revision: int = Field(default=0, ge=0)
    from_: ObjectReference | None = Field(default=None, alias="from")


class RollbackRequest(Model):
    """A DeploymentConfigRollback, or our own `{"toRevision": n}`; 0 is the revision before."""

    kind: str = ""
    spec: RollbackSpec | None = None
    to_revision: int = Field(default=0, ge=0)

    @property
    def is_only_shown(self) -> bool:
        """Return True for OpenShift's, whose client writes the answer itself."""
        return self.spec is not None or self.kind == "DeploymentConfigRollback"

    @property
    def revision(self) -> int:
        """Return the number that is named; 0 for none."""
        if self.spec is None:
            return self.to_revision
        named = (self.spec.from_.name if self.spec.from_ is not None else "").rpartition("-")[2]
        return self.spec.revision or (int(named) if named.isascii() and named.isdecimal() else 0)
