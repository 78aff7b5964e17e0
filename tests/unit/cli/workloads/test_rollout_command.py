"""rollout, hold and resume: requests, output and exit codes."""

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.cluster.workloads import complete, with_status_of, workload

from upwell.api.apps import Deployment

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient


type Upwell = Callable[..., "Result"]


@pytest.mark.usefixtures("fixed")
class TestRollout:
    """Verbs of a rollout against the objects of a running application."""

    def test_rollout_status_of_a_complete_one(self, upwell: Upwell) -> None:
        result = upwell("rollout", "status", "deployment/shop")

        assert result.stdout == "deployment.apps/shop: revision 2 is complete, 2 of 2 ready\n"

    @pytest.mark.parametrize("verb", ["rollout status", "describe"])
    async def test_one_that_its_cluster_has_rolled_out_is_complete(
        self, upwell: Upwell, client: "FakeClient", verb: str
    ) -> None:
        made = workload(Deployment)
        name = {"deployment.kubernetes.io/revision": "3"}
        made = made.with_metadata(namespace="default", name="native", annotations=name)
        made = await client.create(made)
        await client.update_status(with_status_of(made, **complete(made)))

        result = await asyncio.to_thread(upwell, *verb.split(), "deployment/native")

        assert "revision 3 is complete, 1 of 1 ready" in result.stdout

    async def test_revisions_and_holds_of_a_clusters_workload_are_kubectls(
        self, upwell: Upwell, client: "FakeClient"
    ) -> None:
        made = workload(Deployment)
        seen = {"deployment.kubernetes.io/revision": "3", "upwell.dev/hold": "audit"}
        made = made.with_metadata(namespace="default", name="native", annotations=seen)
        made = await client.create(made)
        await client.update_status(with_status_of(made, **complete(made)))

        history = await asyncio.to_thread(upwell, "rollout", "history", "deployment/native")
        status = await asyncio.to_thread(upwell, "rollout", "status", "deployment/native")

        place = "deployment/native -n default"
        assert history.exit_code == 1
        assert f"its cluster's: `kubectl rollout history {place}` lists them" in history.stderr
        lifts = f"`kubectl annotate {place} upwell.dev/hold-` lifts the hold"
        assert f"on hold: audit; {lifts}" in status.stderr

    def test_rollout_history_lists_revisions(self, upwell: Upwell) -> None:
        lines = upwell("rollout", "history", "deploy/shop").stdout.splitlines()

        assert [line.split()[:2] for line in lines] == [
            ["REVISION", "PHASE"],
            ["2", "Complete"],
            ["1", "Complete"],
        ]

    def test_rollout_undo_asks_the_server(self, upwell: Upwell, client: "FakeClient") -> None:
        client.answers["deployments/shop/rollback"] = {}

        result = upwell("rollout", "undo", "deploy/shop", "--to-revision=1")

        assert client.calls[-1] == ("POST", "deployments/shop/rollback", {"toRevision": 1})
        assert result.stdout == "deployment.apps/shop rolled back\n"
        assert "rollout resume" in result.stderr

    @pytest.mark.parametrize("way", ["client", "server"])
    def test_a_dry_run_of_undo_asks_for_one(
        self, upwell: Upwell, client: "FakeClient", monkeypatch: pytest.MonkeyPatch, way: str
    ) -> None:
        asked = []

        async def call(*words: Any) -> dict[str, Any]:
            asked.append(words[4:])
            return {}

        monkeypatch.setattr(client, "call", call)
        result = upwell("rollout", "undo", "deploy/shop", f"--dry-run={way}")
        assert asked == [("rollback", {}, {"dryRun": "All"})]
        suffix = " (dry run)" if way == "client" else " (server dry run)"
        assert result.stdout == f"deployment.apps/shop rolled back{suffix}\n"
        assert result.stderr == ""

    def test_pause_and_resume(self, upwell: Upwell, client: "FakeClient") -> None:
        upwell("rollout", "pause", "deploy/shop")
        assert client.calls[-1][2] == {"spec": {"paused": True}}

        assert upwell("rollout", "resume", "deploy/shop").stdout == "deployment.apps/shop resumed\n"
        patch = client.calls[-1][2]
        assert patch["spec"] == {"paused": None}
        lifted = {"upwell.dev/hold": None, "upwell.dev/hold-until": None}
        assert patch["metadata"]["annotations"] == lifted

    def test_a_restart_replaces_instances_unless_it_is_paused(
        self, upwell: Upwell, client: "FakeClient"
    ) -> None:
        assert upwell("rollout", "restart", "deploy/shop").stdout.endswith("/shop restarted\n")
        template = client.calls[-1][2]["spec"]["template"]
        assert "kubectl.kubernetes.io/restartedAt" in template["metadata"]["annotations"]

        upwell("rollout", "pause", "deploy/shop")
        refused = upwell("rollout", "restart", "deploy/shop")
        assert refused.exit_code == 1
        assert "`upwell rollout resume deployment/shop` first" in refused.stderr

    @pytest.mark.parametrize("verb", ["latest", "cancel", "retry"])
    def test_what_only_the_server_does_to_a_rollout(
        self, upwell: Upwell, client: "FakeClient", verb: str
    ) -> None:
        client.answers["deployments/shop/rollout"] = {}

        upwell("rollout", verb, "deploy/shop")

        body = {"verb": verb, "again": False}
        assert client.calls[-1] == ("POST", "deployments/shop/rollout", body)

    def test_a_hold_has_a_reason_and_an_end(self, upwell: Upwell, client: "FakeClient") -> None:
        until = "2026-11-30T09:00+01:00"
        done = upwell("hold", "deploy/shop", "--reason", "Black Friday", "--until", until)

        assert done.stdout == "deployment.apps/shop held\n"
        assert "until `upwell resume deployment/shop`, or 2026-11-30T08:00" in done.stderr
        assert client.calls[-1][2]["metadata"]["annotations"] == {
            "upwell.dev/hold": "Black Friday",
            "upwell.dev/hold-until": "2026-11-30T08:00:00+00:00",
        }
        assert upwell("resume", "deploy/shop").stdout == "deployment.apps/shop resumed\n"
        lifted = {"upwell.dev/hold": None, "upwell.dev/hold-until": None}
        assert client.calls[-1][2]["metadata"]["annotations"] == lifted

    @pytest.mark.parametrize("until", ["tomorrow", "2026-11-30T09:00"])
    def test_the_end_of_a_hold_needs_a_time_and_a_zone(self, upwell: Upwell, until: str) -> None:
        assert upwell("hold", "deploy/shop", "--until", until).exit_code == 2

    def test_rollout_of_something_else_is_a_usage_error(self, upwell: Upwell) -> None:
        assert upwell("rollout", "status", "is/shop").exit_code == 2
