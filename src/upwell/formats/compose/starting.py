"""Start of a service: after which others, and whether again when it has ended."""

from collections.abc import Mapping
from typing import Any

from upwell.formats.compose import values
from upwell.formats.compose.document import Document, Path

_RESTARTED = {"always", "unless-stopped", "on-failure"}
_HEALTHY, _COMPLETED = "service_healthy", "service_completed_successfully"


def check_restart(document: Document, path: Path, body: Mapping[str, Any]) -> None:
    """Refuse what is to end by itself: without `restart`, a service is taken for one that goes on.

    Compose's own default is `no`, which nearly every file means by saying nothing.
    """
    restart, place = values.text(document, (*path, "restart"), body.get("restart")), "restart"
    policy = restart.partition(":")[0]
    if restart == "no":
        way = _as_job(str(path[-1]), body.get("image"))
        document.fault(
            (*path, place),
            "'no' is for what ends by itself, and a service is started again whenever it ends:"
            f" remove this line if it goes on; else {way}",
        )
    elif restart and policy not in _RESTARTED:
        document.fault((*path, place), f"invalid restart policy: unknown policy {restart!r}")
    elif policy == "on-failure":
        document.warn((*path, place), "no effect: a service is started again whenever it ends")


def read_depends_on(
    document: Document, path: Path, body: Mapping[str, Any]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what a service starts after, and what of that has to be healthy."""
    value, place = body.get("depends_on"), (*path, "depends_on")
    links = values.texts(document, (*path, "links"), body.get("links"))
    linked = tuple(link.partition(":")[0] for link in links)
    if not isinstance(value, Mapping):
        return (*values.texts(document, place, value), *linked), ()
    healthy: list[str] = []
    for name, entry in value.items():
        condition = entry.get("condition") if isinstance(entry, Mapping) else None
        if condition == _HEALTHY:
            healthy.append(name)
        elif condition == _COMPLETED:
            document.fault(
                (*place, name),
                "not supported: a service is started again whenever it ends: remove this line, and"
                f" {_as_job(name)}; `upwell wait job/{name} --for=condition=Complete` waits for its"
                " end",
            )
        elif condition not in (None, "service_started"):  # of any type
            document.fault((*place, name), f"unknown condition {condition!r}")
    return (*value, *linked), tuple(healthy)


def _as_job(name: str, image: object = None) -> str:
    """Say how a service that ends by itself is run."""
    shown = image if isinstance(image, str) and image else "IMAGE"
    return (
        f"put {name} under `profiles: [once]`, and run it with `upwell create job {name}"
        f" --image={shown} -- COMMAND`"
    )
