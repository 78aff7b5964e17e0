"""start-build, cancel-build and the logs of builds: requests, output and exit codes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient


type Upwell = Callable[..., "Result"]


async def new_build(client: "FakeClient", phase: str, **status: Any) -> None:
    await client.put(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {"name": "shop-9", "namespace": "default"},
            "status": {"phase": phase, **status},
        }
    )


class TestRunningBuild:
    """Commands against a build in some phase."""

    @pytest.fixture
    async def running(self, client: "FakeClient") -> None:
        await new_build(client, "Running")

    @pytest.mark.usefixtures("running")
    def test_cancel_marks_the_build(self, upwell: Upwell, client: "FakeClient") -> None:
        assert upwell("cancel-build", "shop-9").stdout.endswith("shop-9 cancelled\n")
        assert client.calls[-1][1:] == ("builds/shop-9/", {"status": {"cancelled": True}})

    @pytest.mark.usefixtures("running")
    def test_follow_ends_with_the_build(self, upwell: Upwell, client: "FakeClient") -> None:
        client.logs["shop-9"] = b"all of it\n"

        result = upwell("logs", "-f", "build/shop-9")

        assert (result.exit_code, result.stdout) == (0, "all of it\n")


@pytest.mark.usefixtures("fixed")
class TestEndedBuilds:
    """Commands against the builds of a running application."""

    def test_start_build_names_the_build(self, upwell: Upwell, client: "FakeClient") -> None:
        upwell("delete", "build/shop-1", "build/shop-2")

        result = upwell("start-build", "shop", "--env", "LEVEL=debug")

        assert result.stdout == "build.build.openshift.io/shop-1 started\n"
        method, path, request = client.calls[-1]
        assert (method, path) == ("POST", "buildconfigs/shop/instantiate")
        assert request["env"] == [{"name": "LEVEL", "value": "debug"}]

    def test_cancel_build_leaves_an_ended_one_alone(self, upwell: Upwell) -> None:
        result = upwell("cancel-build", "shop-2")

        assert (result.exit_code, result.stdout) == (0, "")
        assert "has ended: Complete" in result.stderr
