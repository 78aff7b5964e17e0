"""exec and port-forward: what they ask the server for, and what comes back."""

import asyncio
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.installation.installation import until
from tests.unit.cli.conftest import ScriptedConversation

from upwell.api.apps import Deployment
from upwell.cli.core.errors import CommandError
from upwell.cli.workloads.forward_targets import target_of
from upwell.cli.workloads.port_forward import _forwarding, _listen, _ports
from upwell.store.interface import UnavailableError

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

FAILED = {"status": "Failure", "message": "it broke", "details": {"causes": []}}


def ended(code: int) -> bytes:
    """The last message of a command."""
    causes = [{"reason": "ExitCode", "message": str(code)}]
    status = {"status": "Failure", "message": f"exit code {code}", "details": {"causes": causes}}
    return b"\x03" + json.dumps(status if code else {"status": "Success"}).encode()


def test_exec_prints_the_output_and_ends_as_the_command(
    upwell: Upwell, client: "FakeClient"
) -> None:
    said = (b"\x01", b"\x01rows: ", b"\x02no such table\n", b"\x010\n", ended(3))
    client.conversations["deployments/shop/exec"] = ScriptedConversation(*said)

    result = upwell("exec", "deploy/shop", "-c", "db", "--", "psql", "-c", "select 1")

    assert (result.stdout, result.stderr) == ("rows: 0\n", "no such table\n")
    assert result.exit_code == 3
    wanted = [("command", "psql"), ("command", "-c"), ("command", "select 1")]
    wanted += [("stdout", "true"), ("stderr", "true"), ("container", "db")]
    assert client.calls[-1] == ("v5.channel.k8s.io", "deployments/shop/exec", wanted)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (
            ("bash",),
            "has no program 'bash': try `upwell exec deployment/shop -- sh`; `upwell debug",
        ),
        (("sh",), "has no program 'sh': `upwell debug deployment/shop --image=debian` brings"),
        (("psql", "-l"), "has no program 'psql'"),
        (("sh", "-c", "none"), ""),
    ],
)
def test_exec_says_what_to_do_without_a_program(
    upwell: Upwell, client: "FakeClient", command: tuple[str, ...], told: str
) -> None:
    client.conversations["deployments/shop/exec"] = ScriptedConversation(b"\x02why\n", ended(127))
    result = upwell("exec", "deploy/shop", "--", *command)
    assert result.exit_code == 127
    assert told in result.stderr
    assert ("error" in result.stderr) is bool(told)


def test_exec_in_a_pod_goes_on_without_a_terminal(upwell: Upwell, client: "FakeClient") -> None:
    client.conversations["pods/shop-1/exec"] = ScriptedConversation(b"\x01ok\n", ended(0))

    result = upwell("exec", "-t", "pod/shop-1", "--", "id")

    assert (result.stdout, result.exit_code) == ("ok\n", 0)
    assert "ignoring -t" in result.stderr
    assert ("tty", "true") not in client.calls[-1][2]


@pytest.mark.parametrize(
    ("said", "code", "text"),
    [
        ((b"\x03" + json.dumps(FAILED).encode(),), 1, "it broke"),
        ((b"\x01begin\n",), 4, "before the command ended"),
    ],
)
def test_exec_says_when_there_is_no_exit_code(
    upwell: Upwell, client: "FakeClient", said: tuple[bytes, ...], code: int, text: str
) -> None:
    client.conversations["deployments/shop/exec"] = ScriptedConversation(*said)
    result = upwell("exec", "deploy/shop", "--", "id")
    assert result.exit_code == code
    assert text in result.stderr


def test_a_server_that_stops_under_a_command_is_told(upwell: Upwell, client: "FakeClient") -> None:
    said = (b"\x01half", UnavailableError("the server stopped"))
    client.conversations["deployments/shop/exec"] = ScriptedConversation(*said)

    result = upwell("exec", "deploy/shop", "--", "cat", "/rows")

    assert result.stderr == "error: the server stopped before the command ended\n"
    assert result.exit_code == 4


def test_what_has_no_containers_is_a_usage_error(upwell: Upwell) -> None:
    assert upwell("exec", "is/shop", "--", "id").exit_code == 2
    assert upwell("port-forward", "is/shop", "8080").exit_code == 2


@pytest.mark.parametrize("ports", ["web", "1:2:3", "70000", "-1", ":", "8080:0"])
def test_ports_that_are_none_are_refused(upwell: Upwell, ports: str) -> None:
    assert upwell("port-forward", "deploy/shop", "--", ports).exit_code == 2


def test_a_port_out_of_range_is_told_the_range(upwell: Upwell) -> None:
    result = upwell("port-forward", "deploy/shop", "8080:99999")
    assert result.exit_code == 2
    assert "'8080:99999' is not [[LOCAL]:]REMOTE: a port is 1 to 65535" in result.stderr


def test_one_port_stands_for_both_and_an_empty_one_is_chosen() -> None:
    assert _ports("8080") == (8080, 8080)
    assert _ports("9000:80") == (9000, 80)
    assert _ports(":80") == (0, 80)


def test_what_is_not_there_is_said_before_anything_listens(upwell: Upwell) -> None:
    result = upwell("port-forward", "deploy/shop", "8080")
    assert result.exit_code == 3
    assert '"shop" not found' in result.stderr


