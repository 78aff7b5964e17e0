"""upwell.dev/v1alpha1 ImageSigningKey: asks for another key that signs images."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource, Scope
from upwell.api.pipeline import GROUP


class ImageSigningKeySpec(Model):
    """Wish of an administrator."""

    rotate: bool = False
    """Sign by a new key from now on; the old public keys are kept."""


class ImageSigningKeyStatus(Model):
    """Keys that check the signatures of this server."""

    public_keys: tuple[str, ...] = ()
    """PEM, the newest first: that one checks what is signed now."""


class ImageSigningKey(Resource):
    """One question, or one rotation."""

    KIND: ClassVar[Kind] = Kind(
        GROUP, "v1alpha1", "ImageSigningKey", "imagesigningkeys", scope=Scope.CLUSTER
    )

    spec: ImageSigningKeySpec = Field(default_factory=ImageSigningKeySpec)
    status: ImageSigningKeyStatus = Field(default_factory=ImageSigningKeyStatus)
