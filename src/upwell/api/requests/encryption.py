"""upwell.dev/v1alpha1 Encryption: asks how the store is encrypted, or for another data key."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource, Scope
from upwell.api.pipeline import GROUP


class EncryptionSpec(Model):
    """Wish of an administrator."""

    rotate: bool = False
    """Seal everything by a new data key; the answer comes when that has begun."""


class EncryptionStatus(Model):
    """Encryption of the store."""

    source: str = ""
    """Key that wraps the data key; empty: nothing is encrypted."""
    data_key: str = ""
    """Id of the key that seals what is written."""
    rotating: bool = False
    rows_left: int = 0
    """Texts that are not sealed by it yet."""
    fault: str = ""
    """Reason why the last rotation stopped, or why the next start would be refused."""


class Encryption(Resource):
    """One question, or one rotation."""

    KIND: ClassVar[Kind] = Kind(GROUP, "v1alpha1", "Encryption", "encryptions", scope=Scope.CLUSTER)

    spec: EncryptionSpec = Field(default_factory=EncryptionSpec)
    status: EncryptionStatus = Field(default_factory=EncryptionStatus)
