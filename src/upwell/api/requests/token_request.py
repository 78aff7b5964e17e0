"""authentication.k8s.io/v1 TokenRequest: asks for a token of a ServiceAccount."""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, ObjectReference, Resource, Time


class TokenRequestSpec(Model):
    """Wish of who asks."""

    audiences: tuple[str, ...] = ()
    """Receivers of the token; none: the API of this server."""
    expiration_seconds: int | None = None
    bound_object_ref: ObjectReference | None = None
    """A Secret of the account's namespace, with whose deletion the token ends."""


class TokenRequestStatus(Model):
    """The token."""

    token: str = Field(default="", repr=False)
    expiration_timestamp: Time | None = None


class ServiceAccountTokenRequest(Resource):
    """One token. It is in the answer, and kept nowhere."""

    KIND: ClassVar[Kind] = Kind("authentication.k8s.io", "v1", "TokenRequest", "tokenrequests")

    spec: TokenRequestSpec = Field(default_factory=TokenRequestSpec)
    status: TokenRequestStatus = Field(default_factory=TokenRequestStatus)
