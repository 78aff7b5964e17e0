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
_WUD_UPDATERS = {"docker", "dockercompose"}
"""Kinds of triggers, by which their names begin."""
_WUD_WITHOUT_EFFECT = {
    f"{_WUD}display.name": "a service has the name of its container",
    f"{_WUD}display.icon": "there are no icons",
    f"{_WUD}link.template": "`upwell explain` says what changed from which image to which",
    f"{_WUD}registry.lookup.image": "the image is asked for where its own name says",
    f"{_WUD}registry.lookup.url": "the image is asked for where its own name says",
}
"""Labels -> what there is here."""
_TRUE, _FALSE = {"true", "1"}, {"false", "0"}
_UPDATED = {"registry", "image"}


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
    if any(key.startswith(_WUD) for key in labels) and not _has_updater(labels):
        updated = updated and _wud_updates(labels)
    if labels.get(f"{_WUD}watch", "").lower() in _FALSE:
        watched = updated = False
    if AUTO_UPDATE in labels and labels[AUTO_UPDATE].lower() not in _UPDATED:
        updated = False
    notes = tuple(_notes(labels, watched=watched, updated=updated))
    return FollowRule(watched, updated, _selection(labels), notes)


def _wud_updates(labels: Mapping[str, str]) -> bool:
    """Return True if a trigger of WUD's that updates containers is for this one; others tell."""
    named, without = (
        {
            entry.strip().partition(":")[0].partition(".")[0].lower()
            for entry in labels.get(f"{_WUD}trigger.{key}", "").split(",")
        }
        for key in ("include", "exclude")
    )
    return bool(named & _WUD_UPDATERS) and not without & _WUD_UPDATERS


def _has_updater(labels: Mapping[str, str]) -> bool:
    """Return True if another label asks for updates."""
    return (
        labels.get(f"{_WATCHTOWER}enable", "").lower() in _TRUE
        or labels.get(AUTO_UPDATE, "").lower() in _UPDATED
    )


def _tells(triggers: str) -> bool:
    names = (entry.strip().partition(".")[0].lower() for entry in triggers.split(","))
    return any(name and name not in _WUD_UPDATERS for name in names)


def _selection(labels: Mapping[str, str]) -> str:
    for key in (f"{_WUD}tag.include", f"{_DIUN}include_tags"):
        if pattern := labels.get(key, "").partition(";")[0].strip():
            return f"pattern:{pattern}"
    return ""


def _notes(labels: Mapping[str, str], *, watched: bool, updated: bool) -> Iterator[str]:
    if not watched:
        yield "its labels ask to leave its image alone: it is neither updated nor told of"
    elif not updated:
        yield "its labels ask to be told only: its image is not updated"
    for key in labels:
        if key.startswith(f"{_WATCHTOWER}lifecycle."):
            yield f"{key} has no effect: a lifecycle hook of a DeploymentConfig takes its place"
        elif key in {f"{_WUD}tag.exclude", f"{_WUD}tag.transform", f"{_DIUN}exclude_tags"}:
            yield f"{key} has no effect: say it in the pattern of the tag's selection"
        elif key == f"{_WUD}watch.digest" and labels[key].lower() in _FALSE:
            yield f"{key} has no effect: a tag that names another digest is a new image"
        elif key in _WUD_WITHOUT_EFFECT:
            yield f"{key} has no effect: {_WUD_WITHOUT_EFFECT[key]}"
        elif key in {f"{_WUD}trigger.include", f"{_WUD}trigger.exclude"} and _tells(labels[key]):
            yield f"{key} names who is told: `--notify URL` does here"
        elif key == f"{_WATCHTOWER}scope":
            yield f"{key} has no effect: a namespace is a scope"
