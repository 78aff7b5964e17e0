"""Discovery: groups, versions, resources; plain, and aggregated (apidiscovery.k8s.io)."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from upwell.api.codec import RESOURCES
from upwell.api.meta import Kind, Resource
from upwell.api.schemas import openapi, openapi_protobuf
from upwell.server.http.errors import ApiError

_PART_KINDS = {
    "scale": {"group": "autoscaling", "version": "v1", "kind": "Scale"},
    "eviction": {"group": "policy", "version": "v1", "kind": "Eviction"},
    "token": {"group": "authentication.k8s.io", "version": "v1", "kind": "TokenRequest"},
}
"""Kinds of parts that are not those of their objects."""
_IN_ALL = {
    "buildconfigs",
    "builds",
    "cronjobs",
    "daemonsets",
    "deploymentconfigs",
    "deployments",
    "imagestreams",
    "jobs",
    "pods",
    "routes",
    "services",
    "statefulsets",
}
"""Category `all`, as `kubectl get all` shows it: what runs, and what it comes from."""

type Document = dict[str, Any]

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_READ_VERBS = ("get", "list", "watch")
_METHOD_VERBS = {
    "DELETE": "delete",
    "GET": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
}
_KUBERNETES = ("1", "32")
"""The version of Kubernetes whose API conventions are spoken; clients compare theirs with it."""


@dataclass(frozen=True, slots=True)
class Subresource:
    """A part of an object, and the methods that it answers."""

    plural: str
    name: str
    methods: tuple[str, ...]

    @property
    def verbs(self) -> list[str]:
        """The methods as verbs."""
        return sorted(_METHOD_VERBS[method] for method in self.methods)


def create_routes(subresources: Sequence[Subresource], version: str) -> list[BaseRoute]:
    """Return the routes that describe the API; `version` is Upwell's own."""
    discovery = _Discovery(subresources, version)
    return [
        Route("/version", discovery.version),
        Route("/api", discovery.core_versions),
        Route("/apis", discovery.groups),
        Route("/api/v1", discovery.core_resources),
        Route("/apis/{group}", discovery.group),
        Route("/apis/{group}/{version}", discovery.resources),
        Route("/openapi/v2", discovery.openapi_v2),
        Route("/openapi/v3", discovery.openapi_v3),
        Route("/openapi/v3/{path:path}", discovery.openapi_v3_group),
    ]


