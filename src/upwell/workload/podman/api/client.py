"""Podman's REST API (libpod 5) as far as we use it.

Every call states what it does to the containers; none of them retries.
"""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import aclosing
from pathlib import Path
from typing import Any

import aiohttp

from upwell.oci import Digest, Reference
from upwell.outbound.registry_faults import without_answer
from upwell.workload.errors import ImagePullError, RuntimeUnavailableError
from upwell.workload.interface import LogQuery
from upwell.workload.podman.api.connection import (
    CHUNK,
    PodmanConnection,
    PodmanLostError,
    PodmanNotFoundError,
    PodmanRefusedError,
    PodmanRequest,
    pieces,
    read_whole,
)
from upwell.workload.podman.api.log_frames import FrameReader
from upwell.workload.podman.api.pull_faults import failed_pull, fault_of_pull
from upwell.workload.podman.api.service import PodmanService
from upwell.workload.podman.api.slow_readers import read_little
from upwell.workload.podman.api.stored_images import digest_names, formerly_named, is_own
from upwell.workload.podman.volumes.mounts import unmount_below

_REQUEST_SECONDS = 60.0
_ANSWER_SECONDS = 1.0
PULL_SECONDS = 3600.0
"""Longest time of one pull."""
_ARCHIVE_SECONDS = 120.0
_START_TIMEOUT = aiohttp.ClientTimeout(total=15 * 60.0)
"""Of a creation or start: the first of a large image changes the owners of all its files."""
_SLOW_START_SECONDS = 10.0
"""A start that takes longer is named where a list of containers is not answered."""
_LIST_TIMEOUT = aiohttp.ClientTimeout(total=20.0)
"""Milliseconds are usual: all work waits for lists, so that one that hangs is told soon."""
_NO_LIMIT = aiohttp.ClientTimeout(total=None)
_MAX_LISTINGS = 20
_MAX_OUTPUT_BYTES = 64 * 1024
_LOG_PIECE = 4 * 1024
"""Of a log: each of its lines is a frame, and others have their turn between pieces."""
_NO_IMAGE = "image not known"
"""Words of containers/storage."""


