"""Meaning of a Pod template: its identity, the objects that it needs, its environment.

Secrets and ConfigMaps come in as values; nothing here reads them.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from upwell.api.core import DEFAULT_ACCOUNT
from upwell.api.defaults.pod_templates import without_defaults
from upwell.api.pod_template import (
    Container,
    EnvFromSource,
    EnvVar,
    EnvVarSource,
    KeySelector,
    PodTemplate,
    Volume,
)
from upwell.formats.canonical_json import canonical_json

_HASH_LENGTH = 16

_VARIABLE = re.compile(r"\$(?:\$|\((?P<name>[^()]*)\))")
_META_MAP = re.compile(r"metadata\.(?P<map>labels|annotations)\['(?P<key>[^']+)'\]")

TOKEN_FOLDER = "/var/run/secrets/kubernetes.io/serviceaccount"  # noqa: S105 - a path
"""Place of a token that no volume names, as Kubernetes' clients look for it."""
AUTHORITY_CONFIG_MAP = "kube-root-ca.crt"
"""ConfigMap that every namespace has in Kubernetes: `ca.crt`, by which the API is trusted."""


class TemplateError(Exception):
    """The template cannot be run as it is; `reason` goes into a condition."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MissingSourceError(TemplateError):
    """A Secret or ConfigMap, or a key of one, is not there (yet)."""

    def __init__(self, kind: str, name: str, key: str = "") -> None:
        what = f"{kind} {name!r}" + (f" has no key {key!r}" if key else " does not exist")
        super().__init__(
            f"{kind}{'Key' if key else ''}NotFound", f"{what}: the rollout waits for it"
        )
        self.kind = kind
        self.name = name


@dataclass(frozen=True, slots=True, order=True)
class SourceName:
    """A Secret or ConfigMap of the workload's namespace."""

    kind: str
    name: str


SECRET = "Secret"  # noqa: S105 - a kind, not a password
CONFIG_MAP = "ConfigMap"


@dataclass(frozen=True, slots=True)
class Sources:
    """The values of Secrets and ConfigMaps; one that does not exist is absent."""

    values: Mapping[SourceName, Mapping[str, bytes]] = field(default_factory=dict, repr=False)

    def all_of(self, source: SourceName, *, optional: bool | None = False) -> Mapping[str, bytes]:
        """Return every value of a source; raises MissingSourceError unless it is optional."""
        found = self.values.get(source)
        if found is None and not optional:
            raise MissingSourceError(source.kind, source.name)
        return found or {}

    def one_of(self, source: SourceName, selector: KeySelector) -> bytes | None:
        """Return one value; None when it is optional and missing. Raises MissingSourceError."""
        found = self.all_of(source, optional=selector.optional)
        if selector.key not in found and not selector.optional:
            raise MissingSourceError(source.kind, source.name, selector.key)
        return found.get(selector.key)


@dataclass(frozen=True, slots=True)
class Identity:
    """Facts about itself that a replica can receive (the downward API)."""

    name: str
    namespace: str
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    service_account: str = ""


def template_hash(template: PodTemplate) -> str:
    """Return the identity of a template: equal for equal meaning.

    A default is no part of it, whether it was left out, null or written out: so a version that
    stores further defaults starts no rollout. Earlier versions have counted defaults that were
    written out: `same_meaning` tells which of their revisions a template is.

    The content of Secrets and ConfigMaps is no part of it: changing them restarts nothing.
    """
    document = template.model_dump(mode="json", exclude_defaults=True, exclude_none=True)
    canonical = canonical_json(without_defaults(document))
    return hashlib.sha256(canonical).hexdigest()[:_HASH_LENGTH]


def same_meaning(one: PodTemplate, other: PodTemplate) -> bool:
    """Return True if instances of both are the same, whatever defaults each writes out."""
    return one == other or template_hash(one) == template_hash(other)


def repeated_hash(template: str, number: int) -> str:
    """Return the identity of a template, by its hash, that is rolled out again as it is."""
    return hashlib.sha256(f"{template} {number}".encode()).hexdigest()[:_HASH_LENGTH]


def account_of(template: PodTemplate) -> str:
    """Return the ServiceAccount that instances of a template have."""
    return template.spec.service_account_name or DEFAULT_ACCOUNT


def mounts_token(template: PodTemplate) -> bool:
    """Return True if containers get a token that no volume names; only where the template asks."""
    return template.spec.automount_service_account_token is True


def has_tokens(template: PodTemplate) -> bool:
    """Return True if instances of a template get a token of their ServiceAccount."""
    return mounts_token(template) or any(
        source.service_account_token is not None
        for volume in template.spec.volumes
        if volume.projected is not None
        for source in volume.projected.sources
    )