class _Discovery:
    def __init__(self, subresources: Sequence[Subresource], version: str) -> None:
        self._subresources = subresources
        self._version = version

    async def version(self, request: Request) -> Response:
        """Answer the version of the API that is spoken."""
        del request
        major, minor = _KUBERNETES
        return JSONResponse(
            {
                "major": major,
                "minor": minor,
                "gitVersion": f"v{major}.{minor}.0+upwell.{self._version}",
                "gitCommit": "",
                "gitTreeState": "clean",
                "buildDate": "1970-01-01T00:00:00Z",
                "goVersion": "none",
                "compiler": "none",
                "platform": "linux/amd64",
            }
        )

    async def core_versions(self, request: Request) -> Response:
        """Answer the versions of the core group."""
        if (aggregated := _wanted_aggregate(request)) is not None:
            return self._aggregate(aggregated, [""])
        return JSONResponse({"kind": "APIVersions", "versions": ["v1"]})

    async def groups(self, request: Request) -> Response:
        """Answer the groups."""
        names = [name for name in _group_names() if name]
        if (aggregated := _wanted_aggregate(request)) is not None:
            return self._aggregate(aggregated, names)
        groups = [_group(name) for name in names]
        return JSONResponse({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})

    async def group(self, request: Request) -> Response:
        """Answer one group."""
        name = request.path_params["group"]
        if name not in _group_names():
            raise ApiError(404, f"there is no API group {name!r}")
        return JSONResponse({"kind": "APIGroup", "apiVersion": "v1", **_group(name)})

    async def core_resources(self, request: Request) -> Response:
        """Answer the resources of the core group."""
        del request
        return self._resource_list("", "v1")

    async def resources(self, request: Request) -> Response:
        """Answer the resources of a group's version."""
        return self._resource_list(request.path_params["group"], request.path_params["version"])

    async def openapi_v2(self, request: Request) -> Response:
        """Answer the OpenAPI 2 document: in JSON, and to kubectl in protobuf."""
        accept = request.headers.get("Accept", "")
        if any(name in accept for name in openapi_protobuf.ASKED_FOR):
            content = openapi_protobuf.document_v2_protobuf()
            return Response(content, media_type=openapi_protobuf.MEDIA_TYPE)
        if "json" not in accept and "*" not in accept and accept:
            raise ApiError(406, f"the answer can be JSON or {openapi_protobuf.MEDIA_TYPE}")
        return JSONResponse(openapi.document_v2())

    async def openapi_v3(self, request: Request) -> Response:
        """Answer the index of the OpenAPI 3 documents."""
        del request
        return JSONResponse(openapi.index_v3())

    async def openapi_v3_group(self, request: Request) -> Response:
        """Answer one group's OpenAPI 3 document."""
        document = openapi.document_v3(request.path_params["path"])
        if document is None:
            raise ApiError(404, "there is no such group and version")
        return JSONResponse(document)

    def _resource_list(self, group: str, version: str) -> Response:
        listed: list[Document] = []
        for resource in _resources_of(group, version):
            kind = resource.KIND
            listed.append(_named(kind, kind.plural, _verbs(resource)))
            for part in self._parts(kind):
                named = _named(kind, f"{kind.plural}/{part.name}", part.verbs)
                listed.append(named | _PART_KINDS.get(part.name, {}))
        if not listed:
            raise ApiError(404, f"there is no API version {group}/{version}")
        group_version = f"{group}/{version}" if group else version
        return JSONResponse(
            {
                "kind": "APIResourceList",
                "apiVersion": "v1",
                "groupVersion": group_version,
                "resources": listed,
            }
        )

    def _parts(self, kind: Kind) -> list[Subresource]:
        return [part for part in self._subresources if part.plural == kind.plural]

    def _aggregate(self, version: str, groups: Iterable[str]) -> Response:
        document = {
            "kind": "APIGroupDiscoveryList",
            "apiVersion": f"apidiscovery.k8s.io/{version}",
            "metadata": {},
            "items": [
                {
                    "metadata": {"name": group},
                    "versions": [
                        {
                            "version": group_version,
                            "freshness": "Current",
                            "resources": [
                                self._discovered(resource)
                                for resource in _resources_of(group, group_version)
                            ],
                        }
                        for group_version in _versions(group)
                    ],
                }
                for group in groups
            ],
        }
        media_type = f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
        return JSONResponse(document, media_type=media_type)

    def _discovered(self, resource: type[Resource]) -> Document:
        kind = resource.KIND
        response_kind = {"group": kind.group, "version": kind.version, "kind": kind.kind}
        return {
            "resource": kind.plural,
            "responseKind": response_kind,
            "scope": kind.scope.value,
            "singularResource": kind.singular,
            "verbs": list(_verbs(resource)),
            "shortNames": list(kind.short_names),
            "categories": _categories(kind),
            "subresources": [
                {
                    "subresource": part.name,
                    "responseKind": _PART_KINDS.get(part.name, response_kind),
                    "verbs": part.verbs,
                }
                for part in self._parts(kind)
            ],
        }


def _wanted_aggregate(request: Request) -> str | None:
    """Return the first version of aggregated discovery that the client prefers to the plain one."""
    for wanted in request.headers.get("Accept", "").split(","):
        options = {part.strip() for part in wanted.split(";")}
        if {"application/json", "as=APIGroupDiscoveryList"} <= options:
            return next((v for v in ("v2", "v2beta1") if f"v={v}" in options), None)
        if options == {"application/json"}:
            return None
    return None


def _places(kind: Kind) -> Iterator[tuple[str, str]]:
    """Yield each group and version in which a kind is found."""
    yield kind.group, kind.version
    for alias in kind.aliases:
        group, _, version = alias.rpartition("/")
        yield group, version


def _group_names() -> list[str]:
    places = (place for resource in RESOURCES for place in _places(resource.KIND))
    return list(dict.fromkeys(group for group, _ in places))


def _versions(group: str) -> list[str]:
    places = (place for resource in RESOURCES for place in _places(resource.KIND))
    return list(dict.fromkeys(version for other, version in places if other == group))


def _resources_of(group: str, version: str) -> list[type[Resource]]:
    return [r for r in RESOURCES if (group, version) in _places(r.KIND)]


def _group(name: str) -> Document:
    versions = [
        {"groupVersion": f"{name}/{version}", "version": version} for version in _versions(name)
    ]
    return {"name": name, "versions": versions, "preferredVersion": versions[0]}


def _verbs(resource: type[Resource]) -> Sequence[str]:
    return _READ_VERBS if resource.KIND.read_only else resource.KIND.verbs or _VERBS


def _named(kind: Kind, name: str, verbs: Iterable[str]) -> Document:
    return {
        "name": name,
        "singularName": "" if "/" in name else kind.singular,
        "namespaced": kind.namespaced,
        "kind": kind.kind,
        "verbs": list(verbs),
        "shortNames": [] if "/" in name else list(kind.short_names),
        "categories": [] if "/" in name else _categories(kind),
    }


def _categories(kind: Kind) -> list[str]:
    return ["all"] if kind.plural in _IN_ALL else []
