"""Pulls by the policy: Podman is sent to no registry but in a network whose every way is judged.

Podman's service itself has the machine's network, which containers need: it pulls from registries
that the administrator trusts alone. For all others a Podman of its own, with the same storage, runs
in a network in which redirects, token servers and names that have moved lead by the policy too.
"""

import asyncio
import base64
import json
import os
import secrets
from collections.abc import Sequence
from pathlib import Path

from upwell.machine.folder import PrivateFolder
from upwell.machine.process import ChildCommand, Launcher, ProcessResult
from upwell.machine.tasks import side_by_side
from upwell.oci import Reference
from upwell.outbound.child_network import ChildNetwork, child_network
from upwell.outbound.image_registries import ImageRegistries, RegistryLookupError, is_behind_proxy
from upwell.outbound.registry_network import RegistryNetwork
from upwell.outbound.socks import SocksServer
from upwell.workload.errors import ImagePullError
from upwell.workload.podman.api.client import PULL_SECONDS
from upwell.workload.podman.api.pull_faults import failed_pull
from upwell.workload.podman.api.service import PodmanSettings
from upwell.workload.podman.api.temporary import ServiceTemporary
from upwell.workload.podman.images.pulls import ImageApi

PULL_SILENCE_SECONDS = 300.0
"""Longest time in which nothing comes of a pull."""
_LOOK_SECONDS = 1.0
_LEAST_BYTES = 300 * 1024
"""Has to come in PULL_SILENCE_SECONDS while there are connections."""


