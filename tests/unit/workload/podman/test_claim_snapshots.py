"""Copies of claims: taken once, put back once, and whole when a stop comes between."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
from tests.unit.workload.podman.test_instance_volumes import spec

from upwell.workload.instance_spec import VolumeClaim
from upwell.workload.podman.volumes.snapshots import SnapshotError, settle_snapshots

CLAIM = VolumeClaim("shop", "orders")


class Claims:
    """A folder of claims, and one of their copies."""

    def __init__(self, folder: Path) -> None:
        self.claims, self.snapshots = folder / "claims", folder / "snapshots"
        self.rows.parent.mkdir(parents=True)
        self.rows.write_text("1")

    @property
    def rows(self) -> Path:
        return self.claims / "shop" / "orders" / "rows"

    def start(self, keep_as: str = "", back_to: tuple[str, ...] = ()) -> None:
        """Do what comes before the start of an instance."""
        claim = replace(CLAIM, keep_as=keep_as, back_to=back_to)
        asyncio.run(settle_snapshots(spec(data=claim), self.claims, self.snapshots))


@pytest.fixture
def claims(tmp_path: Path) -> Claims:
    return Claims(tmp_path)


def test_what_a_failed_revision_wrote_is_taken_back_once(claims: Claims) -> None:
    claims.start(keep_as="two")
    claims.rows.write_text("converted")
    claims.start(keep_as="two")  # it is restarted: what it wrote is no snapshot
    claims.start(back_to=("two",))
    assert claims.rows.read_text() == "1"

    claims.rows.write_text("2")
    claims.start(back_to=("two",))
    assert claims.rows.read_text() == "2"
    failed = claims.snapshots / "shop" / "orders" / "failed-two" / "rows"
    assert failed.read_text() == "converted"


def test_the_first_copy_that_is_there_is_put_back_before_another_is_made(claims: Claims) -> None:
    claims.start(keep_as="two")
    claims.rows.write_text("converted")
    claims.start(keep_as="four", back_to=("three", "two"))
    assert claims.rows.read_text() == "1"
    claims.rows.write_text("converted again")
    claims.start(back_to=("four", "three", "two"))
    assert claims.rows.read_text() == "1"


def test_a_claim_has_one_copy(claims: Claims) -> None:
    claims.start(keep_as="two")
    claims.start(keep_as="three")
    assert [one.name for one in (claims.snapshots / "shop" / "orders").iterdir()] == ["three"]


def test_a_stop_between_is_taken_up(claims: Claims) -> None:
    claims.start(keep_as="two")
    folder = claims.rows.parent
    folder.rename(claims.snapshots / "shop" / "orders" / "failed-two")
    claims.start(back_to=("two",))
    assert claims.rows.read_text() == "1"

    draft = claims.snapshots / "shop" / "orders" / ".part"
    draft.mkdir()
    (draft / "half").write_text("")
    claims.start(keep_as="three")
    assert [one.name for one in (claims.snapshots / "shop" / "orders" / "three").iterdir()] == [
        "rows"
    ]


def test_a_claim_that_was_never_used_needs_no_copy(claims: Claims) -> None:
    claims.rows.unlink()
    claims.rows.parent.rmdir()
    claims.start(keep_as="two", back_to=("one",))
    assert not claims.snapshots.exists()


def test_a_copy_that_cannot_be_made_keeps_the_instance_from_starting(
    claims: Claims, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "cp").write_text("#!/bin/sh\necho no space left >&2\nexit 1\n")
    (tmp_path / "cp").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    with pytest.raises(SnapshotError, match="no space left; make room"):
        claims.start(keep_as="two")
    assert claims.rows.read_text() == "1"
