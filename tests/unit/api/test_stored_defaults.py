"""Defaults that are stored, beside those that the API servers of Kubernetes and OpenShift store.

These are recorded from their own decoders and defaulters (Kubernetes 1.34, openshift-apiserver
4.22); what is empty is left out, as their clients cannot tell it from nothing.
"""

from typing import Any

import pytest
from tests.support.stored_defaults.recording import cases

from upwell.api.codec import decode, encode
from upwell.api.defaults import as_stored, with_kept_form

_CASES = cases()
_EMPTY: tuple[Any, ...] = (None, {}, [], "", False)
_ELSEWHERE = {
    # An index is kept whole unless a tag says otherwise.
    ("ImageStream", "importMode"),
    # Of Jobs of later versions; Pods are replaced when they have ended.
    ("Job", "podReplacementPolicy"),
    ("CronJob", "podReplacementPolicy"),
    # Claims stay.
    ("StatefulSet", "persistentVolumeClaimRetentionPolicy"),
    # What a claim's template is needs no words.
    ("StatefulSet", "status"),
}
_BY_OTHERS = {
    # Set by the part of OpenShift's API server that knows which API was asked.
    ("BuildConfig", "successfulBuildsHistoryLimit"),
    ("BuildConfig", "failedBuildsHistoryLimit"),
    ("DeploymentConfig", "revisionHistoryLimit"),
}


def bare(value: Any, kind: str) -> Any:
    """Return data without what is empty, and without the differences that are meant."""
    if isinstance(value, dict):
        items = {key: bare(one, kind) for key, one in value.items()}
        return {
            key: one
            for key, one in items.items()
            if not any(one is empty or one == empty for empty in _EMPTY if type(one) is type(empty))
            and (kind, key) not in _ELSEWHERE | _BY_OTHERS
        }
    return [bare(one, kind) for one in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "case", _CASES, ids=[f"{one['written']['kind']}-{at}" for at, one in enumerate(_CASES)]
)
def test_the_same_is_stored(case: dict[str, Any]) -> None:
    kind = case["written"]["kind"]
    stored = encode(as_stored(with_kept_form(decode(case["written"]))))
    assert bare(stored, kind) == bare(case["stored"], kind)
    again = as_stored(decode(stored))
    assert encode(again) == stored
