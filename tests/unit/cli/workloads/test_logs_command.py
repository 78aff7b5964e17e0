"""logs: the objects it takes, and the ones it refuses."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient


type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
def _objects(fixed: "FakeClient") -> None:
    """Every test here reads the risen fix."""


def test_logs_of_a_build_config_are_those_of_its_latest_build(
    upwell: Upwell, client: "FakeClient"
) -> None:
    client.logs["shop-2"] = b"step 1\nstep 2\n"

    result = upwell("logs", "bc/shop", "--tail", "2")

    assert result.stdout == "step 1\nstep 2\n"
    assert client.calls[-1] == ("STREAM", "builds/shop-2/log", {"tailLines": "2"})


def test_logs_of_a_kind_without_logs_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("logs", "is/debian").exit_code == 2
