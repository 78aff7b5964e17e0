"""Pods of a cluster over the Kubernetes API: page by page, then as they change.

Of what the API sends, a record is kept that has a small part; its texts and its containers are
those of other records where they are equal, as most are.
"""

import re
import sys
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from http import HTTPStatus
from typing import Any

from upwell.api.meta import ObjectKey
from upwell.api.pod import Pod
from upwell.cluster.errors import ClusterError, ListExpiredError
from upwell.cluster.interface import PodChange, PodContainer, PodRecord
from upwell.cluster.kubernetes import cluster_error
from upwell.cluster.kubernetes_documents import list_pages
from upwell.store.interface import StoreError
from upwell.store.kubernetes_errors import ApiStatus
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, parse_object

PAGE = 500
"""Pods in one answer."""
_WATCH_SECONDS = 240
_DIGEST = re.compile(r"@(sha256:[0-9a-f]{64})$")
"""End of an imageID that names a manifest; a bare id is that of the image's configuration."""
_OF_CRON_JOB = re.compile(r"(.+)-(?:2[5-9][0-9]{6}|[3-9][0-9]{7}|1[5-9][0-9]{8})")
"""Name of a CronJob's Job: with its time since 2017, in minutes (batch/v1) or seconds
(batch/v1beta1). A date such as 20261130 is none: a person's Job may end in one."""
_CONFIG_LABEL = "deploymentconfig"
"""Label that Pods of a DeploymentConfig have (openshift/api, apps/v1)."""
_MOST_KNOWN = 50_000
"""Different containers that are kept to share them; beyond, as many crash, they begin anew."""
_MAX_MESSAGE = 1000
"""Characters of why a container waits: the kubelet lets a container say 4096 bytes."""
_STATUSES = ("initContainerStatuses", "containerStatuses", "ephemeralContainerStatuses")


class KubernetesPods:
    """Implements ClusterPods for all namespaces, or one."""

    def __init__(self, api: ApiConnection, namespace: str = "", *, page: int = PAGE) -> None:
        self._api = api
        self._request = ApiRequest("GET", Pod.KIND, ObjectKey("Pod", namespace, ""))
        self._page = page
        self._known: dict[tuple[PodContainer, ...], tuple[PodContainer, ...]] = {}

    async def list(self) -> tuple[Sequence[PodRecord], str]:
        """Return all Pods; a list that expires between two pages has to begin anew."""
        self._known.clear()
        found: list[PodRecord] = []
        version = ""
        async with aclosing(list_pages(self._api, self._request, self._page)) as pages:
            async for page in pages:
                found += [self._record(item) for item in page.items]
                version = page.resource_version
        return found, version

    async def watch(self, since: str) -> AsyncGenerator[tuple[PodChange | None, str]]:
        """Yield changes until the cluster ends the watch."""
        params = {
            "watch": "1",
            "allowWatchBookmarks": "true",
            "resourceVersion": since,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        try:
            await self._api.require_reached(self._request, since)
            async with aclosing(self._api.lines(replace(self._request, params=params))) as lines:
                async for line in lines:
                    yield self._change(line, since)
        except StoreError as error:
            raise cluster_error(error) from error

    def _change(self, line: bytes, since: str) -> tuple[PodChange | None, str]:
        event = parse_object(line, "Pods")
        pod, kind = _mapping(event.get("object")), event.get("type")
        if kind == "ERROR":
            status = ApiStatus.of(pod, HTTPStatus.INTERNAL_SERVER_ERROR)
            if status.code == HTTPStatus.GONE:
                raise ListExpiredError(f"resourceVersion {since} is too old: list again")
            raise ClusterError(f"the watch of Pods broke: {status.message}")
        version = str(_mapping(pod.get("metadata")).get("resourceVersion") or since)
        if kind == "BOOKMARK":
            return None, version
        return PodChange(self._record(pod), gone=kind == "DELETED"), version

    def _record(self, pod: Mapping[str, Any]) -> PodRecord:
        meta, spec = _mapping(pod.get("metadata")), _mapping(pod.get("spec"))
        status = _mapping(pod.get("status"))
        owner_kind, owner = owner_of_pod(meta)
        containers = tuple(_containers(spec, status))
        ready = any(
            one.get("type") == "Ready" and one.get("status") == "True"
            for one in status.get("conditions") or ()
        )
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        return PodRecord(
            _shared(meta.get("namespace")),
            str(meta.get("name") or ""),
            _shared(owner_kind),
            _shared(owner),
            _shared(spec.get("nodeName")),
            ready,
            self._known.setdefault(containers, containers),
        )


def owner_of_pod(meta: Mapping[str, Any]) -> tuple[str, str]:
    """Return kind and name of a Pod's workload, as names of its ReplicaSet or Job tell it.

    That of a ReplicationController is the DeploymentConfig that its labels name, if one does.
    """
    for reference in meta.get("ownerReferences") or ():
        if not reference.get("controller"):
            continue
        kind, name = str(reference.get("kind")), str(reference.get("name"))
        labels = _mapping(meta.get("labels"))
        suffix = f"-{labels.get('pod-template-hash')}"
        if kind == "ReplicaSet" and name.endswith(suffix):
            return "Deployment", name.removesuffix(suffix)
        config = str(labels.get(_CONFIG_LABEL) or "")
        if kind == "ReplicationController" and config and name.startswith(f"{config}-"):
            return "DeploymentConfig", config
        if kind == "Job" and (match := _OF_CRON_JOB.fullmatch(name)):
            return "CronJob", match[1]
        return kind, name
    return "Pod", str(meta.get("name") or "")


def _containers(spec: Mapping[str, Any], status: Mapping[str, Any]) -> Iterator[PodContainer]:
    declared = {
        one.get("name"): one.get("image")
        for part in ("initContainers", "containers", "ephemeralContainers")
        for one in spec.get(part) or ()
    }
    observed = {one.get("name"): one for part in _STATUSES for one in status.get(part) or ()}
    for name, image in declared.items():
        one = _mapping(observed.get(name))
        state, last = _mapping(one.get("state")), _mapping(one.get("lastState"))
        waiting = _mapping(state.get("waiting"))
        digest = _DIGEST.search(str(one.get("imageID") or ""))
        yield PodContainer(
            _shared(name),
            _shared(image),
            _shared(digest[1] if digest else ""),
            _shared(waiting.get("reason")),
            _message(waiting, _mapping(last.get("terminated"))),
            int(one.get("restartCount") or 0),
        )


def _message(waiting: Mapping[str, Any], ended: Mapping[str, Any]) -> str:
    """Say why a container waits: of one that crashed, how it ended is the reason."""
    if not waiting:
        return ""
    if ended:
        words = str(ended.get("message") or "").strip() or str(ended.get("reason") or "")
        return f"exit status {ended.get('exitCode')} ({words[:_MAX_MESSAGE]})"
    return str(waiting.get("message") or "")[:_MAX_MESSAGE]


def _shared(text: object) -> str:
    return sys.intern(text) if isinstance(text, str) else ""


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
