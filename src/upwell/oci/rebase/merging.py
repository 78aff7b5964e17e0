"""Three-way merge of the defaults of a container (image-spec, config.md): two bases and an image.

The outcome is that of a build from the new base: where the image has its old base's value, it gets
the new one's; its own values stay, with the parts renewed that it took from the base (`PATH`).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

_MAPS = ("Labels", "ExposedPorts", "Volumes")
_LISTS = ("Shell",)
_SCALARS = ("User", "WorkingDir", "StopSignal", "Healthcheck", "StopTimeout", "Domainname")
_ABSENT = object()
_SHOWN = 120
"""Characters of a value that a person is shown."""
_EMPTY: tuple[Any, ...] = (None, "", [], {})


@dataclass(frozen=True, slots=True)
class SettingChange:
    """A value of the configuration that a rebase changes; None stands for no value."""

    path: str
    before: Any
    after: Any


@dataclass(frozen=True, slots=True)
class SettingConflict:
    """A value that base and image have both changed, so that no merge is that of a build."""

    path: str
    why: str


@dataclass(slots=True)
class MergedSettings:
    """Outcome of a merge."""

    settings: dict[str, Any]
    changes: list[SettingChange] = field(default_factory=list)
    conflicts: list[SettingConflict] = field(default_factory=list)


def merged_settings(
    old: Mapping[str, Any], new: Mapping[str, Any], image: Mapping[str, Any]
) -> MergedSettings:
    """Merge the objects `config` of three configurations; fields that nobody knows stay."""
    merged = MergedSettings(dict(image))
    _merge_environment(merged, old, new, image)
    for name in _MAPS:
        _merge_map(merged, name, *(_mapping(each.get(name)) for each in (old, new, image)))
    for name in (*_SCALARS, *_LISTS):
        _set(merged, name, _inherited(name, old, new, image))
    _merge_command(merged, old, new, image)
    return merged


def merged_map(
    old: Mapping[str, Any], new: Mapping[str, Any], image: Mapping[str, Any]
) -> dict[str, Any]:
    """Merge labels, annotations or the like, each key by itself; the image's own order is kept."""
    made = {}
    for key in (*image, *(key for key in new if key not in image)):
        value = image.get(key, _ABSENT)
        if value == old.get(key, _ABSENT):
            value = new.get(key, _ABSENT)
        if value is not _ABSENT:
            made[key] = value
    return made


def _merge_command(
    merged: MergedSettings,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    image: Mapping[str, Any],
) -> None:
    """Merge Entrypoint and Cmd: an image that has set its entrypoint inherits no command."""
    if _same(old.get("Entrypoint"), image.get("Entrypoint")):
        _set(merged, "Entrypoint", new.get("Entrypoint"))
        _set(merged, "Cmd", _inherited("Cmd", old, new, image))


def _merge_environment(
    merged: MergedSettings,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    image: Mapping[str, Any],
) -> None:
    before, after, own = (environment(each.get("Env")) for each in (old, new, image))
    made: dict[str, str] = {}
    for key in (*after, *(key for key in own if key not in after)):
        value = own.get(key)
        if value == before.get(key):
            value = after.get(key)
        elif value is not None and before.get(key) != after.get(key):
            value = _derived(merged, key, value, before.get(key), after.get(key))
        if value is not None:
            made[key] = value
        if value != own.get(key):
            merged.changes.append(SettingChange(f"Env.{key}", own.get(key), value))
    if made or "Env" in merged.settings:
        merged.settings["Env"] = [f"{key}={value}" for key, value in made.items()]


def _derived(
    merged: MergedSettings, key: str, own: str, before: str | None, after: str | None
) -> str | None:
    """Return an image's own value with what it took from its base renewed; notes a conflict."""
    if not before:
        return own
    # Whole entries alone: between two colons, which `find` looks for in linear time.
    at = f":{own}:".find(f":{before}:")
    if at >= 0:
        end = at + len(before)
        first = [own[: at - 1]] if at else []
        middle = [after] if after else []
        last = [own[end + 1 :]] if end < len(own) else []
        return ":".join([*first, *middle, *last])
    if key == "PATH" or before in own:
        why = f"the base changed {shown(before)} to {shown(after)}, and the image has {shown(own)}"
        merged.conflicts.append(SettingConflict(f"Env.{key}", why))
    return own


def _merge_map(
    merged: MergedSettings,
    name: str,
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    image: Mapping[str, Any],
) -> None:
    made = merged_map(old, new, image)
    merged.changes += [
        SettingChange(f"{name}.{key}", image.get(key), made.get(key))
        for key in (*made, *(key for key in image if key not in made))
        if image.get(key, _ABSENT) != made.get(key, _ABSENT)
    ]
    if made or name in merged.settings:
        merged.settings[name] = made


def _inherited(
    name: str, old: Mapping[str, Any], new: Mapping[str, Any], image: Mapping[str, Any]
) -> Any:
    own = image.get(name)
    return new.get(name) if _same(old.get(name), own) else own


def _set(merged: MergedSettings, name: str, value: Any) -> None:
    before = merged.settings.get(name)
    if _same(before, value):
        return
    merged.changes.append(SettingChange(name, before, value))
    if value in _EMPTY:
        del merged.settings[name]
    else:
        merged.settings[name] = value


def _same(one: Any, other: Any) -> bool:
    """Return True for equal values; builders differ in how they write that there is none."""
    return one == other or (one in _EMPTY and other in _EMPTY)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def environment(value: object) -> dict[str, str]:
    """Return the variables of `Env` by name; the last of one name counts."""
    entries = value if isinstance(value, list) else ()
    pairs = (entry.partition("=") for entry in entries if isinstance(entry, str))
    return {name: text for name, _, text in pairs}


class SettingValues:
    """Values of an object `config` by the paths of its SettingChanges."""

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self._fields = settings
        self._maps = {name: _mapping(settings.get(name)) for name in _MAPS}
        self._maps["Env"] = environment(settings.get("Env"))

    def value(self, path: str) -> Any:
        """Return the value at a path; None: there is none."""
        name, _, key = path.partition(".")
        found = self._maps.get(name)
        return self._fields.get(name) if found is None else found.get(key)


def commands(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the words that a container of these defaults runs."""
    for name in ("Entrypoint", "Cmd"):
        words: object = settings.get(name)
        if isinstance(words, Sequence) and not isinstance(words, str):
            yield from (word for word in words if isinstance(word, str))


def shown(value: object) -> str:
    """Return a value for people: what strangers wrote into an image may be megabytes long."""
    text = repr(value[: _SHOWN + 1] if isinstance(value, str) else value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
