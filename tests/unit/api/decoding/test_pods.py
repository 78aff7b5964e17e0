"""Pods as kubelets report them."""

import pytest

from upwell.api.codec import decode_as
from upwell.api.pod import Pod


@pytest.mark.parametrize(
    "state",
    [{"terminated": {"exitCode": 0}}, {"waiting": {}}, {"running": {}}],
    ids=lambda state: next(iter(state)),
)
def test_a_state_of_a_container_without_a_reason_is_read(state: dict[str, object]) -> None:
    containers = [{"name": "app", "state": state, "lastState": {"terminated": {"exitCode": 1}}}]
    document = {"metadata": {"name": "web"}, "status": {"containerStatuses": containers}}

    (status,) = decode_as(Pod, document).status.container_statuses

    assert status.last_state.terminated is not None
    assert status.last_state.terminated.reason == ""
