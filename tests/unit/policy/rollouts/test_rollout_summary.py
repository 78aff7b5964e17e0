"""Summary of a rollout: a complete one that is degraded has the words of the one judgement."""

from datetime import UTC, datetime

import pytest

from upwell.api.apps import Deployment
from upwell.api.codec import decode_as
from upwell.policy.health.judgement import faults_of
from upwell.policy.rollouts.summary import RolloutState, rollout_of

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC).isoformat()
WHY = "0 of 1 replicas of revision 2 are available: container web exited 1: no database"


def deployment(ready: int, degraded: str) -> Deployment:
    condition = {
        "type": "Degraded",
        "status": degraded,
        "reason": "CrashLoopBackOff",
        "message": WHY,
        "lastTransitionTime": NOW,
    }
    template = {"spec": {"containers": [{"name": "web", "image": "web"}]}}
    revision = {
        "revision": 2,
        "hash": "h2",
        "template": template,
        "created": NOW,
        "phase": "Complete",
    }
    status = {
        "observedGeneration": 1,
        "updatedReplicas": 1,
        "readyReplicas": ready,
        "revisions": [revision],
        "conditions": [condition],
    }
    metadata = {"namespace": "shop", "name": "web", "generation": 1}
    spec = {"replicas": 1, "template": template}
    return decode_as(Deployment, {"metadata": metadata, "spec": spec, "status": status})


@pytest.mark.parametrize("ready", [0, 1])
def test_what_is_complete_and_degraded_is_told_in_the_words_of_the_judgement(ready: int) -> None:
    found = rollout_of(deployment(ready, "True"))
    assert (found.state, found.text) == (RolloutState.PROGRESSING, WHY)
    assert [fault.message for fault in faults_of(deployment(ready, "True"))] == [found.text]


def test_what_is_whole_again_is_complete() -> None:
    found = rollout_of(deployment(1, "False"))
    assert (found.state, found.text) == (
        RolloutState.COMPLETE,
        "revision 2 is complete, 1 of 1 ready",
    )
