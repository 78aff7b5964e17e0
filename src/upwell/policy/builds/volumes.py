"""Secrets and ConfigMaps that a build's commands see as files, and that its image does not get."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from upwell.api.builds.inputs import BuildStrategy, BuildVolume
from upwell.api.pod_template import KeyToPath
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName


class MissingKeyError(Exception):
    """A volume names a key that its source does not have."""


@dataclass(frozen=True, slots=True)
class SourceMount:
    """One Secret or ConfigMap, and the folders in which it is seen."""

    name: str
    source: SourceName
    targets: tuple[str, ...]
    items: Sequence[KeyToPath] = ()
    """Keys that are files, and their paths below the folder; empty: all keys, by their names."""
    optional: bool = False

    def files(self, content: Mapping[str, bytes]) -> dict[str, bytes]:
        """Return the files by their paths below each folder; raises MissingKeyError."""
        if not self.items:
            return dict(content)
        wanted = [item for item in self.items if item.key in content or not self.optional]
        for item in wanted:
            if item.key not in content:
                source = f"{self.source.kind} {self.source.name}"
                raise MissingKeyError(f"volume {self.name}: {source} has no key {item.key!r}")
        return {item.path: content[item.key] for item in wanted}


def source_mounts(strategy: BuildStrategy) -> Iterator[SourceMount]:
    """Yield the volumes of a strategy, and the secrets of a custom one."""
    for volume in strategy.volumes:
        yield from _mounts(volume)
    custom = strategy.custom_strategy
    for secret in custom.secrets if custom else ():
        name = secret.secret_source.name
        yield SourceMount(name, SourceName(SECRET, name), (secret.mount_path,))


def _mounts(volume: BuildVolume) -> Iterator[SourceMount]:
    targets = tuple(mount.destination_path for mount in volume.mounts)
    secret, config_map = volume.source.secret, volume.source.config_map
    if secret is not None:
        source = SourceName(SECRET, secret.secret_name)
        optional = bool(secret.optional)
        yield SourceMount(volume.name, source, targets, secret.items, optional)
    if config_map is not None:
        source = SourceName(CONFIG_MAP, config_map.name)
        optional = bool(config_map.optional)
        yield SourceMount(volume.name, source, targets, config_map.items, optional)
