"""logs: the objects it takes, and the ones it refuses."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import pytest
from tests.unit.cli.conftest import FakeClient

from upwell.api.apps import Deployment
from upwell.api.builds.build import Build
from upwell.api.codec import decode_as
from upwell.api.meta import Resource
from upwell.cli.builds.logs import write_log
from upwell.cli.core import waiting
from upwell.store.interface import UnavailableError

if TYPE_CHECKING:
    from click.testing import Result


type Upwell = Callable[..., "Result"]


@pytest.fixture(autouse=True)
def _objects(fixed: FakeClient) -> None:
    """Every test here reads the risen fix."""


def test_logs_of_a_build_config_are_those_of_its_latest_build(
    upwell: Upwell, client: FakeClient
) -> None:
    client.logs["shop-2"] = b"step 1\nstep 2\n"

    result = upwell("logs", "bc/shop", "--tail", "2")

    assert result.stdout == "step 1\nstep 2\n"
    assert client.calls[-1] == ("STREAM", "builds/shop-2/log", {"tailLines": "2"})


def test_logs_of_a_kind_without_logs_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("logs", "is/debian").exit_code == 2


def named(kind: type[Resource]) -> Resource:
    return decode_as(kind, {"metadata": {"name": "a", "namespace": "default"}})


@pytest.mark.parametrize(
    ("kind", "tail", "again", "resumed"),
    [
        (Deployment, {}, b"two\n", {"sinceSeconds": "1"}),
        (Deployment, {"tailLines": "1"}, b"two\n", {"sinceSeconds": "1"}),
        (Build, {}, b"one\ntwo\n", {}),
        (Build, {"tailLines": "1"}, b"two\n", {"tailLines": "0"}),
    ],
)
async def test_a_followed_log_goes_on_after_a_restart_of_the_server(
    client: FakeClient,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    kind: type[Resource],
    tail: Mapping[str, str],
    again: bytes,
    resumed: Mapping[str, str],
) -> None:
    monkeypatch.setattr(waiting, "_PAUSE", 0)
    client.logs["a"], client.broken_logs["a"] = b"one\n", again

    await write_log(client, await client.create(named(kind)), {"follow": "true", **tail})

    first, second = [params for method, _, params in client.calls if method == "STREAM"]
    assert first == {"follow": "true", **tail}
    assert second == {"follow": "true", **resumed}
    said = capsys.readouterr()
    assert said.out == "one\ntwo\n"
    assert "lost the connection to the server" in said.err


async def test_a_log_that_is_not_followed_breaks_with_its_server(client: FakeClient) -> None:
    client.logs["a"], client.broken_logs["a"] = b"one\n", b"two\n"
    with pytest.raises(UnavailableError):
        await write_log(client, named(Deployment), {})
