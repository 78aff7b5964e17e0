"""OpenShift's own Templates: each of their objects is taken, but for those that are not valid."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.openshift import CORPUS, needs_corpus
from tests.support.server.api_server import Api, serving

from upwell.api.codec import UnknownKindError, decode_as, resource_for
from upwell.api.manifests import InvalidManifestTextError, parse_manifests
from upwell.api.schemas.openapi import collection_path
from upwell.api.template import Template
from upwell.policy.templates.process import (
    InvalidTemplateError,
    ProcessRequest,
    process_template,
)
from upwell.server.http.limits import ServerLimits

pytestmark = needs_corpus

REFUSED = {
    "Job",  # extensions/v1beta1 and v1beta2 went with Kubernetes 1.16
    "Foo",  # a kind that a test of OpenShift has made up
    "User",  # people sign in, and are no objects
    "template-type-precision",  # numbers that no Pod takes
}
"""Kinds and names that are not taken, and are right not to be."""


def templates() -> Iterator[tuple[Path, Template]]:
    for file in sorted(CORPUS.rglob("*")):
        if file.suffix not in {".json", ".yaml", ".yml"}:
            continue
        try:
            documents = parse_manifests(file.read_text(), file.name)
        except InvalidManifestTextError:
            continue
        for document in documents:
            if document.get("kind") == "Template":
                yield file, decode_as(Template, document)


def objects(template: Template) -> tuple[dict[str, Any], ...]:
    values = {one.name: one.value or "x1" for one in template.parameters if not one.generate}
    return process_template(template, ProcessRequest(values), lambda letters: letters[0]).objects


async def refusal(api: Api, document: dict[str, Any]) -> str:
    """Return what is said to an object that is not taken; empty: it is."""
    try:
        kind = resource_for(document["apiVersion"], document["kind"]).KIND
    except UnknownKindError as error:
        return str(error)
    namespace = (document.get("metadata") or {}).get("namespace") or "shop"
    path = collection_path(kind).format(namespace=namespace)
    answer = await api.send("POST", f"{path}?dryRun=All", document)
    return "" if answer.status == 201 else answer.text


async def test_templates_apply() -> None:
    taken, refused = 0, {}
    async with serving(ServerLimits()) as api:
        for file, template in templates():
            try:
                documents = objects(template)
            except InvalidTemplateError:
                continue
            for document in documents:
                name = (document.get("metadata") or {}).get("name", "")
                if not name and not (document.get("metadata") or {}).get("generateName"):
                    continue
                why = await refusal(api, document)
                taken += not why
                if why and not {document["kind"], name} & REFUSED:
                    refused[file.name, document["kind"], name] = why
    assert refused == {}
    assert taken > 60
