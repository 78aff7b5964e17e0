from typing import Any

import pytest

from upwell.api.codec import UnknownKindError
from upwell.api.legacy import NO_LIMIT, to_group_form

LIMITS = ("successfulBuildsHistoryLimit", "failedBuildsHistoryLimit")


def config(api_version: str, **spec: Any) -> dict[str, Any]:
    return {"apiVersion": api_version, "kind": "BuildConfig", "spec": spec}


def test_a_legacy_build_config_keeps_every_build() -> None:
    found = to_group_form(config("v1", failedBuildsHistoryLimit=2))

    assert found["apiVersion"] == "build.openshift.io/v1"
    assert [found["spec"][limit] for limit in LIMITS] == [NO_LIMIT, 2]
    nothing = to_group_form(config("v1", failedBuildsHistoryLimit=None))
    assert nothing["spec"]["failedBuildsHistoryLimit"] == NO_LIMIT


def test_a_build_config_of_the_group_stays_what_it_is() -> None:
    document = config("build.openshift.io/v1")
    assert to_group_form(document) == document


def test_the_core_has_no_other_form() -> None:
    document = {"apiVersion": "v1", "kind": "Secret", "data": {}}
    assert to_group_form(document) == document
    with pytest.raises(UnknownKindError):
        to_group_form({"apiVersion": "v1", "kind": "Teapot"})
