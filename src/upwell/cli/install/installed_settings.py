"""Settings of an installation, as its ConfigMap has them now, and the keys of its Secrets."""

import tomllib
from collections.abc import Mapping
from typing import Any

from upwell.cli.install.installation import NAME
from upwell.cli.install.kubectl import KubectlRunner

_NAMES_OF_KEYS = "go-template={{range $key, $value := .data}}{{if $value}}{{$key}} {{end}}{{end}}"


def installed_table(kubectl: KubectlRunner, namespace: str, *path: str) -> Mapping[str, Any]:
    """Return a table of the settings; empty where there is none. Raises CommandError."""
    found = kubectl.items("configmap", NAME, "-n", namespace)
    text = str((found[0].get("data") or {}).get("upwell.toml", "")) if found else ""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return {}  # somebody's edit, which the servers refuse with words
    for name in path:
        inner = table.get(name)
        if not isinstance(inner, dict):
            return {}
        table = inner
    return table


def filled_keys(kubectl: KubectlRunner, namespace: str, secret: str) -> list[str]:
    """Return the names of a Secret's keys that are not empty; none without the Secret.

    Asks for no value. Raises CommandError.
    """
    options = ("--ignore-not-found", "-o", _NAMES_OF_KEYS)
    return kubectl.ask("get", "secret", secret, "-n", namespace, *options).split()
