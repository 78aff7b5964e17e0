"""Commits of promotions: what they say, on which branch they go, and how they are found again."""

import posixpath
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

from upwell.api.pipeline import GitTarget, Stage
from upwell.api.promotion import Component, Release
from upwell.api.values.commits import short_commit
from upwell.oci import Reference
from upwell.policy.builds.source_secrets import repository_address
from upwell.policy.builds.triggers import digest_of
from upwell.policy.promotion.images import stage_images
from upwell.policy.promotion.manifests.wanted import WantedImage
from upwell.policy.promotion.moves import Move

PROMOTION, PROMOTION_UID = "Upwell-Promotion", "Upwell-Promotion-Uid"
PIPELINE, STAGE, RELEASE = "Upwell-Pipeline", "Upwell-Stage", "Upwell-Release"
"""Keys of the trailers that mark a commit."""

_PLACE = re.compile(r"\{(?:promotion|release|stage)\}")
_MAX_LINE = 400
_DIGEST = 19
"""Characters of a digest that people are shown, `sha256:` included."""


@dataclass(frozen=True, slots=True)
class GitPlace:
    """A place in a repository in which the digests of a stage are kept."""

    repository: str
    """Host and path: how it is reached, and as whom, makes no other of it."""
    branch: str
    path: tuple[str, ...]

    @classmethod
    def of(cls, target: GitTarget) -> Self:
        """Return the place of a stage's target."""
        address = repository_address(target.repository)
        where = target.repository
        if address is not None:
            host = address[1].rpartition(":")[0] or address[1]
            where = f"{host}/{unquote(address[2]).strip('/')}"
        path = posixpath.normpath(f"/{target.path}").strip("/")
        return cls(
            posixpath.normpath(where.casefold()).removesuffix(".git"),
            target.branch.removeprefix("refs/heads/"),
            tuple(path.split("/")) if path else (),
        )

    def overlaps(self, other: "GitPlace") -> bool:
        """Return True if they have a file in common."""
        both = min(len(self.path), len(other.path))
        same = (self.repository, self.branch) == (other.repository, other.branch)
        return same and self.path[:both] == other.path[:both]


def marks(move: Move) -> dict[str, str]:
    """Return the trailers of a commit: a promotion makes one for each Release that it places."""
    pipeline, promotion = move.pipeline, move.promotion
    return {
        PROMOTION: f"{promotion.namespace}/{promotion.name}",
        PROMOTION_UID: promotion.uid,
        PIPELINE: f"{pipeline.namespace}/{pipeline.name}",
        STAGE: move.stage.name,
        RELEASE: move.release.name,
    }


def is_of(trailers: Mapping[str, str], move: Move) -> bool:
    """Return True if a commit with these trailers has been made for this move."""
    wanted = marks(move)
    return all(trailers.get(key) == wanted[key] for key in (PROMOTION_UID, RELEASE))


def is_of_stage(trailers: Mapping[str, str], move: Move) -> bool:
    """Return True if a commit with these trailers was made for any promotion into the stage."""
    wanted = marks(move)
    return all(trailers.get(key) == wanted[key] for key in (PIPELINE, STAGE))


def message(move: Move, previous: Release | None = None, link: str = "") -> str:
    """Return the message of a commit: what it does, why, and what was tested before.

    `previous` is what the stage had until now; `link` is where the Promotion is found.
    """
    spec = move.promotion.spec
    parts = [_subject(move), _why(move)]
    if spec.requested_by:
        who = f"Asked for by {spec.requested_by}"
        parts.append(f"{who}: {spec.reason}" if spec.reason else f"{who}.")
    if spec.bypass:
        parts.append(f"Emergency, order and approval passed over: {spec.bypass}")
    approved = [one.by for one in move.promotion.status.votes if one.approved]
    if approved:
        parts.append(f"Approved by {', '.join(approved)}.")
    verified = [one.name for one in move.release.status.verified]
    if verified:
        parts.append(f"Verified in {', '.join(verified)}.")
    text = "\n\n".join(_line(part) for part in parts if part)
    lists = [
        _list("Images", _images(move, previous)),
        _list("Base images", _bases(move.release, previous)),
    ]
    text = "\n\n".join([text, *(one for one in lists if one)])
    if link:
        text += f"\n\nPromotion: {link}"
    trailers = "\n".join(f"{key}: {value}" for key, value in marks(move).items())
    return f"{text}\n\n{trailers}\n"


def review_branch(move: Move) -> str:
    """Return the branch on which a commit is reviewed; empty when it is committed straight."""
    target = move.stage.git
    if target is None or target.push_branch is None:
        return ""
    names = {
        "{promotion}": move.promotion.name,
        "{release}": move.promotion.spec.release,
        "{stage}": move.stage.name,
    }
    return _PLACE.sub(lambda found: names[found[0]], target.push_branch)


def return_branch(move: Move) -> str:
    """Return the branch on which it is reviewed that a good Release is put back."""
    return f"{review_branch(move)}-back"


def wanted_images(release: Release, stage: Stage) -> list[WantedImage]:
    """Return the images that the manifests of a stage shall name; raises InvalidReferenceError."""
    keys = stage.git.keys if stage.git is not None else {}
    origins = {one.name: one.image for one in release.spec.components}
    return [
        WantedImage(
            name,
            Reference.parse(image),
            keys.get(name, ""),
            frozenset({Reference.parse(origins[name]).name}),
        )
        for name, image in stage_images(release, stage).items()
    ]


def _subject(move: Move) -> str:
    if move.puts_back:
        return f"Put {move.release.name} back in {move.stage.name}"
    return f"Promote {move.release.name} to {move.stage.name}"


def _why(move: Move) -> str:
    if move.puts_back:
        return f"{move.promotion.spec.release} failed there: {move.promotion.status.message}"
    return move.release.spec.cause


def _images(move: Move, previous: Release | None) -> list[str]:
    before = {one.name: digest_of(one.image) for one in _components(previous)}
    images = stage_images(move.release, move.stage)
    found = []
    for one in move.release.spec.components:
        old = before.get(one.name, "")
        same = old == digest_of(one.image)
        was = "unchanged" if same else f"was {old[:_DIGEST]}" if old else ""
        made = f"built by {one.build}" if one.build else ""
        commit = f"from commit {short_commit(one.revision)}" if one.revision else ""
        about = ", ".join(part for part in (was, f"{made} {commit}".strip()) if part)
        found.append(f"{one.name}: {images[one.name]}" + (f" ({about})" if about else ""))
    return found


def _bases(release: Release, previous: Release | None) -> list[str]:
    """Return the base images of the Release, the old digest with those that have changed."""
    before = {
        (one.name, base.image): base.digest for one in _components(previous) for base in one.bases
    }
    found: dict[str, None] = {}
    for one in release.spec.components:
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