class JudgedPulls:
    """Images of Podman's storage: whether they are there, and how they get there."""

    def __init__(self, settings: PodmanSettings, api: ImageApi) -> None:
        self._settings = settings
        self._api = api
        self._launcher = Launcher(f"{settings.instance_id}-pulls")
        self._folder = settings.data_dir.absolute() / "pulls"
        self._pieces = ServiceTemporary(settings.temporary_root)

    def recover(self) -> None:
        """Remove what pulls of a killed process have left."""
        PrivateFolder(self._folder).remove()

    async def image_exists(self, reference: Reference) -> bool:
        """Return True if the image is in the local storage."""
        return await self._api.image_exists(reference)

    async def image_names(self, reference: Reference) -> Sequence[Reference]:
        """Return all names by digest of an image in the local storage; none: it is not there."""
        return await self._api.image_names(reference)

    async def pull(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        """Pull an image; `login` is (username, password). Raises ImagePullError.

        A pull ends when the disk gets full meanwhile: a layer may be endless. One that is asked for
        on a full disk (a person rolls back) goes on.
        """
        try:
            await self._pull_while_room(reference, login, insecure=insecure)
        except ImagePullError as error:
            registries = self._settings.registries
            if not error.unanswered or registries is None:
                raise
            if await registries.anything_answers(reference, insecure=insecure):
                raise ImagePullError(str(error), refused=True) from error
            raise

    async def _pull_while_room(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        if self._settings.pressure():
            await self._pull(reference, login, insecure=insecure)
            return
        async with side_by_side() as group:
            watch = group.create_task(self._end_when_full(reference))
            await self._pull(reference, login, insecure=insecure)
            watch.cancel()

    async def _end_when_full(self, reference: Reference) -> None:
        while not (why := self._settings.pressure()):  # noqa: ASYNC110 - no event
            await asyncio.sleep(_LOOK_SECONDS)
        raise ImagePullError(f"cannot pull {reference} now: {why}")

    async def _pull(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        registries = self._settings.registries
        if registries is None or await _is_trusted(registries, reference, insecure=insecure):
            async with side_by_side() as group:
                watch = group.create_task(self._end_when_silent(reference))
                await self._api.pull(reference, login, insecure=insecure)
                watch.cancel()
            return
        folder = PrivateFolder(self._folder / secrets.token_hex(8))
        async with child_network(registries.dialer) as child:
            try:
                await asyncio.to_thread(folder.create)
                login_file = await asyncio.to_thread(_write_login, folder, reference, login)
                argv = (
                    *self._settings.command(),
                    *("pull", "--quiet", "--retry=0", f"--authfile={login_file}"),
                    f"--tls-verify={str(not insecure).lower()}",
                    str(reference),
                )
                outcome = await self._run(argv, child, folder.path)
            except OSError as error:
                raise ImagePullError(f"cannot pull {reference}: {error}") from error
            finally:
                await asyncio.to_thread(folder.remove)
            if outcome.code < 0:
                message = f"cannot pull {reference}: podman was killed by signal {-outcome.code}"
                raise ImagePullError(message, interrupted=True)
            if outcome.code != 0:
                unanswered = not child.refusal and not child.server.received_bytes
                said = child.refusal or outcome.last_line
                raise failed_pull(reference, said, unanswered=unanswered)

    async def _end_when_silent(self, reference: Reference) -> None:
        """Raise ImagePullError when no pull of Podman's service brings anything any more."""
        clock = asyncio.get_running_loop().time
        since, before = clock(), 0
        while clock() - since < PULL_SILENCE_SECONDS:
            await asyncio.sleep(min(_LOOK_SECONDS, PULL_SILENCE_SECONDS))
            size = await asyncio.to_thread(self._pieces.size)
            if size != before:
                since, before = clock(), size
        said = f"nothing has come for {PULL_SILENCE_SECONDS:g} s"
        raise ImagePullError(f"cannot pull {reference}: {said}")

    async def _run(self, argv: tuple[str, ...], child: ChildNetwork, folder: Path) -> ProcessResult:
        # Large pieces of layers lie in the folder, which goes with the pull.
        environment = {**os.environ, **self._settings.variables(), "TMPDIR": str(folder)}
        command = RegistryNetwork(child).enter(ChildCommand(argv, environment, folder))
        try:
            async with asyncio.timeout(PULL_SECONDS), side_by_side() as group:
                watch = group.create_task(_end_when_slow(child.server))
                outcome = await self._launcher.run(command, lambda _: None)
                watch.cancel()
                return outcome
        except TimeoutError as error:
            raise OSError(f"it took more than {PULL_SECONDS:g} s") from error


async def _end_when_slow(server: SocksServer) -> None:
    """Raise OSError when the registry keeps its connections, and sends next to nothing."""
    clock = asyncio.get_running_loop().time
    since, before = clock(), server.received_bytes
    while clock() - since < PULL_SILENCE_SECONDS:
        await asyncio.sleep(min(_LOOK_SECONDS, PULL_SILENCE_SECONDS))
        if not server.connections or server.received_bytes - before >= _LEAST_BYTES:
            since, before = clock(), server.received_bytes
    sent = server.received_bytes - before
    said = f"only {sent} bytes" if sent else "nothing"
    raise OSError(f"the registry has sent {said} for {PULL_SILENCE_SECONDS:g} s")


async def _is_trusted(registries: ImageRegistries, image: Reference, *, insecure: bool) -> bool:
    """Return True if Podman's service itself may ask; raises ImagePullError for a forbidden place.

    It does by the proxy that the administrator has set for it, too: what that reaches is theirs to
    say.
    """
    try:
        trusted = await registries.judge(image, insecure=insecure)
    except OSError as error:
        unanswered = isinstance(error, RegistryLookupError)
        raise ImagePullError(f"cannot pull {image}: {error}", unanswered=unanswered) from error
    return trusted or is_behind_proxy()


def _write_login(folder: PrivateFolder, image: Reference, login: tuple[str, str] | None) -> Path:
    """Write a file that says how to log in (containers-auth.json(5)); nobody else's logins."""
    known = {}
    if login is not None:
        account = base64.b64encode(":".join(login).encode()).decode()
        known[image.registry] = {"auth": account}
    return folder.write("auth.json", json.dumps({"auths": known}))
