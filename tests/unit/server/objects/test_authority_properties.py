"""Sequences of requests of somebody who has no right in a namespace read and do nothing there.

The oracle knows no rule: it looks for marks of the namespace in answers, for changes of objects
there, and for its name in the specs that were stored.
"""

import asyncio
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from tests.support.server.api_server import ApiAnswer
from tests.support.server.foreign_documents import (
    build,
    config,
    documents,
    pipeline,
    stream,
    workload,
)
from tests.support.server.granted_api import GrantedApi, open_granted_api, path_of

from upwell.api.codec import RESOURCES, encode
from upwell.api.core import Namespace
from upwell.api.image import Image
from upwell.policy.access.roles import SYSTEM_NAMESPACE, Role

OWN, OTHER = "a", "b"
MARK = "mark-of-b-0bd1"
"""Stands in every object of the other namespace."""
_KINDS = sorted(
    kind.KIND.plural for kind in RESOURCES if kind.KIND.namespaced and kind.KIND.is_stored
)
_PARTS = [
    "",
    "",
    "",
    "status",
    "scale",
    "log",
    "token",
    "instantiate",
    "clone",
    "promote",
    "approve",
]
_SECONDS = 30
"""The longest that a sequence may take."""
_MERGE = "application/merge-patch+json"


@dataclass(frozen=True)
class Sent:
    """A request: a document for a collection, a patch or a look."""

    method: str
    plural: str
    namespace: str
    name: str = ""
    part: str = ""
    body: Any = None

    @property
    def path(self) -> str:
        path = path_of(self.plural, self.namespace or "-", self.name, self.part)
        return path if self.namespace else path.replace("/namespaces/-", "")


def _others() -> Mapping[str, dict[str, Any]]:
    """Return an object of each kind with the mark, for the other namespace."""
    noted = {"metadata": {"name": "app", "annotations": {"note": MARK}}}
    trusted = {"metadata": {"name": "app", "annotations": {"upwell.dev/grants": f"admin@{OTHER}"}}}
    container = {"env": [{"name": "M", "value": MARK}]}
    web = workload("docker.io/library/web:1")
    web["spec"]["template"]["spec"]["containers"][0] |= container
    release = {"spec": {"pipeline": "app", "number": 1, "components": []}}
    promotion = {"spec": {"pipeline": "app", "release": "app", "stage": "dev"}}
    return {
        "secrets": noted | {"stringData": {"key": MARK}},
        "serviceaccounts": trusted,
        "configmaps": noted | {"data": {"key": MARK}},
        "deployments": noted | web,
        "imagestreams": noted | stream({"kind": "DockerImage", "name": f"docker.io/web:{MARK}"}),
        "buildconfigs": noted | build(),
        "builds": noted | build(),
        "pipelines": noted | pipeline(),
        "releases": noted | release,
        "promotions": noted | promotion,
        "deploymentconfigs": noted | config({}),
        "statefulsets": noted | web,
        "daemonsets": noted | web,
        "services": noted | {"spec": {"ports": [{"port": 80}]}},
        "routes": noted | {"spec": {"to": {"kind": "Service", "name": "app"}}},
        "templates": noted | {"objects": [{"apiVersion": "v1", "kind": "ConfigMap"} | noted]},
        "networkpolicies": noted | {"spec": {"podSelector": {}}},
        "resourcequotas": noted | {"spec": {"hard": {"pods": "5"}}},
        "pods": noted | {"spec": {"containers": [{"name": "web", "image": "web:1"} | container]}},
        "ingresses": noted | {"spec": {"rules": [{"host": "app.example"}]}},
        "persistentvolumeclaims": noted
        | {
            "spec": {
                "accessModes": ["ReadWriteOnce"],
                "resources": {"requests": {"storage": "1Gi"}},
            }
        },
        "rolebindings": noted | {"roleRef": {"name": "edit"}},
    }


async def test_the_server_knows_the_path_of_every_kind(tmp_path: Path) -> None:
    async with open_granted_api(tmp_path) as granted:
        for plural in _KINDS:
            answer = await granted.send("admin", "GET", path_of(plural, OTHER))
            assert (plural, answer.status) == (plural, 200), answer.text


