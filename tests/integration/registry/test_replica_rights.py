"""Rights of the server's login to what replicas share, told before somebody needs them."""

import asyncio
import base64
import json
from pathlib import Path

from tests.support.registry.docker_registry import ALICE, HTPASSWD, docker_registry

from upwell.app.registries.replica_rights import watch_replica_rights
from upwell.machine.components import Components
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.credential_helpers import CredentialHelpers
from upwell.registry.credentials import AuthFile


async def test_a_login_that_may_not_push_is_told_until_it_may(tmp_path: Path) -> None:
    (tmp_path / "htpasswd").write_text(HTPASSWD)
    auth = {"htpasswd": {"realm": "test", "path": str(tmp_path / "htpasswd")}}
    component = Components().add("shared-content", required=False)
    pauses: list[float] = []
    messages: list[str] = []
    ended = asyncio.Event()
    async with docker_registry(tmp_path, auth) as host:
        logins = AuthFile(tmp_path / "auth.json", CredentialHelpers())

        async def granted(seconds: float) -> None:
            pauses.append(seconds)
            messages.append(component.state.message)
            if len(pauses) == 2:
                ended.set()
                await asyncio.Event().wait()
            login = base64.b64encode(":".join(ALICE).encode()).decode()
            document = {"auths": {host: {"auth": login}}}
            (tmp_path / "auth.json").write_text(json.dumps(document))

        async with RegistryClient(unrestricted(), credentials=logins) as client:
            pusher = RegistryPusher(client.connection)
            watching = watch_replica_rights(pusher, f"{host}/ours", "upwell", component, granted)
            async with asyncio.timeout(60), asyncio.TaskGroup() as group:
                task = group.create_task(watching)
                await ended.wait()
                task.cancel()
        refused, allowed = messages
        assert refused.startswith(f"{host}/ours/upwell.uploads/upwell refused our credentials")
        assert f"push to {host}/ours/upwell.uploads/*, {host}/ours/upwell.evidence/*" in refused
        assert f"{host}/ours/upwell.logs/*" in refused
        assert refused.endswith(f"{host}/ours/upwell.audit")
        assert "uploads for builds are refused" in refused
        assert (allowed, component.state.reported) == ("", True)
        assert pauses == [60.0, 3600.0]
    stored = {one.name for one in (tmp_path / "data").rglob("*") if one.is_file()}
    assert not stored & {"data", "link"}, "what was tried is given up"


async def test_a_registry_that_is_away_is_no_matter_of_rights(tmp_path: Path) -> None:
    async with docker_registry(tmp_path) as host:
        pass
    component = Components().add("shared-content", required=False)
    tried = asyncio.Event()

    async def pause(seconds: float) -> None:
        assert seconds == 60
        tried.set()
        await asyncio.Event().wait()

    async with RegistryClient(unrestricted()) as client:
        pusher = RegistryPusher(client.connection)
        watching = watch_replica_rights(pusher, f"{host}/ours", "upwell", component, pause)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            task = group.create_task(watching)
            await tried.wait()
            task.cancel()
    assert (component.state.faulty, component.state.reason) == (True, "ContentNotShared")
    assert "until it answers" in component.state.message
    assert "login" not in component.state.message
