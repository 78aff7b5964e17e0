"""Selection of objects by labels and fields, as the API's own queries write it."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from upwell.api.validation.labels import is_label_key, is_label_value

if TYPE_CHECKING:
    from upwell.store.interface import QuerySelector

_REQUIREMENT = re.compile(
    r"\s*(?:(?P<absent>!\s*)?(?P<key>[^\s!=,()]+)"
    r"(?:\s*(?P<operator>==|=|!=)\s*(?P<value>[^\s!=,()]*)"
    r"|\s+(?P<set>in|notin)\s*\((?P<values>[^()]*)\))?)\s*"
)


def selector_of(namespace: str, labels: str, fields: str = "", name: str = "") -> "QuerySelector":
    """Return the selector of `-l` and `--field-selector`; raises click.UsageError."""
    from upwell.store.interface import QuerySelector  # noqa: PLC0415 - loads the models

    exact: dict[str, str] = {}
    others: list[str] = []
    for part in re.split(r",(?![^()]*\))", labels) if labels else ():
        match = _REQUIREMENT.fullmatch(part)
        if match is None or not _is_valid(match):
            raise click.UsageError(f"--selector takes KEY=VALUE,..., not {part!r}")
        if match["operator"] in {"=", "=="}:
            exact[match["key"]] = match["value"]
        else:
            others.append(part.strip())
    return QuerySelector(namespace, exact, name, ",".join(others), fields)


def _is_valid(match: re.Match[str]) -> bool:
    if match["absent"] and (match["operator"] or match["set"]):
        return False
    values = [match["value"] or ""]
    if match["set"]:
        values = [value.strip() for value in match["values"].split(",")]
    return is_label_key(match["key"]) and all(map(is_label_value, values))


def selection_options[F: Callable[..., Any]](function: F) -> F:
    """Add `-l` and `--field-selector` to a command, as `labels` and `fields`."""
    for option in (
        click.option(
            "--field-selector",
            "fields",
            metavar="FIELD=VALUE,...",
            default="",
            show_default="all objects",
            help="Fields that objects must have; != for those that they must not.",
        ),
        click.option(
            "-l",
            "--selector",
            "labels",
            metavar="K=V,...",
            default="",
            show_default="all objects",
            help="Labels that objects must have; also K!=V, K, !K, 'K in (V,W)', 'K notin (V)'.",
        ),
    ):
        function = option(function)
    return function
