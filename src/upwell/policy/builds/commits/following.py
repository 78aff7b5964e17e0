"""Commits that a BuildConfig follows by looks at its repository: which one is due, and when."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

from upwell.api.builds.build import Build, BuildRequest, BuildTriggerCause
from upwell.api.builds.config import PAUSED_ANNOTATION, BuildConfig, FollowedCommit
from upwell.api.builds.inputs import GitSourceRevision, SourceRevision
from upwell.api.meta import Condition
from upwell.formats.human_duration import human_duration
from upwell.policy.builds.run_policy import newest
from upwell.policy.images.schedule import InvalidDurationError, parse_duration

COMMITS_ANNOTATION = "upwell.dev/follow-commits"
"""On a BuildConfig: `true` has its repository looked at for commits, a duration says how often."""
FOLLOWED = "CommitsFollowed"
"""Condition of a BuildConfig: whether new commits of its repository are found."""
NEW_COMMIT = "New commit"
"""Cause of a build that a look at the repository has started."""

DEFAULT_INTERVAL = timedelta(minutes=5)
SHORTEST_INTERVAL = timedelta(seconds=10)
_CATCH_UP = timedelta(minutes=5)
"""The longest time over which first looks after a start are spread."""
_SPREAD = 0.1
"""Part of an interval by which looks are moved at random."""
_COMMIT = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_SHORT = 12


@dataclass(frozen=True, slots=True)
class CommitLook:
    """A BuildConfig's looks at its repository."""

    interval: timedelta
    fault: str = ""
    """Words for an annotation that is none; the interval is the server's then."""


@dataclass(frozen=True, slots=True)
class BuildCommit:
    """A build of a commit is due."""

    commit: str


@dataclass(frozen=True, slots=True)
class NoteCommit:
    """The commit is built already, or being built: it is remembered, and nothing is due."""

    commit: str


@dataclass(frozen=True, slots=True)
class AwaitBuild:
    """Decision to wait for a build that is about to fetch some commit."""

    message: str


type CommitDecision = BuildCommit | NoteCommit | AwaitBuild


def look_of(config: BuildConfig, default: timedelta = DEFAULT_INTERVAL) -> CommitLook | None:
    """Return how often the repository of `config` is looked at; None: never."""
    text = config.annotations.get(COMMITS_ANNOTATION, "").strip().lower()
    if text in {"", "false"}:
        return None
    if text == "true":
        return CommitLook(default)
    try:
        return CommitLook(max(parse_duration(text), SHORTEST_INTERVAL))
    except InvalidDurationError:
        fault = f"{COMMITS_ANNOTATION}: {text!r} is neither true nor a duration such as 10m"
        return CommitLook(default, fault)


def unfollowed(config: BuildConfig) -> Condition | None:
    """Return why there is nothing to look for; None: there is."""
    git = config.spec.source.git
    if git is None:
        return _condition("False", "NoRepository", "its source is no git repository")
    if config.spec.revision is not None and config.spec.revision.commit:
        message = f"spec.revision says that {_short(config.spec.revision.commit)} is built"
        return _condition("False", "Pinned", message)
    if _COMMIT.fullmatch(git.ref or ""):
        message = f"spec.source.git.ref is the commit {_short(git.ref or '')}, which stays the same"
        return _condition("False", "Pinned", message)
    if config.annotations.get(PAUSED_ANNOTATION) == "true":
        message = f"annotation {PAUSED_ANNOTATION} is set: remove it to build"
        return _condition("False", "Paused", message)
    return None


def decide_commit(config: BuildConfig, builds: Sequence[Build], head: str) -> CommitDecision:
    """Say what follows from the commit `head` at the ref that `config` builds.

    Others start builds of commits too: webhooks, people, changes of images. What they built since
    the last commit that was noted is not built again; an older build of `head` is none of those,
    as the branch may have been set back to it.
    """
    known = config.status.followed_commit
    if known is not None and known.commit == head:
        return NoteCommit(head)
    last = newest(builds)
    if known is None and last is None and config.status.last_version == 0:
        if any(trigger.type in {"ConfigChange", "ImageChange"} for trigger in config.spec.triggers):
            return AwaitBuild("the first build, which has not begun, fetches the newest commit")
        return BuildCommit(head)
    since = [one for one in builds if (one is last if known is None else _is_since(one, known))]
    if any(one.revision.commit == head for one in since):
        return NoteCommit(head)
    fetching = [one for one in since if not (one.revision.commit or one.status.phase.is_terminal)]
    if fetching:
        return AwaitBuild(f"build {fetching[-1].name} is about to fetch the newest commit")
    return BuildCommit(head)


def commit_request(commit: str) -> BuildRequest:
    """Return the request for a build of a commit; equal inputs are not built again."""
    revision = SourceRevision.of_git(GitSourceRevision(commit=commit))
    cause = BuildTriggerCause(message=NEW_COMMIT)
    return BuildRequest(revision=revision, triggered_by=(cause,), unless_built=True)


def followed(config: BuildConfig, head: str, look: CommitLook) -> Condition:
    """Return the condition of a repository that was reached."""
    git = config.spec.source.git
    ref = (git.ref if git is not None else None) or "HEAD"
    message = f"{ref} is at {_short(head)}; it is looked at every {human_duration(look.interval)}"
    if look.fault:
        return _condition("True", "InvalidInterval", f"{message}; {look.fault}")
    return _condition("True", "Followed", message)


def unreachable(message: str) -> Condition:
    """Return the condition of a repository that cannot be asked."""
    return _condition("False", "RepositoryUnreachable", message)


def not_built(commit: str, why: str) -> Condition:
    """Return the condition of a commit of which no build can be started."""
    return _condition("False", "CommitNotBuilt", f"{_short(commit)} is not built: {why}")


def first_look(look: CommitLook, place: float) -> float:
    """Return the seconds to the first look after a start, of one that was followed before.

    `place`, from 0 to 1, spreads those of all BuildConfigs.
    """
    return min(look.interval, _CATCH_UP).total_seconds() * place


def next_look(look: CommitLook, chance: float) -> float:
    """Return the seconds to the next look, moved by `chance` (0 to 1) up to a tenth."""
    return look.interval.total_seconds() * (1 + _SPREAD * (2 * chance - 1))


def _is_since(build: Build, known: FollowedCommit) -> bool:
    """Return whether a build began after a commit was noted; times have whole seconds."""
    began = build.metadata.creation_timestamp
    return known.time is None or began is None or began >= known.time.replace(microsecond=0)


def _condition(status: str, reason: str, message: str) -> Condition:
    return Condition(type=FOLLOWED, status=status, reason=reason, message=message)


def _short(commit: str) -> str:
    return commit[:_SHORT]
