"""Every test has a limit of time, and no unit test gets a second try."""

import pytest


def test_every_test_has_a_limit_of_time(request: pytest.FixtureRequest) -> None:
    unlimited = [
        one.nodeid
        for one in request.session.items
        if (limit := one.get_closest_marker("timeout")) is None or not 0 < limit.args[0] <= 3600
    ]
    assert unlimited == []


def test_only_tests_among_real_parts_are_tried_again(request: pytest.FixtureRequest) -> None:
    tried_again = {
        one.path.relative_to(request.config.rootpath).parts[1]
        for one in request.session.items
        if one.get_closest_marker("flaky") is not None
    }
    assert tried_again <= {"integration", "acceptance"}
    assert request.config.getoption("reruns") is None
