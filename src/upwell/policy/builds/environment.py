"""The environment of a build: values from fields, Secrets and ConfigMaps (core/v1 EnvVarSource)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from upwell.api.builds.build import Build
from upwell.api.pod_template import EnvVar, EnvVarSource, KeySelector
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName, expand

type Values = Mapping[SourceName, Mapping[str, bytes]]
"""Content of Secrets and ConfigMaps; one that does not exist is absent."""


@dataclass(frozen=True, slots=True)
class Environment:
    """Variables with their values, in order; each name is there once."""

    plain: tuple[tuple[str, str], ...] = ()
    secret: tuple[tuple[str, str], ...] = field(default=(), repr=False)
    """Those with something of a Secret in them."""


class UnresolvableEnvironmentError(Exception):
    """Variables whose values cannot be found; the message names every one of them."""

    def __init__(self, faults: Sequence[str]) -> None:
        super().__init__("; ".join(faults))
        self.faults = tuple(faults)


def sources_of(variables: Sequence[EnvVar]) -> frozenset[SourceName]:
    """Return the Secrets and ConfigMaps that the variables name."""
    found = set()
    for variable in variables:
        selected = _selected(variable.value_from) if variable.value_from else None
        if selected is not None:
            found.add(SourceName(selected[0], selected[1].name))
    return frozenset(found)


def takes_secrets(variables: Sequence[EnvVar]) -> bool:
    """Say whether the value of a variable comes from a Secret."""
    return any(source.kind == SECRET for source in sources_of(variables))


def resolve_environment(variables: Sequence[EnvVar], values: Values, build: Build) -> Environment:
    """Return names with their values, `$(NAME)` replaced by the variable of that name before it.

    One that is made of a secret one is secret too. A later variable takes the place of an earlier
    one of its name. Raises UnresolvableEnvironmentError.
    """
    found: dict[str, str] = {}
    plain: dict[str, str] = {}
    faults = []
    for variable in variables:
        try:
            value = _value(variable, found, values, build)
        except LookupError as error:
            faults.append(str(error.args[0]))
            continue
        if value is None:
            continue
        if _is_plain(variable, value, plain):
            plain[variable.name] = value
        else:
            plain.pop(variable.name, None)
        found[variable.name] = value
    if faults:
        raise UnresolvableEnvironmentError(faults)
    secret = tuple((name, value) for name, value in found.items() if name not in plain)
    return Environment(tuple(plain.items()), secret)


def _is_plain(variable: EnvVar, value: str, plain: Mapping[str, str]) -> bool:
    """Say whether plain variables alone make this value."""
    if variable.value_from is None:
        return expand(variable.value, plain) == value
    return variable.value_from.secret_key_ref is None


def _value(
    variable: EnvVar, earlier: Mapping[str, str], values: Values, build: Build
) -> str | None:
    """Return the value, None for an optional one that is missing; raises LookupError."""
    source = variable.value_from
    if source is None:
        return expand(variable.value, earlier)
    if source.field_ref is not None:
        return _field(source.field_ref.field_path, build)
    selected = _selected(source)
    if selected is None:
        raise LookupError(f"variable {variable.name}: unsupported valueFrom")
    kind, selector = selected
    content = values.get(SourceName(kind, selector.name))
    raw = None if content is None else content.get(selector.key)
    if raw is None:
        if selector.optional:
            return None
        what = "secret" if kind == SECRET else "config map"
        raise LookupError(f"key {selector.key} not found in {what} {selector.name}")
    if b"\0" in raw:
        raise LookupError(f"variable {variable.name}: the value has a NUL character")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # The value may be secret: the codec's own message must not be shown.
        raise LookupError(f"variable {variable.name}: the value is not UTF-8 text") from None


def _selected(source: EnvVarSource) -> tuple[str, KeySelector] | None:
    if source.secret_key_ref is not None:
        return SECRET, source.secret_key_ref
    if source.config_map_key_ref is not None:
        return CONFIG_MAP, source.config_map_key_ref
    return None


def _field(path: str, build: Build) -> str:
    plain = {
        "metadata.name": build.name,
        "metadata.namespace": build.namespace,
        "metadata.uid": build.uid,
    }
    if path in plain:
        return plain[path]
    for prefix, entries in (
        ("metadata.labels['", build.labels),
        ("metadata.annotations['", build.annotations),
    ):
        if path.startswith(prefix) and path.endswith("']"):
            return entries.get(path[len(prefix) : -2], "")
    raise LookupError(f"unsupported fieldPath: {path}")
