"""Labels by which other updaters are told what to do with a container, and what is done here.

Watchtower (containrrr.dev/watchtower), Diun (crazymax.dev/diun), What's up Docker
(getwud.github.io) and Podman's auto-update (podman-auto-update(1)).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from upwell.formats.compose.inspected import AUTO_UPDATE

_WATCHTOWER = "com.centurylinklabs.watchtower."
_DIUN = "diun."
_WUD = "wud."
_TRUE, _FALSE = {"true", "1"}, {"false", "0"}
_UPDATED, _WATCHED = {"registry", "image"}, {"local", "disabled", ""}


@dataclass(frozen=True, slots=True)
class FollowRule:
    """Rule by which a new image of a service is followed."""

    watched: bool = True
    """True: it is told of."""
    updated: bool = True
    """True: it is rolled out."""
    selection: str = ""
    """Tags that may take the place of the present one, as the tag's annotation says it."""
    notes: tuple[str, ...] = ()


def follow_rule(labels: Mapping[str, str]) -> FollowRule:
    """Return what the labels of a service ask for; without any, it is updated."""
    watched = updated = True
    if labels.get(f"{_WATCHTOWER}enable", "").lower() in _FALSE:
        watched = updated = False
    if labels.get(f"{_WATCHTOWER}monitor-only", "").lower() in _TRUE:
        updated = False
    if labels.get(f"{_DIUN}enable", "").lower() in _TRUE and not _has_updater(labels):
        updated = False  # Diun only ever tells
    if labels.get(f"{_WUD}watch", "").lower() in _TRUE and not _has_updater(labels):
        updated = updated and f"{_WUD}trigger.include" in labels
    if labels.get(f"{_WUD}watch", "").lower() in _FALSE:
        watched = updated = False
    if AUTO_UPDATE in labels and labels[AUTO_UPDATE].lower() not in _UPDATED:
        updated = False
    return FollowRule(watched, updated, _selection(labels), tuple(_notes(labels, updated=updated)))


def _has_updater(labels: Mapping[str, str]) -> bool:
    """Return True if another label asks for updates."""
    return (
        labels.get(f"{_WATCHTOWER}enable", "").lower() in _TRUE
        or labels.get(AUTO_UPDATE, "").lower() in _UPDATED
    )


def _selection(labels: Mapping[str, str]) -> str:
    for key in (f"{_WUD}tag.include", f"{_DIUN}include_tags"):
        if pattern := labels.get(key, "").partition(";")[0].strip():
            return f"pattern:{pattern}"
    return ""


def _notes(labels: Mapping[str, str], *, updated: bool) -> Iterator[str]:
    if not updated:
        yield "its labels ask to be told only: its image is not updated"
    for key in labels:
        if key.startswith(f"{_WATCHTOWER}lifecycle."):
            yield f"{key} has no effect: a lifecycle hook of a DeploymentConfig takes its place"
        elif key in {f"{_WUD}tag.exclude", f"{_WUD}tag.transform", f"{_DIUN}exclude_tags"}:
            yield f"{key} has no effect: say it in the pattern of the tag's selection"
        elif key == f"{_WATCHTOWER}scope":
            yield f"{key} has no effect: a namespace is a scope"
