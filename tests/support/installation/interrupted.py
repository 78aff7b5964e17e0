"""Work that is interrupted by kills, over and over, and what is left of it in the end."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.installation.applications import deployment, docker_build, published, stream
from tests.support.installation.installation import Installation, until

from upwell.api.apps import Deployment, Job
from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.store.interface import ApiClient, NotFoundError, StoreError

SERVES = '[/bin/sh, -c, "mkdir -p /www; echo NUMBER > /www/index.html; exec serve"]'
CHECK = """\
apiVersion: batch/v1
kind: Job
metadata: {{name: check-{number}}}
spec:
  template:
    spec:
      restartPolicy: Never
      volumes: [{{name: scratch, emptyDir: {{}}}}]
      containers:
        - name: check
          image: "web:latest"
          command: [/bin/sh, -c, "echo {number} > /scratch/x; sleep {seconds}"]
          volumeMounts: [{{name: scratch, mountPath: /scratch}}]
---
"""
DOCKERFILE = 'FROM base\nRUN echo {number} > /number && sleep 0.3\nCMD ["serve"]\n'
_WORK: Sequence[type[Resource]] = (Job, Deployment)
_KINDS: Sequence[type[Resource]] = (*_WORK, Route, Service, BuildConfig, Build, ImageStream)
_EVERY = 4
"""Rounds of which one has a build."""
_FIRST_KILL, _SECOND_KILL = 2.0, 3.0
"""Seconds within which the kills fall: into the work, and into the start after it."""
_SECONDS = 300.0


@dataclass
class InterruptedWork:
    """Rounds of a check, a rollout and now and then a build, each killed twice."""

    made: Installation
    chance: random.Random
    rounds: int = 0
    longest: float = 0.0

    async def round(self) -> None:
        """Begin something of everything, kill the server in it, and again while it starts."""
        self.rounds += 1
        number = self.rounds
        async with self.made.client() as client:
            await self._begin(client, number)
            await asyncio.sleep(self.chance.uniform(0, _FIRST_KILL))
        self.made.kill()
        self.made.launch()
        await asyncio.sleep(self.chance.uniform(0, _SECOND_KILL))
        self.made.kill()
        began = asyncio.get_running_loop().time()
        await self.made.start()
        self.longest = max(self.longest, asyncio.get_running_loop().time() - began)

    async def _begin(self, client: ApiClient, number: int) -> None:
        manifests = CHECK.format(number=number, seconds=self.chance.choice((0, 1, 30)))
        manifests += web(number)
        if number % _EVERY == 1:
            manifests += stream(f"built-{number}") + docker_build(
                f"built-{number}", base="web:latest", dockerfile=DOCKERFILE.format(number=number)
            )
        await self.made.apply(client, manifests)
        if number > 1:
            await _delete(client, Job, f"check-{number - 1}")
        if number % _EVERY == 2:
            await _delete(client, BuildConfig, f"built-{number - 1}")

    async def finish(self) -> None:
        """Delete every object, wait until all that ran is gone; a start sweeps up the rest."""
        async with self.made.client() as client:
            for kind in _KINDS:
                for one in (await client.list(kind)).items:
                    await _delete(client, kind, one.name)

            async def left() -> list[str]:
                found = [one.name for kind in _WORK for one in (await client.list(kind)).items]
                return [*found, *sorted(self.made.podman_names())]

            await until(left, lambda found: not found, _SECONDS)
        self.made.stop()
        await self.made.start()

        async def at_last() -> list[str]:
            # Uploads themselves go by their age, when the clock has been certain for minutes.
            uploads = self.made.data_dir.glob("registry/uploads/*")
            sockets = sorted(self.made.data_dir.glob("workloads/podman-*.sock"))
            return [
                *leftovers(self.made),
                *(str(path) for path in uploads if not any(path.iterdir())),
                *(str(path) for path in sockets[1:]),
            ]

        await until(at_last, lambda found: not found, _SECONDS)


def leftovers(made: Installation) -> list[str]:
    """Return what is there on behalf of objects, by any tool's word."""
    folders = made.data_dir / "workloads" / "instances"
    return [
        *sorted(made.podman_names()),
        *sorted(made.podman_volumes()),
        *sorted(path.name for path in folders.glob("*")),
        *made.build_folders(),
        *made.temporary_folders(),
        *sorted(made.working_containers()),
        *made.build_processes(),
    ]


def web(number: int) -> str:
    """Deployment of revision `number`, with Service and Route."""
    command = SERVES.replace("NUMBER", str(number))
    image = f'image: "web:latest"\n          command: {command}'
    text = deployment("web").replace('image: " "', image)
    return text + published("web")


async def _delete(client: ApiClient, kind: type[Resource], name: str) -> None:
    try:
        await client.delete(kind, "default", name)
    except NotFoundError:
        return
    except StoreError as error:
        raise AssertionError(f"{kind.KIND.kind} {name} is not deleted: {error}") from error
