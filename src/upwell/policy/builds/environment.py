"""The environment of a build: values from fields, Secrets and ConfigMaps (core/v1 EnvVarSource)."""

from collections.abc import Mapping, Sequence

from upwell.api.build import Build
from upwell.api.core import EnvVar, EnvVarSource, KeySelector
from upwell.policy.rollouts.pod_template import CONFIG_MAP, SECRET, SourceName, expand

type Values = Mapping[SourceName, Mapping[str, bytes]]
"""Content of Secrets and ConfigMaps; one that does not exist is absent."""


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


def resolve_environment(
    variables: Sequence[EnvVar], values: Values, build: Build
) -> tuple[tuple[str, str], ...]:
    """Return names with their values, `$(NAME)` replaced by the variable of that name before it.

    A later variable takes the place of an earlier one of its name. Raises
    UnresolvableEnvironmentError.
    """
    found: dict[str, str] = {}
    faults = []
    for variable in variables:
        try:
            value = _value(variable, found, values, build)
        except LookupError as error:
            faults.append(str(error.args[0]))
            continue
        if value is not None:
            found[variable.name] = value
    if faults:
        raise UnresolvableEnvironmentError(faults)
    return tuple(found.items())


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
