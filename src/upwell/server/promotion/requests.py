"""Bodies of requests about promotions: every field that is read, and its bounds."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from upwell.api.meta import Model

MAX_EVIDENCE = 50
"""Pieces of evidence in one verdict."""

type _Name = Annotated[str, StringConstraints(max_length=253)]
type _Text = Annotated[str, StringConstraints(max_length=2000)]
type _Required = Annotated[str, StringConstraints(min_length=1, max_length=2000)]
type _Url = Annotated[str, StringConstraints(max_length=2000, pattern=r"^(https?://\S+)?$")]


class PromoteBody(Model):
    """POST releases/NAME/promote."""

    stage: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    reason: _Text = ""
    bypass: _Text = ""
    past_image_policies: bool = False
    """The emergency goes past image policies too; needs the right `override` where it goes."""
    run: _Name = ""


class RollBackBody(Model):
    """POST pipelines/NAME/rollback."""

    stage: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    release: _Name = ""
    reason: _Required
    run: _Name = ""


class VerifyAgainBody(Model):
    """POST pipelines/NAME/verify."""

    stage: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    reason: _Text = ""
    run: _Name = ""


class RejectBody(Model):
    """POST releases/NAME/reject."""

    reason: _Required
    stage: _Name = ""


class RestoreBody(Model):
    """POST releases/NAME/restore."""

    reason: _Required


class VoteBody(Model):
    """POST promotions/NAME/approve and /reject."""

    comment: _Text = ""
    override: _Text = ""
    """Reason to approve what one has asked for, or written, oneself; needs the right `override`."""


class EvidenceEntry(Model):
    """A link, or the digest of what was uploaded before."""

    name: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    url: _Url = ""
    digest: _Name = ""

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if bool(self.url) == bool(self.digest):
            raise ValueError("needs either a url or the digest of an upload")
        return self


class VerdictBody(Model):
    """Verdict of a CI on a check."""

    passed: bool
    message: _Text = ""
    evidence: Annotated[tuple[EvidenceEntry, ...], Field(max_length=MAX_EVIDENCE)] = ()
    run: _Name = ""


class VerifyBody(VerdictBody):
    """POST releases/NAME/verify."""

    stage: Annotated[str, StringConstraints(min_length=1, max_length=253)]
    check: _Name = ""


class LinkBody(Model):
    """POST promotions/NAME/links."""

    as_: Annotated[str, StringConstraints(min_length=1, max_length=100)] = Field(alias="as")
    expires_seconds: int = Field(default=86_400, ge=60, le=30 * 86_400)


class RevokeLinkBody(Model):
    """DELETE promotions/NAME/links: the id of a link, or the name of a person."""

    link: Annotated[str, StringConstraints(min_length=1, max_length=100)]