def needed_sources(template: PodTemplate) -> frozenset[SourceName]:
    """Return every Secret and ConfigMap that the template names, optional ones included."""
    return frozenset(source for source in _named_sources(template) if source.name)


def _named_sources(template: PodTemplate) -> Iterator[SourceName]:
    for container in (*template.spec.containers, *template.spec.init_containers):
        for variable in container.env:
            if variable.value_from is not None:
                yield from _named_by_variable(variable.value_from)
        for bulk in container.env_from:
            if bulk.secret_ref is not None:
                yield SourceName(SECRET, bulk.secret_ref.name)
            if bulk.config_map_ref is not None:
                yield SourceName(CONFIG_MAP, bulk.config_map_ref.name)
    for volume in template.spec.volumes:
        yield from _named_by_volume(volume)
    if mounts_token(template):
        yield SourceName(CONFIG_MAP, AUTHORITY_CONFIG_MAP)


def _named_by_volume(volume: Volume) -> Iterator[SourceName]:
    for source in volume.projected.sources if volume.projected else ():
        if source.secret is not None:
            yield SourceName(SECRET, source.secret.name)
        if source.config_map is not None:
            yield SourceName(CONFIG_MAP, source.config_map.name)
    if volume.secret is not None:
        yield SourceName(SECRET, volume.secret.secret_name)
    if volume.config_map is not None:
        yield SourceName(CONFIG_MAP, volume.config_map.name)


def _named_by_variable(source: EnvVarSource) -> Iterator[SourceName]:
    if source.secret_key_ref is not None:
        yield SourceName(SECRET, source.secret_key_ref.name)
    if source.config_map_key_ref is not None:
        yield SourceName(CONFIG_MAP, source.config_map_key_ref.name)


def environment(container: Container, sources: Sources, identity: Identity) -> dict[str, str]:
    """Return a container's variables; raises TemplateError.

    `env` wins over `envFrom`, a later entry over an earlier one, and `$(NAME)` in a value names a
    variable before it (core/v1 EnvVar).
    """
    result: dict[str, str] = {}
    for bulk in container.env_from:
        result.update(_bulk(bulk, sources))
    for variable in container.env:
        value = _value(variable, result, sources, identity)
        if value is not None:
            result[variable.name] = value
    return result


def expand(text: str, variables: Mapping[str, str]) -> str:
    """Replace `$(NAME)` by the variable; `$$` is a dollar, and unknown names stay as they are."""

    def replacement(match: re.Match[str]) -> str:
        name = match["name"]
        return "$" if name is None else variables.get(name, match[0])

    return _VARIABLE.sub(replacement, text)


def _bulk(bulk: EnvFromSource, sources: Sources) -> dict[str, str]:
    found: dict[str, bytes] = {}
    for kind, reference in ((CONFIG_MAP, bulk.config_map_ref), (SECRET, bulk.secret_ref)):
        if reference is not None:
            name = SourceName(kind, reference.name)
            found.update(sources.all_of(name, optional=reference.optional))
    return {f"{bulk.prefix}{key}": _text(value, key) for key, value in found.items()}


def _value(
    variable: EnvVar, earlier: Mapping[str, str], sources: Sources, identity: Identity
) -> str | None:
    source = variable.value_from
    if source is None:
        return expand(variable.value, earlier)
    if source.field_ref is not None:
        return field_value(source.field_ref.field_path, f"variable {variable.name}", identity)
    for kind, selector in (
        (SECRET, source.secret_key_ref),
        (CONFIG_MAP, source.config_map_key_ref),
    ):
        if selector is not None:
            value = sources.one_of(SourceName(kind, selector.name), selector)
            return None if value is None else _text(value, variable.name)
    raise TemplateError(
        "UnsupportedField",
        f"variable {variable.name}: valueFrom needs secretKeyRef, configMapKeyRef or fieldRef",
    )


def field_value(path: str, where: str, identity: Identity) -> str:
    """Return a field of the downward API; raises TemplateError, which says where it stands."""
    known = {
        "metadata.name": identity.name,
        "metadata.namespace": identity.namespace,
        "spec.serviceAccountName": identity.service_account,
        "status.hostIP": "127.0.0.1",
    }
    if path in known:
        return known[path]
    match = _META_MAP.fullmatch(path)
    if match is None:
        raise TemplateError("UnsupportedField", f"{where}: fieldPath {path!r} has no value here")
    values = identity.labels if match["map"] == "labels" else identity.annotations
    return values.get(match["key"], "")


def _text(value: bytes, name: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        # The value may be secret, so that the codec's own message must not be shown.
        raise TemplateError(
            "InvalidVariable", f"variable {name}: the value is not UTF-8 text; mount it as a file"
        ) from None
