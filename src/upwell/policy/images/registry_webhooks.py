"""Webhooks of registries about pushed images, read as references that are worth a look.

A webhook is a hint, never a truth: its receiver asks the registry itself. So a wrong
or forged payload costs one request at most, and no signature is needed to be safe.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from upwell.oci import Digest, InvalidDigestError, InvalidReferenceError, Reference
from upwell.oci.reference import is_repository, is_tag
from upwell.oci.registry_names import DOCKER_HUB

MAX_PUSHES = 1000
"""Images that one payload may name."""
_GHCR = "ghcr.io"


class InvalidWebhookError(ValueError):
    """The payload is of no registry that is known, or is malformed."""


@dataclass(frozen=True, slots=True)
class PushNotice:
    """An image that a registry says was pushed."""

    registry: str
    """host[:port]; empty when the payload does not say: match by the repository alone."""
    repository: str
    tag: str
    """Empty when only the digest was named."""
    digest: Digest | None = None
    """A hint only."""


type _Payload = Mapping[str, Any]


def parse_webhook(body: bytes) -> tuple[PushNotice, ...]:
    """Return the pushes in a payload; none for a ping, a pull or a deletion.

    Knows distribution (and zot, which sends its envelope), Harbor (its own form and CloudEvents),
    Quay, Docker Hub, GitHub packages, Azure, and Nexus. Raises InvalidWebhookError.
    """
    try:
        payload = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise InvalidWebhookError(f"the payload is not JSON: {error}") from error
    if not isinstance(payload, dict):
        raise InvalidWebhookError("the payload is not a JSON object")
    for marks, read in _FORMS:
        if all(mark in payload for mark in marks):
            return _collect(read, payload)
    raise InvalidWebhookError(
        "the payload is of no known registry: expected distribution, Harbor, Quay, Docker Hub,"
        " GitHub packages, Azure or Nexus"
    )


def _collect(
    read: Callable[[_Payload], Iterator[PushNotice]], payload: _Payload
) -> tuple[PushNotice, ...]:
    found: dict[PushNotice, None] = {}
    try:
        for notice in read(payload):
            found[notice] = None
            if len(found) > MAX_PUSHES:
                raise InvalidWebhookError(f"the payload names more than {MAX_PUSHES} images")
    except (KeyError, TypeError, AttributeError) as error:
        raise InvalidWebhookError(f"the payload is malformed: {error!r}") from error
    return tuple(found)


def _notice(registry: object, repository: object, tag: object, digest: object) -> PushNotice:
    """Check what a payload says; raises InvalidWebhookError."""
    if not isinstance(repository, str) or not is_repository(repository):
        raise InvalidWebhookError(f"not a repository: {_short(repository)}")
    if tag and (not isinstance(tag, str) or not is_tag(tag)):
        raise InvalidWebhookError(f"not a tag: {_short(tag)}")
    host = registry if isinstance(registry, str) else ""
    if host:
        try:
            host = Reference.parse(f"{host}/{repository}").registry
        except InvalidReferenceError as error:
            raise InvalidWebhookError(f"not a registry: {_short(registry)}") from error
    return PushNotice(host, repository, str(tag or ""), _digest(digest))


def _digest(text: object) -> Digest | None:
    if not isinstance(text, str):
        return None
    try:
        return Digest.parse(text)
    except InvalidDigestError:
        return None  # only a hint


def _short(value: object) -> str:
    return repr(value)[:100]


def _image(text: str, digest: object = None) -> PushNotice:
    """Read `host/repository[:tag][@digest]`."""
    try:
        reference = Reference.parse(text)
    except InvalidReferenceError as error:
        raise InvalidWebhookError(str(error)) from error
    tag = reference.tag or ""
    return PushNotice(
        reference.registry, reference.repository, tag, reference.digest or _digest(digest)
    )


def _distribution(payload: _Payload) -> Iterator[PushNotice]:
    for event in payload["events"]:
        if event.get("action") != "push":
            continue
        target = event["target"]
        if target.get("tag"):  # the push of a blob, or of an image by digest, changes no tag
            host = (event.get("request") or {}).get("host") or _host_of(target.get("url"))
            yield _notice(host, target["repository"], target["tag"], target.get("digest"))


def _host_of(url: object) -> str:
    if not isinstance(url, str) or "://" not in url:
        return ""
    return url.split("://", 1)[1].split("/", 1)[0]


def _harbor(payload: _Payload) -> Iterator[PushNotice]:
    if payload["type"] not in {"PUSH_ARTIFACT", "pushImage", "harbor.artifact.pushed"}:
        return
    data = payload.get("event_data") or payload["data"]
    for resource in data["resources"]:
        if resource.get("tag"):
            yield _image(resource["resource_url"], resource.get("digest"))


def _quay(payload: _Payload) -> Iterator[PushNotice]:
    tags = payload["updated_tags"]
    # Older versions send {tag: id} instead of a list.
    for tag in tags:
        yield _image(f"{payload['docker_url']}:{tag}")


def _docker_hub(payload: _Payload) -> Iterator[PushNotice]:
    name = payload["repository"]["repo_name"]
    repository = name if "/" in name else f"library/{name}"
    yield _notice(DOCKER_HUB, repository, payload["push_data"].get("tag") or "latest", None)


def _github(payload: _Payload) -> Iterator[PushNotice]:
    package = payload.get("registry_package") or payload["package"]
    kind = str(package.get("package_type", "")).lower()
    if payload.get("action") not in {"published", "updated"} or kind not in {"container", "docker"}:
        return
    version = package.get("package_version") or {}
    tag = ((version.get("container_metadata") or {}).get("tag")) or {}
    if tag.get("name"):
        owner = package.get("namespace") or package["owner"]["login"]
        repository = f"{owner}/{package['name']}".lower()
        yield _notice(_GHCR, repository, tag["name"], tag.get("digest"))


def _azure(payload: _Payload) -> Iterator[PushNotice]:
    target = payload["target"]
    if payload["action"] == "push" and target.get("tag"):
        host = (payload.get("request") or {}).get("host")
        yield _notice(host, target["repository"], target["tag"], target.get("digest"))


def _nexus(payload: _Payload) -> Iterator[PushNotice]:
    component = payload["component"]
    if component.get("format") == "docker" and payload.get("action") in {"CREATED", "UPDATED"}:
        # Nexus names its own repository, not the host that clients pull from.
        yield _notice("", component["name"], component.get("version"), None)


def _nothing(payload: _Payload) -> Iterator[PushNotice]:
    del payload
    yield from ()


_FORMS: tuple[tuple[tuple[str, ...], Callable[[_Payload], Iterator[PushNotice]]], ...] = (
    (("events",), _distribution),
    (("type", "event_data"), _harbor),
    (("type", "data", "specversion"), _harbor),
    (("updated_tags", "docker_url"), _quay),
    (("push_data", "repository"), _docker_hub),
    (("registry_package",), _github),
    (("package", "action"), _github),
    (("zen", "hook"), _nothing),
    (("action", "target"), _azure),
    (("component", "action"), _nexus),
    (("id", "action"), _nothing),
)
"""The fields that only one registry's payload has, and who reads it; pings of GitHub and Azure."""
