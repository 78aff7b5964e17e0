"""Second tries of tests that have failed: they meet all fixtures of modules and sessions again."""

import pytest


def is_tried_again(request: pytest.FixtureRequest) -> bool:
    """Tell whether an earlier try of the test has failed, in this run (pytest-rerunfailures).

    For what is dear to clear away after each test, and in nobody's way but the same test's.
    """
    return getattr(request.node, "execution_count", 1) > 1
