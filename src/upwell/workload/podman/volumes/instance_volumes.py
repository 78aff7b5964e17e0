"""The volumes of an instance on disk, and what of the host it may see."""

import os
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from upwell.api.values.security_context import VolumeGroup
from upwell.workload.errors import ForbiddenError, WorkloadError
from upwell.workload.instance_spec import EmptyDir, Files, HostPath, InstanceSpec, VolumeClaim
from upwell.workload.podman.volumes.mounts import remove_tree
from upwell.workload.podman.volumes.ownership import DEEPEST, TooDeepError, give_to_group

_PERMISSIONS = 0o777
SHARED_FOLDER = 0o777
"""As core/v1 emptyDir: containers of any user may write; the folder above it is ours alone."""


class InvalidVolumeError(WorkloadError):
    """A volume or mount contradicts itself."""

    reason = "InvalidVolume"


def refuse_forbidden(spec: InstanceSpec, allowed: tuple[str, ...]) -> None:
    """Raise ForbiddenError when `spec` mounts a host path that is not below an allowed one.

    Symbolic links are followed first, on both sides: a link inside an allowed folder opens
    nothing outside it.
    """
    permitted = [Path(path).resolve() for path in allowed]
    for name, volume in spec.volumes.items():
        if not isinstance(volume, HostPath):
            continue
        path = Path(volume.path)
        real = path.resolve()
        if not path.is_absolute() or not any(real.is_relative_to(root) for root in permitted):
            raise ForbiddenError(
                f"volume {name} of {spec.name}: host path {volume.path} is not allowed;"
                " an administrator can allow it with the setting allowed-host-paths"
            )


def prepare(spec: InstanceSpec, folder: Path, claims: Path) -> Mapping[str, Path]:
    """Make the volumes and return where each one is on the host.

    Those of the instance are below `folder`, and those that outlive it below `claims`.

    An emptyDir keeps what it holds: it lives as long as the instance, not as its containers.
    Raises InvalidVolumeError.
    """
    places = {}
    for name, volume in spec.volumes.items():
        if isinstance(volume, Files) and volume.tokens:
            continue  # in memory: `tokens/files`
        if not name or "/" in name or name in {".", ".."}:
            raise InvalidVolumeError(f"{name!r} cannot name a volume")
        place = folder / name
        match volume:
            case EmptyDir():
                place.mkdir(parents=True, exist_ok=True)
                place.chmod(SHARED_FOLDER)
            case Files():
                _write_files(place, volume)
            case HostPath():
                place = Path(volume.path)
            case VolumeClaim():
                place = _claim_folder(claims, volume)
        places[name] = place
        if spec.volume_group is not None and not isinstance(volume, HostPath):
            _give(name, place, spec.volume_group)
    return places


def _give(name: str, place: Path, group: VolumeGroup) -> None:
    try:
        give_to_group(place, group)
    except TooDeepError as error:
        raise InvalidVolumeError(
            f"volume {name} has more than {DEEPEST} folders below each other, and fsGroup is for"
            " all of them: remove those, or set fsGroupChangePolicy: OnRootMismatch"
        ) from error


def _claim_folder(claims: Path, claim: VolumeClaim) -> Path:
    for part in (claim.namespace, claim.name):
        if not part or "/" in part or part in {".", ".."}:
            raise InvalidVolumeError(f"{part!r} cannot name a volume claim")
    place = claims / claim.namespace / claim.name
    if not place.is_dir():
        place.mkdir(parents=True)
        place.chmod(SHARED_FOLDER)
    return place


def _write_files(place: Path, files: Files) -> None:
    remove_tree(place)  # of a start that was cut short
    place.mkdir(parents=True)
    for relative, content in files.content.items():
        path = PurePosixPath(relative)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise InvalidVolumeError(f"{relative!r} leaves its volume")
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        # Never wider open than asked for, not even between creating and setting the mode.
        handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        target.chmod(files.modes.get(relative, files.mode) & _PERMISSIONS)
