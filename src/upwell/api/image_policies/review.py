"""upwell.dev/v1alpha1 ImagePolicyReview: what image policies say of an image."""

from typing import ClassVar

from pydantic import Field

from upwell.api.image_policies.policy import ImagePolicySpec, PolicyPoint
from upwell.api.meta import Kind, Model, Resource


class ImagePolicyReviewSpec(Model):
    """Question of a review."""

    image: str = ""
    at: str = PolicyPoint.ROLLOUT
    stage: str = ""
    policy: ImagePolicySpec | None = None
    """Policy to try in place of those that are there."""


class PolicyAnswer(Model):
    """Answer of one policy."""

    policy: str
    mode: str
    passed: bool
    reason: str = ""
    message: str = ""


class ImagePolicyReviewStatus(Model):
    """Answer of a review: of each policy whose scopes have the image, and of all of them."""

    image: str = ""
    """Pull spec with the digest that was judged."""
    allowed: bool = False
    policies: tuple[PolicyAnswer, ...] = ()
    note: str | None = None
    """Meaning of a name that names no registry."""


class ImagePolicyReview(Resource):
    """Would the policies of a namespace let an image pass? Asked by being created; not kept."""

    KIND: ClassVar[Kind] = Kind(
        "upwell.dev",
        "v1alpha1",
        "ImagePolicyReview",
        "imagepolicyreviews",
        has_status=False,
        verbs=("create",),
    )

    spec: ImagePolicyReviewSpec = Field(default_factory=ImagePolicyReviewSpec)
    status: ImagePolicyReviewStatus = Field(default_factory=ImagePolicyReviewStatus)