@st.composite
def requests(draw: st.DrawFn) -> Sent:
    """Return a request: to write what names a namespace, to change it, or to look or act there."""
    where = draw(st.sampled_from([OTHER, OTHER, OWN, "", SYSTEM_NAMESPACE]))
    made = documents("app", where)
    plural, document = made[draw(st.sampled_from(sorted(made)))]
    place = draw(st.sampled_from([OWN, OWN, OWN, OTHER]))
    how = draw(st.sampled_from(["create", "create", "patch", "replace", "any"]))
    if how == "create":
        return Sent("POST", plural, place, body=document)
    if how == "patch":
        changes = {key: value for key, value in document.items() if key != "kind"}
        return Sent("PATCH", plural, place, "app", body=changes)
    if how == "replace":
        return Sent("PUT", plural, place, "app", body=document)
    method = draw(st.sampled_from(["GET", "GET", "POST", "PATCH", "DELETE"]))
    part = draw(st.sampled_from(_PARTS))
    named = "" if method == "POST" and not part else draw(st.sampled_from(["app", "", "app"]))
    plural = draw(st.sampled_from(_KINDS))
    place = draw(st.sampled_from([OTHER, OTHER, OTHER, SYSTEM_NAMESPACE, ""]))
    body = draw(st.sampled_from([None, {}, {"stage": "dev"}, document]))
    return Sent(method, plural, place, named, part if named else "", body)


@pytest.mark.timeout(300)  # some forty servers, one after the other
@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    # Shorter sequences are not sought: of one that hangs, each look would take all of its time.
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
)
@given(
    roles=st.sets(st.sampled_from(sorted(Role)), min_size=1),
    sequence=st.lists(requests(), min_size=4, max_size=14),
)
def test_nothing_is_read_or_done_where_one_has_no_right(
    roles: set[Role], sequence: Sequence[Sent]
) -> None:
    asyncio.run(_attempt(roles, sequence))


async def _attempt(roles: set[Role], sequence: Sequence[Sent]) -> None:
    # Not pytest's limit: what a signal raises in a callback of the event loop is lost.
    with tempfile.TemporaryDirectory() as folder:
        async with asyncio.timeout(_SECONDS), open_granted_api(Path(folder)) as granted:
            await granted.grant("eve", *(f"{role}@{OWN}" for role in roles))
            for plural, document in _others().items():
                made = await granted.create("admin", plural, OTHER, document)
                assert made.status == 201, made.text
            before = await _elsewhere(granted)
            for sent in sequence:
                answer = await _send(granted, sent)
                assert MARK not in answer.text, (sent, answer.text)
                assert answer.status < 500, (sent, answer.text)
            assert await _elsewhere(granted) == before
            assert await _naming(granted) == []


async def _send(granted: GrantedApi, sent: Sent) -> ApiAnswer:
    options = {"content_type": _MERGE} if sent.method == "PATCH" else {}
    return await granted.send("eve", sent.method, sent.path, sent.body, **options)


async def _elsewhere(granted: GrantedApi) -> dict[str, str]:
    """Return the version of every object outside the own namespace; a digest is everybody's."""
    found = {}
    for kind in RESOURCES:
        if kind in {Image, Namespace}:
            continue
        for one in (await granted.api.store.list(kind)).items:
            if one.namespace != OWN:
                found[str(one.key)] = one.resource_version
    return found


async def _naming(granted: GrantedApi) -> list[str]:
    """Return the objects of the own namespace that name another one where that has an effect."""
    found = []
    for kind in RESOURCES:
        for one in (await granted.api.store.list(kind)).items:
            document = encode(one)
            triggers = one.annotations.get("image.openshift.io/triggers", "")
            given = one.annotations.get("upwell.dev/grants", "")
            texts = repr(document.get("spec")) + triggers.replace('"', "'") + given
            names = (OTHER, SYSTEM_NAMESPACE)
            marks = [f"'namespace': '{name}'" for name in names]
            marks += [f"/{name}/app@" for name in names]
            marks += [f"'namespaces': ['{name}']" for name in names]
            marks += [f"@{name}" for name in names]
            if one.namespace == OWN and any(mark in texts for mark in marks):
                found.append(f"{one.key}: {texts}")
    return found
