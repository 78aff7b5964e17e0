"""Servers on a cluster, each a process of its own: `upwell serve --on kubernetes`."""

import os
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
from tests.support.cli.command_process import ServerProcess, start_upwell
from tests.support.installation.installation import until
from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.namespaces import leave_empty
from tests.support.ports import free_port


@dataclass
class ServerReplica:
    """A server in a process of its own, which is started again in the same folder."""

    folder: Path
    kubeconfig: Path
    port: int = field(default_factory=free_port)
    _server: ServerProcess | None = None

    def launch(self) -> None:
        self.folder.mkdir(exist_ok=True)
        arguments = [
            *("serve", "--config", str(self.folder.parent / "upwell.toml")),
            *("--data-dir", str(self.folder), "--kubeconfig", str(self.kubeconfig)),
            *("--listen", f"127.0.0.1:{self.port}"),
        ]
        with (self.folder.parent / f"{self.folder.name}.log").open("ab") as log:
            self._server = start_upwell(
                *arguments, output=log, folder=self.folder, environment=dict(os.environ)
            )

    def kill(self) -> None:
        if self._server is not None:
            self._server.kill()
            self._server.wait()
            self._server = None

    def suspend(self) -> None:
        """Stop it where it is (SIGSTOP): it knows nothing of the time until it goes on."""
        assert self._server is not None
        self._server.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        assert self._server is not None
        self._server.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        if self._server is not None:
            self._server.send_signal(signal.SIGTERM)
            self._server.wait()
            self._server = None

    @property
    def pid(self) -> int:
        assert self._server is not None
        return self._server.pid

    async def role(self) -> str:
        """Return what it says of itself; empty while it does not answer."""
        url = f"http://127.0.0.1:{self.port}/readyz?verbose"
        try:
            async with aiohttp.ClientSession() as session, session.get(url) as answer:
                lines = (await answer.text()).splitlines()
        except aiohttp.ClientError:
            return ""
        return next((line for line in lines if line.startswith("[+]role:")), "")

    async def until_it_leads(self) -> None:
        await until(self.role, lambda role: role.startswith("[+]role: leader"))

    async def answer_of(self, path: str) -> str:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{self.port}{path}", headers=self.login()) as answer,
        ):
            return f"{answer.status} {await answer.text()}"

    def login(self) -> dict[str, str]:
        token = (self.folder / "admin.token").read_text().strip()
        return {"Authorization": f"Bearer {token}"}


def external_registry(registry: str) -> str:
    """Return the settings (TOML) of servers whose images lie below `up` of a registry."""
    return f'[external-registry]\nprefix = "{registry}/up"\n'


@asynccontextmanager
async def server_replicas(
    cluster: KitCluster,
    folder: Path,
    namespace: str,
    settings: str = "",
    names: Sequence[str] = ("one", "two"),
) -> AsyncIterator[Sequence[ServerReplica]]:
    """Give servers for one namespace, none of them launched, with `settings` (TOML) in common.

    In the end they are killed, and the namespace is left empty.
    """
    (folder / "upwell.toml").write_text(f"""\
on = "kubernetes"
[kubernetes]
namespaces = ["{namespace}"]
lease-namespace = "{namespace}"
{settings}
""")
    replicas = [ServerReplica(folder / name, cluster.kubeconfig) for name in names]
    try:
        yield replicas
    finally:
        for one in replicas:
            one.kill()
        async with cluster.client() as store:
            await leave_empty(store, namespace)