class PodmanApi:
    """Calls of the service that runs."""

    def __init__(self, service: PodmanService) -> None:
        self._connection = PodmanConnection(service)
        self._starts: dict[str, float] = {}
        """Containers that are being started, with the time at which that began."""

    async def close(self) -> None:
        """Close the connections."""
        await self._connection.close()

    @property
    def service_starts(self) -> int:
        """Number of times that the service was started: what began with an earlier one is cut."""
        return self._connection.service.starts

    async def answers(self) -> bool:
        """Return True if the service answers within a moment."""
        return await self._connection.service.answers(_ANSWER_SECONDS)

    async def containers(self, *labels: str) -> list[dict[str, Any]]:
        """List all containers, running or not, that carry all `labels` (`key=value`)."""
        filters = json.dumps({"label": labels})
        parameters = {"all": "true", "filters": filters}
        call = PodmanRequest("GET", "/containers/json", parameters, timeout=_LIST_TIMEOUT)
        for _ in range(_MAX_LISTINGS):
            # Podman lists names first and looks at each then: a container that is removed in
            # between fails the whole list, which says nothing about the others.
            with contextlib.suppress(PodmanNotFoundError):
                try:
                    return list(await self._connection.json(call) or [])
                except RuntimeUnavailableError as error:
                    if (why := self._slow_start()) and isinstance(error.__cause__, TimeoutError):
                        raise RuntimeUnavailableError(f"{error}: {why}") from error
                    raise
        raise RuntimeUnavailableError("podman: containers vanish faster than they can be listed")

    async def inspect(self, container: str) -> dict[str, Any]:
        """Return all that is known of one container; raises PodmanNotFoundError."""
        return dict(
            await self._connection.json(PodmanRequest("GET", f"/containers/{container}/json"))
        )

    async def create(self, body: Mapping[str, Any]) -> str:
        """Create a container from a SpecGenerator and return its ID; it does not run yet."""
        path = "/containers/create"
        created = await self._connection.json(
            PodmanRequest("POST", path, body=body, timeout=_START_TIMEOUT)
        )
        return str(created["Id"])

    async def start(self, container: str) -> None:
        """Start a container; nothing happens when it runs."""
        path = f"/containers/{container}/start"
        self._starts[container] = asyncio.get_running_loop().time()
        try:
            await self._connection.json(PodmanRequest("POST", path, timeout=_START_TIMEOUT))
        finally:
            self._starts.pop(container, None)

    def _slow_start(self) -> str:
        """Say which start keeps Podman from listing containers; empty: none takes long."""
        now = asyncio.get_running_loop().time()
        container, since = min(self._starts.items(), key=lambda one: one[1], default=("", now))
        seconds = now - since
        if seconds < _SLOW_START_SECONDS:
            return ""
        return f"it has been starting container {container[:12]} for {seconds:.0f} s, and goes on"

    async def stop(self, container: str, grace_seconds: int) -> None:
        """SIGTERM, and SIGKILL after the grace time; returns when it has ended."""
        timeout = aiohttp.ClientTimeout(total=grace_seconds + _REQUEST_SECONDS)
        parameters = {"timeout": str(grace_seconds)}
        path = f"/containers/{container}/stop"
        await self._connection.json(PodmanRequest("POST", path, parameters, timeout=timeout))

    async def remove(self, container: str, *, volumes: bool = True, depend: bool = False) -> None:
        """Remove a container, whatever it does; with `volumes` its anonymous ones too.

        With `depend` those that share its network go too.
        """
        # Documented is "v"; what Podman 5 reads here is "volumes". Named volumes stay.
        with_them = str(volumes).lower()
        parameters = {"force": "true", "v": with_them, "volumes": with_them, "timeout": "0"}
        if depend:
            parameters["depend"] = "true"
        await self._connection.json(PodmanRequest("DELETE", f"/containers/{container}", parameters))

    async def image_exists(self, reference: Reference) -> bool:
        """Return True if the image is in the local storage."""
        try:
            await self.stored_name(reference)
        except PodmanNotFoundError:
            return False
        return True

    async def stored_name(self, reference: Reference) -> str:
        """Return by what Podman finds an image: its name, or its id where another has that now.

        An image of this machine's own that was built anew loses its name. Raises
        PodmanNotFoundError.
        """
        try:
            await self._connection.json(PodmanRequest("GET", f"/images/{reference}/exists"))
        except PodmanNotFoundError:
            if not is_own(reference):
                raise
            filters = json.dumps({"digest": [str(reference.digest)]})
            found = await self._connection.json(
                PodmanRequest("GET", "/images/json", {"filters": filters})
            )
            if not (image := formerly_named(found or [], reference)):
                raise
            return image
        return str(reference)

    async def image_names(self, reference: Reference) -> Sequence[Reference]:
        """Return all names by digest of an image in the local storage; none: it is not there."""
        try:
            document = await self._image(reference)
        except PodmanNotFoundError:
            return []
        return [reference, *digest_names(document)]

    async def _image(self, reference: Reference) -> dict[str, Any]:
        """Return what Podman knows of an image; raises PodmanNotFoundError."""
        name = await self.stored_name(reference) if is_own(reference) else str(reference)
        return dict(await self._connection.json(PodmanRequest("GET", f"/images/{name}/json")))

    async def images(self) -> Sequence[Mapping[str, Any]]:
        """List all images of the storage, but those that builds have left between their steps."""
        return list(await self._connection.json(PodmanRequest("GET", "/images/json")) or [])

    async def remove_image(self, reference: Reference) -> None:
        """Take a name from an image, and with its last name the image.

        No other image goes with it, as one that somebody's build has left would. Raises
        PodmanNotFoundError, or PodmanRefusedError for one that a container has.
        """
        parameters = {"images": str(reference), "noprune": "true"}
        answer = await self._connection.json(PodmanRequest("DELETE", "/images/remove", parameters))
        if faults := "; ".join(map(str, answer.get("Errors") or ())):
            if _NO_IMAGE in faults:
                raise PodmanNotFoundError(faults)
            raise PodmanRefusedError(f"podman: {faults}")

    async def image_digest(self, reference: Reference) -> Digest | None:
        """Return the digest of an image in the local storage; None: it is not there."""
        try:
            document = await self._image(reference)
        except PodmanNotFoundError:
            return None
        return Digest.parse(str(document.get("Digest") or ""))

    async def image_volumes(self, reference: Reference) -> Sequence[str]:
        """Return the paths at which an image declares volumes; raises PodmanNotFoundError."""
        document = await self._image(reference)
        return tuple((document.get("Config") or {}).get("Volumes") or {})

    async def image_user(self, reference: Reference) -> str:
        """Return the user that an image runs as, `user[:group]`; empty: root.

        Raises PodmanNotFoundError.
        """
        document = await self._image(reference)
        return str((document.get("Config") or {}).get("User") or "")

    async def shifts_layers(self) -> bool:
        """Return True if images are shown under other ids, instead of copied for them."""
        store = (await self._connection.json(PodmanRequest("GET", "/info"))).get("store") or {}
        return (store.get("graphStatus") or {}).get("Supports shifting") == "true"

    async def create_volume(self, name: str, folder: Path, labels: Mapping[str, str]) -> None:
        """Create a volume that shows a folder; nothing happens when it exists."""
        body = {
            "Name": name,
            "Driver": "local",
            "Options": {"type": "none", "o": "bind", "device": str(folder)},
            "Label": dict(labels),
            "IgnoreIfExists": True,
        }
        await self._connection.json(PodmanRequest("POST", "/volumes/create", body=body))

    async def prepare_once(self, body: Mapping[str, Any]) -> None:
        """Make a container with its volumes, and remove it; its program never runs."""
        with contextlib.suppress(PodmanNotFoundError):
            await self.remove(body["name"], volumes=False)  # of a call that was cut short
        container = await self.create(body)
        try:
            await self._connection.json(PodmanRequest("POST", f"/containers/{container}/init"))
        finally:
            await asyncio.shield(self.remove(container, volumes=False))

    async def remove_volume(self, name: str) -> None:
        """Remove a volume, and nothing of a folder that it shows, if it exists.

        What is still mounted there is unmounted before, as Podman would remove its files too.
        Raises RuntimeUnavailableError if it is used, or shows a folder all the same.
        """
        with contextlib.suppress(PodmanNotFoundError):
            found = await self._connection.json(PodmanRequest("GET", f"/volumes/{name}/json"))
            if not found.get("MountCount"):
                try:
                    await asyncio.to_thread(unmount_below, Path(found["Mountpoint"]))
                except OSError as error:
                    raise RuntimeUnavailableError(f"volume {name} not removed: {error}") from error
            await self._connection.json(PodmanRequest("DELETE", f"/volumes/{name}"))

    async def volumes(self, label: str) -> list[str]:
        """Return the names of the volumes that carry a label (`key=value`)."""
        filters = json.dumps({"label": [label]})
        found = await self._connection.json(
            PodmanRequest("GET", "/volumes/json", {"filters": filters})
        )
        return [str(one["Name"]) for one in found or []]

    async def pull(
        self, reference: Reference, login: tuple[str, str] | None, *, insecure: bool
    ) -> None:
        """Pull an image; `login` is (username, password). Raises ImagePullError.

        The registry is asked even if the image is here: whether it gives it to this login. Podman
        says something when a layer begins, and no more until it is there: silence means nothing.
        """
        # One layer retries, and it is not this one.
        parameters = {"reference": str(reference), "policy": "always", "retry": "0"}
        if insecure:
            parameters["tlsVerify"] = "false"
        headers = {}
        if login is not None:
            # In a header, over a socket that only we can open: no file, no command line.
            account = json.dumps({"username": login[0], "password": login[1]})
            headers["X-Registry-Auth"] = base64.urlsafe_b64encode(account.encode()).decode()
        timeout = aiohttp.ClientTimeout(total=PULL_SECONDS)
        call = PodmanRequest("POST", "/images/pull", parameters, headers=headers, timeout=timeout)
        try:
            async with self._connection.open(call) as response:
                fault = fault_of_pull(await read_whole(response))
        except (RuntimeUnavailableError, PodmanNotFoundError) as error:
            raise ImagePullError(
                f"cannot pull {reference}: {without_answer(str(error))}",
                interrupted=isinstance(error, PodmanLostError),
            ) from error
        if fault:
            raise failed_pull(reference, fault)

    async def network_exists(self, name: str) -> bool:
        """Return True if Podman has a network of that name."""
        try:
            await self._connection.json(PodmanRequest("GET", f"/networks/{name}/exists"))
        except PodmanNotFoundError:
            return False
        return True

    async def create_network(self, body: Mapping[str, Any]) -> None:
        """Create a network; raises RuntimeUnavailableError, also when its subnet is taken."""
        await self._connection.json(PodmanRequest("POST", "/networks/create", body=body))

    async def network(self, name: str) -> tuple[str, str]:
        """Return the interface and the first subnet of a network; raises PodmanNotFoundError."""
        document = await self._connection.json(PodmanRequest("GET", f"/networks/{name}/json"))
        return str(document["network_interface"]), str(document["subnets"][0]["subnet"])

    async def networks(self, label: str) -> list[dict[str, Any]]:
        """List the networks that carry `label`."""
        parameters = {"filters": json.dumps({"label": [label]})}
        return list(
            await self._connection.json(PodmanRequest("GET", "/networks/json", parameters)) or []
        )

    async def unused_volumes(self) -> list[dict[str, Any]]:
        """List the volumes that no container has."""
        parameters = {"filters": json.dumps({"dangling": ["true"]})}
        return list(
            await self._connection.json(PodmanRequest("GET", "/volumes/json", parameters)) or []
        )

    async def remove_network(self, name: str) -> None:
        """Remove the network, if it exists."""
        with contextlib.suppress(PodmanNotFoundError):
            await self._connection.json(PodmanRequest("DELETE", f"/networks/{name}"))

    async def run_session(self, session: str) -> tuple[int, bytes]:
        """Run a session's command; returns its exit code and the start of its output."""
        start = PodmanRequest("POST", f"{session}/start", body={"Detach": False, "Tty": False})
        async with self._connection.open(start) as response:
            # To its end: a command that has written something has not ended yet.
            output = b"".join([piece async for piece in _first_pieces(response)])
        return await self.exit_code(session), output

    async def prepare(self, container: str, body: Mapping[str, Any]) -> str:
        """Make a session for a command; return its path. Raises PodmanNotFoundError."""
        created = await self._connection.json(
            PodmanRequest("POST", f"/containers/{container}/exec", body=body)
        )
        return f"/exec/{created['Id']}"

    async def converse(
        self, session: str, body: Mapping[str, Any]
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Start a session's command on a connection that becomes its input and output."""
        return await self._connection.hijack(f"{session}/start", body)

    async def attach(
        self, container: str, *, stdin: bool
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Make a connection the input and output of a container's own process, from now on."""
        query = f"stream=true&stdout=true&stderr=true&stdin={str(stdin).lower()}"
        return await self._connection.hijack(f"/containers/{container}/attach?{query}", None)

    async def resize(self, session: str, columns: int, rows: int) -> None:
        """Give a session's terminal another size."""
        parameters = {"w": str(columns), "h": str(rows)}
        await self._connection.json(PodmanRequest("POST", f"{session}/resize", parameters))

    async def exit_code(self, session: str) -> int:
        """Return the exit code of a session's command, which has ended."""
        state = await self.session_state(session)
        if state["Running"]:
            raise RuntimeUnavailableError("podman closed the output of a command that runs")
        code = int(state["ExitCode"])
        if code < 0:
            raise RuntimeUnavailableError("podman does not know how a command ended")
        return code

    async def logs(self, container: str, wanted: LogQuery) -> AsyncIterator[bytes]:
        """Yield what the container wrote, standard output and error as one stream."""
        parameters = {
            "stdout": "true",
            "stderr": "true",
            "follow": str(wanted.follow).lower(),
            "timestamps": str(wanted.timestamps).lower(),
        }
        if wanted.tail is not None:
            parameters["tail"] = str(wanted.tail)
        if wanted.since is not None:
            parameters["since"] = wanted.since.isoformat()
        path = f"/containers/{container}/logs"
        frames = FrameReader()
        async with self._connection.open(
            PodmanRequest("GET", path, parameters, timeout=_NO_LIMIT, ahead=_LOG_PIECE)
        ) as response:
            read_little(response.connection and response.connection.transport, _LOG_PIECE)
            async with aclosing(pieces(response, _LOG_PIECE)) as chunks:
                async for chunk in chunks:
                    if payloads := frames.feed(chunk):  # a line each
                        yield b"".join(payloads)
            response.close()  # its connection is a stream's, and of no further use

    async def archive(self, container: str, path: str) -> AsyncGenerator[bytes]:
        """Yield a tar of a file or folder, running or not; raises PodmanNotFoundError."""
        timeout = aiohttp.ClientTimeout(total=_ARCHIVE_SECONDS)
        call = PodmanRequest(
            "GET", f"/containers/{container}/archive", {"path": path}, timeout=timeout
        )
        async with (
            self._connection.open(call) as response,
            aclosing(pieces(response, CHUNK)) as chunks,
        ):
            async for chunk in chunks:
                yield chunk

    async def events(self, label: str) -> AsyncIterator[None]:
        """Yield once the stream is open, and whenever a container starts, ends or is removed."""
        wanted = {"label": [label], "event": ["start", "died", "remove"]}
        parameters = {"stream": "true", "filters": json.dumps(wanted)}
        async with self._connection.open(
            PodmanRequest("GET", "/events", parameters, timeout=_NO_LIMIT)
        ) as response:
            yield
            async for _ in response.content.iter_any():
                yield

    async def session_state(self, session: str) -> Mapping[str, Any]:
        """Return a session as Podman describes it. Raises PodmanNotFoundError."""
        found: Mapping[str, Any] = await self._connection.json(
            PodmanRequest("GET", f"{session}/json")
        )
        return found

    async def remove_session(self, session: str, *, by_force: bool = False) -> None:
        """Forget a session; by force, its first process is ended before.

        Raises PodmanNotFoundError, or PodmanRefusedError for one that runs.
        """
        body = {"Force": by_force}
        await self._connection.json(PodmanRequest("POST", f"{session}/remove", body=body))


async def _first_pieces(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the start of framed output, and read on to its end."""
    frames, size = FrameReader(), 0
    async for chunk in response.content.iter_chunked(CHUNK):
        for payload in frames.feed(chunk):
            if size < _MAX_OUTPUT_BYTES:
                yield payload[: _MAX_OUTPUT_BYTES - size]
            size += len(payload)
