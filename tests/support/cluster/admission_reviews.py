"""AdmissionReviews as an API server sends them, and what comes of the answers."""

import base64
import copy
import json
from typing import Any

from upwell.api.codec import resource_for

type Document = dict[str, Any]


def review(
    operation: str,
    new: Document | None,
    old: Document | None = None,
    *,
    user: str = "ann",
    groups: tuple[str, ...] = ("system:authenticated",),
    part: str = "",
) -> bytes:
    """Return the request about a write."""
    about = new or old or {}
    group, _, version = about["apiVersion"].rpartition("/")
    kind = resource_for(about["apiVersion"], about["kind"]).KIND
    metadata = about["metadata"]
    request: Document = {
        "uid": "705ab4f5",
        "kind": {"group": group, "version": version, "kind": about["kind"]},
        "resource": {"group": group, "version": version, "resource": kind.plural},
        "name": metadata.get("name", ""),
        "namespace": metadata.get("namespace", ""),
        "operation": operation,
        "userInfo": {"username": user, "groups": list(groups)},
        "object": new,
        "oldObject": old,
        "dryRun": False,
    }
    if part:
        request["subResource"] = part
    document = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request}
    return json.dumps(document).encode()


def patched(document: Document, answer: Document) -> Document:
    """Return what an API server makes of an object by an answer; of whole members alone."""
    response = answer["response"]
    assert response["allowed"], response["status"]["message"]
    result = copy.deepcopy(document)
    if "patch" not in response:
        return result
    assert response["patchType"] == "JSONPatch"
    for step in json.loads(base64.b64decode(response["patch"])):
        *way, last = step["path"].strip("/").split("/")
        place = result
        for name in way:
            place = place[name]
        if step["op"] == "add":
            place[last] = step["value"]
        else:
            del place[last]
    return result
