"""Render docs/configuration.md from the settings: `python -m tests.support.settings.reference`."""

import json
from collections.abc import Iterator
from datetime import timedelta
from typing import Any, get_args

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from tests.support.paths import ROOT

from upwell.gitops.interface import Author
from upwell.settings.base import SettingsTable
from upwell.settings.tables import FileSettings
from upwell.settings.values import SIZE, AllowedValues, KeyType, show_duration

PAGE = ROOT / "docs" / "configuration.md"
MIB = 1024**2
GIB = 1024**3
EXAMPLE = """\
import-interval = "5m"
upload-limit = "2Gi"
allowed-host-paths = ["/srv/shared"]

[builds]
memory = "4Gi"

[retention]
interval = "off"
keep-younger-than = "48h"

[tracing]
endpoint = "http://127.0.0.1:4318"

[git]
author = "Upwell <upwell@corner.example>"

[[registry]]
prefix = "vendor.example"
location = "10.0.0.5:5000"
insecure = true
concurrency = 4
per-second = 10
mirrors = ["mirror.example/vendor", {location = "10.0.0.6", pulls = "digest-only"}]
"""
_INTRODUCTION = f"""\
# The configuration file

`upwell serve --config FILE` reads it once at start: TOML, at most 1 MiB. Every key is optional,
except where its default is "(needed)". A file with faults is refused, and all faults are reported
at once, each with its key, the allowed values and the value found. Options and variables of `upwell
serve` are in `upwell serve --help`; an option takes precedence over the key that sets the same.
`upwell image mirror --config FILE` takes the registries of the file.

A change takes effect when the server starts anew, which is `systemctl restart upwell`: there is no
reload. Workloads, the router and open connections through it go on meanwhile.

```toml
{EXAMPLE}```

## Registries with plain HTTP or an authority of your own

A registry that speaks plain HTTP, or whose certificate nobody has signed, needs `insecure`; one
whose certificate your own authority has signed needs `ca-file`:

```toml
[[registry]]
prefix = "10.0.0.5:5000"
insecure = true

[[registry]]
prefix = "registry.corner.example"
ca-file = "/etc/upwell/corner-ca.pem"
```

Both hold for imports, builds, mirrors of stages and the pulls of workloads. An ImageStream can
allow the former for itself: by `importPolicy.insecure` of a tag, or the annotation
`openshift.io/image.insecureRepository: "true"`; then it holds for builds and workloads of its
namespace and of the stages that its images go through, and for no others. Registries on loopback
need neither. Podman and Buildah trust the authorities of all `ca-file` keys for every registry,
besides the system's.

This page is made from the settings themselves, and a test holds it to them.
"""


def render() -> str:
    """Return the text of the page."""
    return "\n".join([_INTRODUCTION, *_sections(FileSettings, "The top of the file")])


def _sections(table: type[SettingsTable], title: str, path: str = "") -> Iterator[str]:
    inner = []
    rows = ["| key | takes | default | meaning |", "| --- | --- | --- | --- |"]
    for key, field in _fields(table):
        kind = KeyType.of(field.annotation, field.metadata)
        entry = _table_in(kind)
        if entry is None or field.description:
            rows.append(_row(key, kind.allowed, field))
        if entry is not None:
            inner.append((entry, _title(path, key, entry is not kind.kind), f"{path}{key}."))
    yield f"## {title}\n\n{table.__doc__}\n\n" + "\n".join(rows) + "\n"
    for within in inner:
        yield from _sections(*within)


def _fields(table: type[SettingsTable]) -> Iterator[tuple[str, FieldInfo]]:
    return zip(table.key_types(), table.model_fields.values(), strict=True)


def _table_in(kind: KeyType) -> type[SettingsTable] | None:
    """Return the table that a key holds, alone or in a list."""
    for found in (kind.kind, *(KeyType.of(part).kind for part in get_args(kind.kind)[:1])):
        if isinstance(found, type) and issubclass(found, SettingsTable):
            return found
    return None


def _title(path: str, key: str, repeated: bool) -> str:  # noqa: FBT001
    if not repeated:
        return f"`[{path}{key}]`"
    return f"Entries of `{path}{key}`" if path else f"`[[{key}]]`"


def _row(key: str, allowed: AllowedValues, field: FieldInfo) -> str:
    meaning = (field.description or "").replace("\n", " ")
    takes = allowed.words.replace("<", "&lt;")
    cells = (f"`{key}`", takes, _default(allowed, field.default), meaning)
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _default(allowed: AllowedValues, value: Any) -> str:
    """Return the default as the file would say it."""
    match value:
        case None | "" | ():
            return ""
        case bool():
            text = str(value).lower()
        case timedelta():
            text = show_duration(value)
        case Author(name, email):
            text = f"{name} <{email}>"
        case int() if allowed is SIZE:
            assert value % MIB == 0
            text = f"{value // MIB}Mi" if value % GIB else f"{value // GIB}Gi"
        case {} if not value:
            return ""
        case tuple():
            text = json.dumps(value)
        case _:
            text = str(value)
    return "(needed)" if value is PydanticUndefined else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(render())
