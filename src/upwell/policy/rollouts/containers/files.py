"""Files of volumes made of Secrets, ConfigMaps, fields and tokens."""

import json
from collections.abc import Iterator, Mapping

from upwell.api.pod_template import (
    ProjectedFields,
    ProjectedObject,
    ProjectedSource,
    ProjectedVolume,
    SecretVolume,
    Volume,
)
from upwell.api.validation.formats import has_backsteps, is_below
from upwell.policy.rollouts.pod_template import (
    CONFIG_MAP,
    SECRET,
    Identity,
    MissingSourceError,
    SourceName,
    Sources,
    TemplateError,
    field_value,
)
from upwell.workload.instance_spec import Files, TokenFile


def volume_files(volume: Volume, sources: Sources, identity: Identity) -> Files | None:
    """Return the files of a volume that is made of objects; None for any other."""
    if volume.projected is not None:
        return _projected(volume, volume.projected, sources, identity)
    if volume.downward_api is not None:
        mode = volume.downward_api.default_mode
        return _downward(volume.name, volume.downward_api, mode, identity)
    if volume.secret is not None:
        secret = volume.secret
        found = sources.all_of(SourceName(SECRET, secret.secret_name), optional=secret.optional)
        return _files(secret, SourceName(SECRET, secret.secret_name), found, secret.default_mode)
    if volume.config_map is not None:
        config = volume.config_map
        found = sources.all_of(SourceName(CONFIG_MAP, config.name), optional=config.optional)
        return _files(config, SourceName(CONFIG_MAP, config.name), found, config.default_mode)
    return None


def _projected(
    volume: Volume,
    projected: ProjectedVolume,
    sources: Sources,
    identity: Identity,
) -> Files:
    mode = projected.default_mode
    content: dict[str, bytes] = {}
    modes: dict[str, int] = {}
    tokens: list[TokenFile] = []
    for source in projected.sources:
        for files in _sources(volume, source, mode, sources, identity):
            content.update(files.content)
            modes.update(files.modes)
        if (token := source.service_account_token) is not None:
            account, seconds = identity.service_account, token.expiration_seconds
            _require_below(token.path, f"volume {volume.name}: serviceAccountToken")
            tokens.append(TokenFile(token.path, account, token.audience, seconds))
        if source.model_extra:
            what = ", ".join(sorted(source.model_extra))
            raise TemplateError(
                "UnsupportedField", f"a projected volume's {what} is not supported on one machine"
            )
    return Files(content, mode, modes, tuple(tokens))


def _sources(
    volume: Volume,
    source: ProjectedSource,
    mode: int,
    sources: Sources,
    identity: Identity,
) -> Iterator[Files]:
    for kind, named in ((SECRET, source.secret), (CONFIG_MAP, source.config_map)):
        if named is not None:
            name = SourceName(kind, named.name)
            yield _files(named, name, sources.all_of(name, optional=named.optional), mode)
    if source.downward_api is not None:
        yield _downward(volume.name, source.downward_api, mode, identity)


def _downward(name: str, volume: ProjectedFields, mode: int, identity: Identity) -> Files:
    """Return the fields of the instance that a volume shows (core/v1 DownwardAPIVolumeSource)."""
    content: dict[str, bytes] = {}
    for item in volume.items:
        where = f"volume {name}"
        _require_below(item.path, f"{where}: downwardAPI")
        if item.field_ref is None:
            raise TemplateError("UnsupportedField", f"{where}: downwardAPI needs fieldRef")
        path = item.field_ref.field_path
        several = {"metadata.labels": identity.labels, "metadata.annotations": identity.annotations}
        if (found := several.get(path)) is not None:
            text = "\n".join(f"{key}={json.dumps(value)}" for key, value in sorted(found.items()))
        else:
            text = field_value(path, where, identity)
        content[item.path] = text.encode()
    return Files(content, mode, {one.path: one.mode for one in volume.items if one.mode})


def _require_below(path: str, where: str) -> None:
    if not is_below(path):
        raise TemplateError("InvalidTemplate", f"{where}: {path!r} is no path in the volume")


def _files(
    volume: SecretVolume | ProjectedObject,
    source: SourceName,
    found: Mapping[str, bytes],
    mode: int,
) -> Files:
    if not volume.items:
        return Files(found, mode)
    content: dict[str, bytes] = {}
    for item in volume.items:
        if item.path.startswith("/") or has_backsteps(item.path):
            raise TemplateError("InvalidTemplate", f"{item.path!r} leaves the volume {source.name}")
        if item.key in found:
            content[item.path] = found[item.key]
        elif not volume.optional:
            raise MissingSourceError(source.kind, source.name, item.key)
    modes = {item.path: item.mode for item in volume.items if item.mode and item.path in content}
    return Files(content, mode, modes)
