"""Snapshots of claims: which instance takes one, and which goes back to one."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from upwell.api.apps import Deployment, RevisionRecord
from upwell.api.codec import decode_as
from upwell.policy.rollouts.history import Phase, begin
from upwell.policy.rollouts.volumes.snapshots import with_snapshots
from upwell.workload.instance_spec import InstanceSpec, Owner, VolumeClaim

NOW = datetime(2026, 3, 1, tzinfo=UTC)
POD = {
    "containers": [{"name": "db", "volumeMounts": [{"name": "rows", "mountPath": "/rows"}]}],
    "volumes": [{"name": "rows", "persistentVolumeClaim": {"claimName": "rows"}}],
}
CLAIM = VolumeClaim("shop", "rows")


def deployment(**annotations: str) -> Deployment:
    names = {key.replace("_", "-"): value for key, value in annotations.items()}
    document = {
        "metadata": {
            "name": "db",
            "namespace": "shop",
            "annotations": {f"upwell.dev/{key}": value for key, value in names.items()},
        },
        "spec": {"replicas": 1, "template": {"spec": POD}},
    }
    return decode_as(Deployment, document)


def record(number: int, phase: Phase, **times: Any) -> RevisionRecord:
    return RevisionRecord(
        revision=number,
        hash=f"r{number}",
        template=deployment().spec.template,
        created=NOW,
        phase=phase,
        **times,
    )


GOOD = record(1, Phase.COMPLETE, live_at=NOW, completed_at=NOW)
NEW, FAILED = record(2, Phase.PROGRESSING), record(2, Phase.FAILED)


def claim(started: RevisionRecord, *records: RevisionRecord, **annotations: str) -> VolumeClaim:
    """Return the claim of the instance of a revision that starts."""
    spec = InstanceSpec("db-0", Owner("Deployment", "shop", "db"), "r", (), volumes={"rows": CLAIM})
    wanted = annotations or {"snapshot_volumes": "true"}
    found = with_snapshots(spec, deployment(**wanted), records, started).volumes["rows"]
    assert isinstance(found, VolumeClaim)
    return found


def test_a_new_revision_keeps_what_the_good_one_wrote() -> None:
    assert claim(NEW, NEW, GOOD) == replace(CLAIM, keep_as="r2")


def test_the_good_one_goes_back_to_it_when_the_new_one_never_served() -> None:
    assert claim(GOOD, FAILED, GOOD) == replace(CLAIM, back_to=("r2",))


def test_one_that_follows_before_the_new_one_served_goes_back_first() -> None:
    records = begin((NEW, GOOD), record(3, Phase.PROGRESSING))
    assert claim(records[0], *records) == replace(CLAIM, keep_as="r3", back_to=("r2",))
    served = (records[0].model_copy(update={"live_at": NOW}), *records[1:])
    assert claim(served[0], *served).back_to == ()


def test_the_good_one_goes_back_when_it_is_wanted_again_before_the_new_one_served() -> None:
    again = GOOD.model_copy(update={"created": NOW + timedelta(hours=1)})
    records = begin((NEW, GOOD), again)
    assert claim(records[0], *records) == replace(CLAIM, back_to=("r2",))


def test_the_good_one_goes_back_past_all_that_never_served() -> None:
    third, *others = begin((NEW, GOOD), record(3, Phase.PROGRESSING))
    records = (third.model_copy(update={"phase": Phase.FAILED}), *others)
    assert claim(GOOD, *records) == replace(CLAIM, back_to=("r3", "r2"))


def test_what_was_put_back_already_is_not_again() -> None:
    records = begin((FAILED, GOOD), record(3, Phase.PROGRESSING))
    assert claim(records[0], *records) == replace(CLAIM, keep_as="r3")


def test_what_a_revision_wrote_that_has_served_stays() -> None:
    served = record(2, Phase.FAILED, live_at=NOW)
    assert claim(GOOD, served, GOOD) == CLAIM


def test_neither_the_first_revision_nor_a_restart_takes_one() -> None:
    first = record(1, Phase.PROGRESSING)
    assert claim(first, first) == CLAIM
    assert claim(GOOD, GOOD) == CLAIM


def test_nothing_happens_unless_it_is_asked_for() -> None:
    assert claim(NEW, NEW, GOOD, other="true") == CLAIM
    assert claim(NEW, NEW, GOOD, snapshot_volumes="true", share_volumes="true") == CLAIM
