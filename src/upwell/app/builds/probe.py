"""A build of next to nothing in a Pod, which shows whether the nodes let Pods build.

The Pod is one of a build in all that it may do. The image that it builds is one program of its own.
"""

import asyncio
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upwell.api.codec import decode_as
from upwell.api.pod import Pod
from upwell.app.builds.pod import BuildPodFolders, pod_builder, print_log
from upwell.builder.interface import (
    BuildError,
    BuilderStrategy,
    BuildPlan,
    BuildPrivilege,
)
from upwell.builder.kubernetes.documents import encode_error, encode_result
from upwell.builder.kubernetes.manifests import PodSettings, probe_manifest
from upwell.builder.kubernetes.states import PodEnded, PodWaiting, state_of

PRIVILEGES: tuple[str, ...] = tuple(one.value for one in BuildPrivilege)
"""From the least to the most."""
PROBE_SECONDS = 120
"""Time that a probe has, the pull of its image included."""

_PROGRAM = "/usr/bin/true"
_DOCKERFILE = f'FROM scratch\nCOPY . /\nRUN ["{_PROGRAM}"]\n'
_LIBRARY = re.compile(r"(/\S+) \(0x[0-9a-f]+\)$", re.MULTILINE)
"""A library that ldd(1) has found."""
_HOPELESS = frozenset({"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"})
"""Reasons to wait that end with no privilege."""


class UnusableImageError(Exception):
    """The nodes do not get the image that the probe runs."""


@dataclass(frozen=True, slots=True)
class ProbeState:
    """State of the Pod of a probe."""

    has_ended: bool
    why: str = ""
    """Obstacle to its build, or to its start; empty: it has built, or tries to."""


def probe_pod(image: str, namespace: str, privilege: str) -> dict[str, Any]:
    """Return the manifest of a Pod that tries to build."""
    settings = PodSettings(image, BuildPrivilege(privilege))
    return probe_manifest(settings, namespace, f"upwell-build-probe-{privilege}", PROBE_SECONDS)


def probe_state(document: Mapping[str, Any]) -> ProbeState:
    """Return how far the Pod of a probe is; raises UnusableImageError."""
    match state_of(decode_as(Pod, document)):
        case PodEnded(BuildError() as error):
            return ProbeState(has_ended=True, why=str(error))
        case PodEnded():
            return ProbeState(has_ended=True)
        case PodWaiting(why) if why.partition(":")[0] in _HOPELESS:
            raise UnusableImageError(why)
        case PodWaiting(why):
            return ProbeState(has_ended=False, why=why)
    return ProbeState(has_ended=False)


async def run_probe(folders: BuildPodFolders) -> int:
    """Build in this Pod as a build would; return the exit code."""
    context = folders.work / "probe"
    await asyncio.to_thread(_make_context, context)
    folders.places.registries_conf.write_text("")
    folders.places.authorities.mkdir()
    strategy = BuilderStrategy.DOCKER
    plan = BuildPlan("probe", "", "probe", strategy, context, {}, None, dockerfile=_DOCKERFILE)
    try:
        result = await pod_builder(folders).build(plan, print_log)
    except BuildError as error:
        folders.message.write_text(encode_error(error))
        return 1
    folders.message.write_text(encode_result(result))
    return 0


def _make_context(folder: Path) -> None:
    """Copy a program with the libraries that it loads."""
    told = subprocess.run(["ldd", _PROGRAM], capture_output=True, text=True, check=True)
    for file in (_PROGRAM, *_LIBRARY.findall(told.stdout)):
        copy = folder / file.lstrip("/")
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)
