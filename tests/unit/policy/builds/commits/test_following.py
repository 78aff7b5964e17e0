"""Commits that are followed: which one is built, and how often a repository is looked at."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.codec import decode_as
from upwell.policy.builds.commits.following import (
    COMMITS_ANNOTATION,
    AwaitBuild,
    BuildCommit,
    CommitLook,
    NoteCommit,
    decide_commit,
    first_look,
    look_of,
    next_look,
    unfollowed,
)

HEAD, OLD = "a" * 40, "b" * 40
NOTED = datetime(2026, 1, 1, 12, tzinfo=UTC)


def config(
    annotation: str = "true", known: str = "", last_version: int = 1, **spec: Any
) -> BuildConfig:
    status: dict[str, Any] = {"lastVersion": last_version}
    if known:
        status["followedCommit"] = {"commit": known, "time": NOTED.isoformat()}
    source = {"git": {"uri": "https://git.test/shop.git", "ref": "main"}}
    return decode_as(
        BuildConfig,
        {
            "metadata": {
                "name": "shop",
                "namespace": "shop",
                "annotations": {COMMITS_ANNOTATION: annotation} if annotation else {},
            },
            "spec": {
                "source": source,
                "strategy": {"dockerStrategy": {}},
                "triggers": [{"type": "ConfigChange"}],
                **spec,
            },
            "status": status,
        },
    )


def build(number: int, commit: str = "", phase: str = "Complete", after: int = 0) -> Build:
    """Return a build that began so many seconds after the last commit was noted."""
    began = NOTED + timedelta(seconds=after)
    status: dict[str, Any] = {"phase": phase}
    if commit:
        status["revision"] = {"type": "Git", "git": {"commit": commit}}
    metadata = {
        "name": f"shop-{number}",
        "namespace": "shop",
        "annotations": {"openshift.io/build.number": str(number)},
        "creationTimestamp": began.isoformat(),
    }
    return decode_as(Build, {"metadata": metadata, "status": status})


@pytest.mark.parametrize(
    ("known", "builds", "decision"),
    [
        (OLD, [build(1, OLD, after=-9)], BuildCommit(HEAD)),
        (HEAD, [build(1, OLD, after=-9)], NoteCommit(HEAD)),
        ("", [build(1, HEAD)], NoteCommit(HEAD)),
        ("", [build(1, OLD)], BuildCommit(HEAD)),
        ("", [build(1, "", "Failed")], BuildCommit(HEAD)),
        # By a webhook, in the meantime; and by a person, who then built an older one again.
        (OLD, [build(1, OLD, after=-9), build(2, HEAD, "Running", after=1)], NoteCommit(HEAD)),
        (OLD, [build(2, HEAD, after=1), build(3, OLD, after=2)], NoteCommit(HEAD)),
        # The branch was set back to a commit that was built before.
        (OLD, [build(1, HEAD, after=-9), build(2, OLD, after=-5)], BuildCommit(HEAD)),
        # A commit whose build has failed is not built again by itself.
        (OLD, [build(2, HEAD, "Failed", after=1)], NoteCommit(HEAD)),
    ],
)
def test_a_commit_is_built_once(
    known: str, builds: list[Build], decision: BuildCommit | NoteCommit
) -> None:
    assert decide_commit(config(known=known), builds, HEAD) == decision


def test_a_build_that_has_not_fetched_yet_is_awaited() -> None:
    waiting = decide_commit(config(known=OLD), [build(2, "", "New", after=1)], HEAD)
    assert isinstance(waiting, AwaitBuild)
    assert "shop-2" in waiting.message
    assert isinstance(decide_commit(config(), [build(1, "", "Pending")], HEAD), AwaitBuild)


def test_a_first_build_is_that_of_the_configs_own_trigger() -> None:
    assert isinstance(decide_commit(config(last_version=0), [], HEAD), AwaitBuild)
    assert decide_commit(config(last_version=0, triggers=[]), [], HEAD) == BuildCommit(HEAD)


@pytest.mark.parametrize(
    ("annotation", "minutes"), [("", None), ("false", None), ("true", 5), ("1h", 60), ("1s", 1 / 6)]
)
def test_the_annotation_says_whether_and_how_often(annotation: str, minutes: float | None) -> None:
    look = look_of(config(annotation))
    wanted = None if minutes is None else CommitLook(timedelta(minutes=minutes))
    assert look == wanted


def test_a_wrong_interval_is_told() -> None:
    look = look_of(config("soon"), timedelta(minutes=7))
    assert look is not None
    assert look.interval == timedelta(minutes=7)
    assert "'soon'" in look.fault


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"source": {"dockerfile": "FROM a\n"}}, "NoRepository"),
        ({"source": {"git": {"uri": "https://git.test/a", "ref": HEAD}}}, "Pinned"),
        ({"revision": {"type": "Git", "git": {"commit": HEAD}}}, "Pinned"),
    ],
)
def test_what_cannot_change_is_not_looked_at(spec: dict[str, Any], reason: str) -> None:
    found = unfollowed(config(**spec))
    assert found is not None
    assert (found.status, found.reason) == ("False", reason)
    assert unfollowed(config()) is None


def test_looks_are_spread() -> None:
    look = CommitLook(timedelta(minutes=10))
    assert [next_look(look, chance) for chance in (0, 0.5, 1)] == [540, 600, 660]
    assert [first_look(look, place) for place in (0, 0.5, 1)] == [0, 150, 300]
