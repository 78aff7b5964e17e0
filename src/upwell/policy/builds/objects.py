"""Secrets and ConfigMaps of a build: which it needs, and what of their content goes in."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.core import ConfigMap, Secret
from upwell.policy.builds.environment import sources_of
from upwell.policy.builds.volumes import source_mounts
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName


@dataclass(frozen=True, slots=True)
class ObjectContent:
    """Content of a Secret or ConfigMap."""

    values: Mapping[str, bytes] = field(repr=False)
    version: str
    """Version that stands for the content in a build's identity."""


type Objects = Mapping[SourceName, ObjectContent]
"""By name; one that does not exist is absent."""


def content_of(found: Secret | ConfigMap) -> ObjectContent:
    """Return an object's content.

    A ConfigMap's digest stands for it, a Secret's version: a digest could be guessed at.
    """
    values = found.decoded()
    if isinstance(found, Secret):
        return ObjectContent(values, f"{found.uid}/{found.resource_version}")
    hashed = hashlib.sha256()
    for key, value in sorted(values.items()):
        hashed.update(f"{key}\0{len(value)}\0".encode())
        hashed.update(value)
    return ObjectContent(values, hashed.hexdigest())


def objects_read(build: Build | BuildConfig) -> frozenset[SourceName]:
    """Return the objects that the build's result depends on."""
    strategy, source = build.spec.strategy, build.spec.source
    arguments = strategy.docker_strategy.build_args if strategy.docker_strategy else ()
    return frozenset(
        {
            *sources_of([*strategy.env, *arguments]),
            *(SourceName(SECRET, entry.secret.name) for entry in source.secrets),
            *(SourceName(CONFIG_MAP, entry.config_map.name) for entry in source.config_maps),
            *(volume.source for volume in source_mounts(strategy)),
        }
    )


def objects_required(build: Build | BuildConfig) -> tuple[SourceName, ...]:
    """Return the objects without which the build cannot start.

    Variables' are not among them: a missing value ends the build with a reason of its own.
    """
    spec = build.spec
    secrets = [
        spec.source.source_secret,
        spec.strategy.pull_secret,
        spec.output.push_secret,
        *(entry.secret for entry in spec.source.secrets),
        *(image.pull_secret for image in spec.source.images),
    ]
    maps = [entry.config_map for entry in spec.source.config_maps]
    named = [
        *(SourceName(SECRET, secret.name) for secret in secrets if secret and secret.name),
        *(SourceName(CONFIG_MAP, config_map.name) for config_map in maps if config_map.name),
        *(volume.source for volume in source_mounts(spec.strategy) if not volume.optional),
    ]
    return tuple(dict.fromkeys(named))


def object_versions(objects: Objects) -> dict[str, str]:
    """Return what stands for the objects in a build's identity, by kind and name."""
    return {f"{name.kind} {name.name}": objects[name].version for name in sorted(objects)}
