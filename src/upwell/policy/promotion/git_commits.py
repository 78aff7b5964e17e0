"""Commits of promotions: what they say, on which branch they go, and how they are found again."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from upwell.api.pipeline import GitTarget, Pipeline, Stage
from upwell.api.promotion import Component, Promotion, PromotionPhase, Release
from upwell.oci import Reference
from upwell.policy.build_triggers import digest_of
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.manifests.wanted import Wanted

PROMOTION, PROMOTION_UID = "Upwell-Promotion", "Upwell-Promotion-Uid"
PIPELINE, STAGE, RELEASE = "Upwell-Pipeline", "Upwell-Stage", "Upwell-Release"
"""Keys of the trailers that mark a commit."""

_MAX_LINE = 400
_DIGEST = 19
"""Characters of a digest that people are shown, `sha256:` included."""


@dataclass(frozen=True, slots=True)
class Told:
    """What a commit's message tells."""

    pipeline: Pipeline
    stage: Stage
    release: Release
    """The one whose digests it has."""
    promotion: Promotion
    previous: Release | None = None
    """What the stage had before, if that is known."""
    link: str = ""
    """Where the Promotion is found."""

    @property
    def puts_back(self) -> bool:
        """Whether the commit puts a good Release back after a failure."""
        return self.promotion.status.phase is PromotionPhase.ROLLING_BACK


def marks(told: Told) -> dict[str, str]:
    """Return the trailers of a commit: a promotion makes one for each Release that it places."""
    pipeline, promotion = told.pipeline, told.promotion
    return {
        PROMOTION: f"{promotion.namespace}/{promotion.name}",
        PROMOTION_UID: promotion.uid,
        PIPELINE: f"{pipeline.namespace}/{pipeline.name}",
        STAGE: told.stage.name,
        RELEASE: told.release.name,
    }


def is_of(trailers: Mapping[str, str], told: Told) -> bool:
    """Whether a commit with these trailers is the one that `told` is about."""
    wanted = marks(told)
    return all(trailers.get(key) == wanted[key] for key in (PROMOTION_UID, RELEASE))


def is_of_stage(trailers: Mapping[str, str], pipeline: Pipeline, stage: Stage) -> bool:
    """Whether a promotion into the stage has made a commit with these trailers."""
    name = f"{pipeline.namespace}/{pipeline.name}"
    return (trailers.get(PIPELINE), trailers.get(STAGE)) == (name, stage.name)


def message(told: Told) -> str:
    """Return the message of a commit: what it does, why, and what was tested before."""
    spec = told.promotion.spec
    parts = [_subject(told), _why(told)]
    if spec.requested_by:
        who = f"Asked for by {spec.requested_by}"
        parts.append(f"{who}: {spec.reason}" if spec.reason else f"{who}.")
    if spec.bypass:
        parts.append(f"Emergency, order and approval passed over: {spec.bypass}")
    approved = [one.by for one in told.promotion.status.votes if one.approved]
    if approved:
        parts.append(f"Approved by {', '.join(approved)}.")
    verified = [one.name for one in told.release.status.verified]
    if verified:
        parts.append(f"Verified in {', '.join(verified)}.")
    text = "\n\n".join(_line(part) for part in parts if part)
    lists = [_list("Images", _images(told)), _list("Base images", _bases(told))]
    text = "\n\n".join([text, *(one for one in lists if one)])
    if told.link:
        text += f"\n\nPromotion: {told.link}"
    trailers = "\n".join(f"{key}: {value}" for key, value in marks(told).items())
    return f"{text}\n\n{trailers}\n"


def review_branch(target: GitTarget, stage: Stage, promotion: Promotion) -> str:
    """Return the branch on which a promotion is reviewed; empty when it is committed straight.

    It is named by the promotion's own Release, also when a good one is put back.
    """
    if target.push_branch is None:
        return ""
    name = target.push_branch.replace("{release}", promotion.spec.release)
    return name.replace("{stage}", stage.name)


def wanted_images(release: Release, stage: Stage) -> list[Wanted]:
    """Return the images that the manifests of a stage shall name; raises InvalidReferenceError."""
    keys = stage.git.keys if stage.git is not None else {}
    origins = {one.name: one.image for one in release.spec.components}
    return [
        Wanted(
            name,
            Reference.parse(image),
            keys.get(name, ""),
            frozenset({Reference.parse(origins[name]).name}),
        )
        for name, image in stage_images(release, stage).items()
    ]


def _subject(told: Told) -> str:
    if told.puts_back:
        return f"Put {told.release.name} back in {told.stage.name}"
    return f"Promote {told.release.name} to {told.stage.name}"


def _why(told: Told) -> str:
    if told.puts_back:
        return f"{told.promotion.spec.release} failed there: {told.promotion.status.message}"
    return told.release.spec.cause


def _images(told: Told) -> list[str]:
    before = {one.name: digest_of(one.image) for one in _components(told.previous)}
    images = stage_images(told.release, told.stage)
    found = []
    for one in told.release.spec.components:
        old = before.get(one.name, "")
        same = old == digest_of(one.image)
        was = "unchanged" if same else f"was {old[:_DIGEST]}" if old else ""
        made = f"built by {one.build}" if one.build else ""
        commit = f"from commit {one.revision[:12]}" if one.revision else ""
        about = ", ".join(part for part in (was, f"{made} {commit}".strip()) if part)
        found.append(f"{one.name}: {images[one.name]}" + (f" ({about})" if about else ""))
    return found


def _bases(told: Told) -> list[str]:
    """Return the base images of the Release, the old digest with those that have changed."""
    before = {
        (one.name, base.image): base.digest
        for one in _components(told.previous)
        for base in one.bases
    }
    found: dict[str, None] = {}
    for one in told.release.spec.components:
        for base in one.bases:
            old = before.get((one.name, base.image), "")
            change = f"{old[:_DIGEST]} -> " if old and old != base.digest else ""
            found[f"{base.image}: {change}{base.digest[:_DIGEST]}"] = None
    return list(found)


def _components(release: Release | None) -> Iterable[Component]:
    return release.spec.components if release is not None else ()


def _list(title: str, lines: Iterable[str]) -> str:
    entries = [f"- {_line(line)}" for line in lines]
    return "\n".join([f"{title}:", *entries]) if entries else ""


def _line(text: str) -> str:
    """Return text on one line: what others wrote must not look like a trailer."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[:_MAX_LINE]
