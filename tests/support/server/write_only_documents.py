"""Objects of every kind that has write-only fields, with a secret in each of them."""

import json
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import quote

from pydantic import BaseModel

from upwell.api.codec import RESOURCES
from upwell.api.meta import Resource
from upwell.api.write_only.hidden import LAST_APPLIED, write_only_fields

type Document = dict[str, Any]

OF_READERS = frozenset({"Secret", "ProcessedTemplate"})
"""Kinds that nobody gets without the right to read Secrets, or that are answers alone."""


class Secrets:
    """Gives each field a secret of its own, made of `text`."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._count = 0

    def value(self) -> str:
        """Return another secret."""
        self._count += 1
        return f"mark{self._count}-{self._text}"

    def url(self, path: str = "x") -> str:
        """Return a URL with a secret password and a secret in its query."""
        password, token = quote(self.value(), safe=""), quote(self.value(), safe="")
        return f"https://ada:{password}@git.example.com/{path}?token={token}"

    @property
    def marks(self) -> list[str]:
        """Beginnings of all, which no encoding changes, and no two share."""
        return [f"mark{number}-" for number in range(1, self._count + 1)]


def documents(secrets: Secrets) -> Iterator[Document]:
    """Yield an object of each kind."""
    route = _object(
        "route.openshift.io/v1",
        "Route",
        {
            "host": "shop.example.com",
            "to": {"name": "web"},
            "tls": {"termination": "edge", "key": secrets.value()},
        },
    )
    yield route
    yield _object("build.openshift.io/v1", "BuildConfig", _build(secrets) | {"triggers": [
        {"type": name, name.lower(): {"secret": secrets.value()}}
        for name in ("GitHub", "GitLab", "Bitbucket", "Generic")
    ]})  # fmt: skip
    yield _object("build.openshift.io/v1", "Build", _build(secrets))
    yield _object(
        "upwell.dev/v1alpha1",
        "Pipeline",
        _pipeline(_checks(secrets), {"runningUrl": secrets.url("running")}),
    )
    inside = json.loads(json.dumps(route))
    inside["spec"]["tls"]["key"] = secrets.value()
    template = _object("template.openshift.io/v1", "Template", {})
    del template["spec"]
    yield template | {"objects": [inside]}


def _object(api_version: str, kind: str, spec: Document) -> Document:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": f"one-{kind.lower()}", "namespace": "shop"},
        "spec": spec,
    }


def _build(secrets: Secrets) -> Document:
    git = {
        "uri": secrets.url("app"),
        "httpProxy": secrets.url("proxy"),
        "httpsProxy": secrets.url("proxy"),
    }
    strategy = {
        "from": {"kind": "DockerImage", "name": "registry.example.com/builder:1"},
        "scripts": secrets.url("scripts"),
    }
    return {
        "source": {"type": "Git", "git": git},
        "strategy": {"type": "Source", "sourceStrategy": strategy},
    }


def _checks(secrets: Secrets) -> list[Document]:
    return [
        {"name": "http", "http": {"url": secrets.url("check")}},
        {"name": "webhook", "webhook": {"url": secrets.url("ci")}},
    ]


def refused_documents(secrets: Secrets) -> Iterator[Document]:
    """Yield an object for each field that takes no secret, though it might hold one."""
    yield _object("upwell.dev/v1alpha1", "Subscription", {"webhook": {"url": secrets.url("hook")}})
    metric = {"server": secrets.url("prometheus"), "query": "up", "condition": "> 0"}
    yield _object(
        "upwell.dev/v1alpha1", "Pipeline", _pipeline([{"name": "metric", "metric": metric}], {})
    )
    target = {"repository": secrets.url("deploy")}
    yield _object("upwell.dev/v1alpha1", "Pipeline", _pipeline([], target))


def _pipeline(checks: list[Document], git: Document) -> Document:
    target = {"repository": "https://git.example.com/deploy", "path": "production", **git}
    component = {"name": "shop", "from": {"kind": "ImageStreamTag", "name": "shop:latest"}}
    dev = {"name": "dev", "workloads": [{"kind": "Deployment", "name": "web"}]}
    stages = [dev | {"verification": {"checks": checks}}, {"name": "production", "git": target}]
    return {"components": [component], "stages": stages}


def forgotten(made: Sequence[Resource]) -> list[str]:
    """Return the write-only fields that none of the objects has a secret in."""
    return [
        path
        for kind in RESOURCES
        if kind.KIND.kind not in OF_READERS
        for path in _forgotten(kind, [one for one in made if type(one) is kind], kind.KIND.kind)
    ]


def _forgotten(model: type[BaseModel], values: list[Any], path: str) -> Iterator[str]:
    for field in write_only_fields(model):
        here = f"{path}.{field.alias}"
        found = [getattr(one, field.name) for one in values]
        items = [one for value in found for one in _flat(value)]
        if field.rule is not None and not any(map(_is_secret, items)):
            yield here
        if field.below is not None:
            yield from _forgotten(
                field.below, [one for one in items if isinstance(one, field.below)], here
            )


def _is_secret(value: Any) -> bool:
    return "mark" in str(value)


def _flat(value: Any) -> list[Any]:
    return list(value) if isinstance(value, tuple | list) else [value]


def with_copy(document: Document) -> Document:
    """Return an object as kubectl's client-side apply sends it: with itself in an annotation."""
    metadata = document["metadata"] | {"annotations": {LAST_APPLIED: json.dumps(document)}}
    return document | {"metadata": metadata}
