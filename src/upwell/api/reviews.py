"""Questions about oneself and others: who, and what may they do (authentication.k8s.io and others).

They are asked by being created, and answered in their status; nothing is kept.
"""

from typing import ClassVar

from pydantic import Field

from upwell.api.meta import Kind, Model, Resource, Scope

_AUTHORIZATION = "authorization.k8s.io"
_ASKED = ("create",)


def _question(group: str, kind: str, plural: str) -> Kind:
    return Kind(group, "v1", kind, plural, scope=Scope.CLUSTER, has_status=False, verbs=_ASKED)


class UserInfo(Model):
    """Sender of requests; `extra` holds the grants of the token."""

    username: str = ""
    uid: str | None = None
    """Of a ServiceAccount."""
    groups: tuple[str, ...] = ()
    extra: dict[str, tuple[str, ...]] = Field(default_factory=dict)


class SelfSubjectReviewStatus(Model):
    """Identity of the sender."""

    user_info: UserInfo = Field(default_factory=UserInfo)


class SelfSubjectReview(Resource):
    """Review of one's own identity: `kubectl auth whoami`."""

    KIND: ClassVar[Kind] = _question(
        "authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"
    )

    status: SelfSubjectReviewStatus = Field(default_factory=SelfSubjectReviewStatus)


class ResourceAttributes(Model):
    """Action on objects; `*` stands for all."""

    namespace: str = ""
    verb: str = ""
    group: str = ""
    version: str = ""
    resource: str = ""
    subresource: str = ""
    name: str = ""


class NonResourceAttributes(Model):
    """Action on a path."""

    path: str = ""
    verb: str = ""


class SelfSubjectAccessReviewSpec(Model):
    """Question of a review: one of the two."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReviewStatus(Model):
    """The answer; `reason` says what is missing."""

    allowed: bool = False
    reason: str | None = None


class SelfSubjectAccessReview(Resource):
    """May I do this? `kubectl auth can-i`."""

    KIND: ClassVar[Kind] = _question(
        _AUTHORIZATION, "SelfSubjectAccessReview", "selfsubjectaccessreviews"
    )

    spec: SelfSubjectAccessReviewSpec = Field(default_factory=SelfSubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class SubjectAccessReviewSpec(SelfSubjectAccessReviewSpec):
    """Question of a review about somebody."""

    user: str = ""
    """Name of a token, a ServiceAccount or a person."""
    groups: tuple[str, ...] = ()


class SubjectAccessReview(Resource):
    """Review of the rights of somebody, asked by programs that authorize by them."""

    KIND: ClassVar[Kind] = _question(_AUTHORIZATION, "SubjectAccessReview", "subjectaccessreviews")

    spec: SubjectAccessReviewSpec = Field(default_factory=SubjectAccessReviewSpec)
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class TokenReviewSpec(Model):
    """A token that somebody was sent, and the receivers that they are."""

    token: str = Field(default="", repr=False)
    audiences: tuple[str, ...] = ()
    """Empty: the API."""


class TokenReviewStatus(Model):
    """Owner of a token; none: it is valid for nobody of these."""

    authenticated: bool = False
    user: UserInfo | None = None
    audiences: tuple[str, ...] = ()
    error: str | None = None


class TokenReview(Resource):
    """Review of a token, asked by programs that take those of ServiceAccounts."""

    KIND: ClassVar[Kind] = _question("authentication.k8s.io", "TokenReview", "tokenreviews")

    spec: TokenReviewSpec = Field(default_factory=TokenReviewSpec)
    status: TokenReviewStatus = Field(default_factory=TokenReviewStatus)


class SelfSubjectRulesReviewSpec(Model):
    """Namespace of a review."""

    namespace: str = ""


class ResourceRule(Model):
    """Verbs on resources; a part is `resource/part`."""

    verbs: tuple[str, ...] = ()
    api_groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()


class NonResourceRule(Model):
    """Verbs on paths."""

    verbs: tuple[str, ...] = ()
    non_resource_urls: tuple[str, ...] = Field(default=(), alias="nonResourceURLs")


class SubjectRulesReviewStatus(Model):
    """Rules of what may be done."""

    resource_rules: tuple[ResourceRule, ...] = ()
    non_resource_rules: tuple[NonResourceRule, ...] = ()
    incomplete: bool = False


class SelfSubjectRulesReview(Resource):
    """Review of one's own rights in a namespace: `kubectl auth can-i --list`."""

    KIND: ClassVar[Kind] = _question(
        _AUTHORIZATION, "SelfSubjectRulesReview", "selfsubjectrulesreviews"
    )

    spec: SelfSubjectRulesReviewSpec = Field(default_factory=SelfSubjectRulesReviewSpec)
    status: SubjectRulesReviewStatus = Field(default_factory=SubjectRulesReviewStatus)