POD: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "gate-1", "namespace": "default", "labels": {"app": "shop"}},
    "spec": {
        "containers": [
            {"name": "gate", "image": "gate", "ports": [{"name": "web", "containerPort": 8080}]}
        ]
    },
}
READY = {"phase": "Running", "conditions": [{"type": "Ready", "status": "True"}]}


def service(selector: dict[str, str], *ports: dict[str, Any]) -> dict[str, Any]:
    metadata = {"name": "shop", "namespace": "default"}
    spec = {"selector": selector, "ports": list(ports)}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


@pytest.mark.parametrize(("target", "number"), [("web", "8080"), (9000, "9000"), (None, "80")])
async def test_a_port_of_a_service_leads_to_a_ready_pod(
    client: "FakeClient", target: str | int | None, number: str
) -> None:
    waiting = {**POD, "metadata": {**POD["metadata"], "name": "gate-0"}}
    other = {**POD, "metadata": {"name": "other", "namespace": "default"}}
    for pod, status in ((waiting, {"phase": "Running"}), (POD, READY), (other, READY)):
        await client.put({**pod, "status": status})
    port = {"port": 80} if target is None else {"port": 80, "targetPort": target}
    await client.put(service({"app": "shop"}, {"port": 81, "name": "other"}, port | {"name": "a"}))
    client.conversations["pods/gate-1/portforward"] = ScriptedConversation()

    async with await target_of("svc/shop", "default").converse(client, 80):
        assert client.calls[-1][1:] == ("pods/gate-1/portforward", [("ports", number)])


@pytest.mark.parametrize(
    ("selector", "port", "why"),
    [
        ({"app": "shop"}, "81", "does not have a service port 81; it has 80"),
        ({"app": "shop"}, "80", "pod/gate-1 has no port 'none'"),
        ({"app": "none"}, "80", "no pod of service/shop runs: see `upwell get pods -n default`"),
        ({}, "80", "has no selector"),
    ],
)
def test_a_service_that_leads_nowhere_is_told(
    upwell: Upwell, client: "FakeClient", selector: dict[str, str], port: str, why: str
) -> None:
    asyncio.run(client.put({**POD, "status": READY}))
    asyncio.run(client.put(service(selector, {"port": 80, "targetPort": "none"})))
    result = upwell("port-forward", "service/shop", port)
    assert (result.exit_code, why in result.stderr) == (1, True), result.stderr


def test_a_name_alone_is_a_pods(upwell: Upwell, client: "FakeClient") -> None:
    client.conversations["pods/gate-1/exec"] = ScriptedConversation(b"\x01ok\n", ended(0))
    assert upwell("exec", "gate-1", "--", "id").stdout == "ok\n"
    assert 'pods "gate-1" not found' in upwell("logs", "gate-1").stderr
    assert upwell("port-forward", "gate-1", "8080").exit_code == 3
    assert client.calls[-1][1:] == ("pods/gate-1/portforward", [("ports", "8080")])


async def test_a_connection_is_led_there_and_back_to_its_end(client: "FakeClient") -> None:
    said = (b"\x00\x90\x1f", b"\x01\x90\x1f", b"\x00good ", b"\x00day", b"\xff\x00")
    conversation = ScriptedConversation(*said, after=2)
    client.conversations["deployments/shop/portforward"] = conversation
    place = target_of("deploy/shop", "default", "shop-2")
    serve = _forwarding(client, place, 8080)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        local = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        writer.write(b"hello")
        writer.write_eof()
        assert await reader.read() == b"good day"
        writer.close()
    assert conversation.heard == [b"\x00hello", b"\xff\x00"]
    params = [("ports", "8080"), ("instance", "shop-2")]
    assert client.calls[-1] == ("v5.channel.k8s.io", "deployments/shop/portforward", params)


@pytest.mark.parametrize(
    ("fault", "told"),
    [(b"\x01nothing listens", "nothing listens"), (UnavailableError("it stopped"), "it stopped")],
)
async def test_what_goes_wrong_there_resets_the_connection_and_is_told(
    client: "FakeClient",
    capsys: pytest.CaptureFixture[str],
    fault: bytes | Exception,
    told: str,
) -> None:
    said = (b"\x00\x90\x1f", b"\x01\x90\x1f", fault)
    client.conversations["deployments/shop/portforward"] = ScriptedConversation(*said)
    serve = _forwarding(client, target_of("deploy/shop", "default"), 8080)
    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        local = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", local)
        with pytest.raises(ConnectionResetError):  # what came is not taken for the whole
            await reader.read()
        writer.close()
    assert f"lost a forwarded connection to port 8080: {told}" in capsys.readouterr().err


async def test_a_target_that_is_deleted_ends_the_forwarding(
    fixed: "FakeClient", capsys: pytest.CaptureFixture[str]
) -> None:
    target = target_of("deploy/shop", "default")
    async with asyncio.timeout(60):
        listening = asyncio.create_task(_listen(fixed, target, [(0, 8080)]))

        async def listens() -> str:
            return capsys.readouterr().out

        await until(listens, lambda said: "forwarding from" in said)
        await fixed.delete(Deployment, "default", "shop")
        with pytest.raises(CommandError, match="deployment/shop was deleted"):
            await listening
