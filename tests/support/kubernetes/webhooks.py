"""Admission webhooks of somebody else: one that refuses an image, one that puts another there."""

import base64
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.served_cluster import until
from tests.support.ports import free_port

from upwell.server.asgi.tls import generated, server_context

REFUSES, CHANGES = "Validating", "Mutating"
_IMAGE = "/spec/template/spec/containers/0/image"


type Answer = Callable[[dict[str, Any]], dict[str, Any]]
"""Returns the `response` to the `request` of a review (admission.k8s.io/v1), but for its uid."""
_RULE = {"apiVersions": ["*"], "scope": "Namespaced"}
DEPLOYMENTS = {"operations": ["UPDATE"], "apiGroups": ["apps"], "resources": ["deployments"]}


@contextmanager
def image_webhook(
    cluster: KitCluster,
    folder: Path,
    kind: str,
    deployment: Sequence[str],
    image: str,
    instead: str = "",
) -> Iterator[None]:
    """Have the cluster ask about Deployments: `image` is refused, or replaced by `instead`.

    `deployment` is one as kubectl names it, which runs another image: the block begins when the
    cluster asks about it.
    """
    asked = threading.Event()

    def answer(request: dict[str, Any]) -> dict[str, Any]:
        asked.set()
        found = request["object"]["spec"]["template"]["spec"]["containers"][0]["image"]
        if found != image:
            return {"allowed": True}
        if not instead:
            return denied("images need the approval of the security team")
        patch = [{"op": "replace", "path": _IMAGE, "value": instead}]
        text = base64.b64encode(json.dumps(patch).encode()).decode()
        return {"allowed": True, "patchType": "JSONPatch", "patch": text}

    touch = json.dumps({"metadata": {"annotations": {"asked": "yes"}}})
    patch = ("patch", *deployment, "--dry-run=server", "--type=merge", "-p", touch)
    with webhook(cluster, folder, kind, DEPLOYMENTS, answer):
        until(lambda: cluster.kubectl(*patch), lambda _: asked.is_set())
        yield


def denied(message: str, code: int = 403) -> dict[str, Any]:
    """Return a denial with a code of the webhook's choice."""
    return {"allowed": False, "status": {"message": message, "code": code}}


@contextmanager
def webhook(
    cluster: KitCluster, folder: Path, kind: str, rule: dict[str, Any], answer: Answer
) -> Iterator[None]:
    """Have the cluster ask about what a rule (admissionregistration/v1) is about."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["request"]
            response = {"uid": request["uid"], **answer(request)}
            version = {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview"}
            body = json.dumps({**version, "response": response}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            return

    certificate = generated(folder / "tls", ["127.0.0.1"], datetime.now(UTC))
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.socket = server_context(certificate).wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    authority = base64.b64encode((folder / "tls" / "ca.pem").read_bytes()).decode()
    client = {"url": f"https://127.0.0.1:{server.server_port}/", "caBundle": authority}
    try:
        with _configured(cluster, kind, rule, client):
            yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def unreachable_webhook(cluster: KitCluster, rule: dict[str, Any]) -> Iterator[None]:
    """Have the cluster ask somebody who is not there, without whom nothing is written."""
    with _configured(cluster, REFUSES, rule, {"url": f"https://127.0.0.1:{free_port()}/"}):
        yield


@contextmanager
def _configured(
    cluster: KitCluster, kind: str, rule: dict[str, Any], client: dict[str, Any]
) -> Iterator[None]:
    made = {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "images-policy"},
        "webhooks": [
            {
                "name": "images.policy.example",
                "clientConfig": client,
                "rules": [{**_RULE, **rule}],
                "admissionReviewVersions": ["v1"],
                "sideEffects": "None",
            }
        ],
    }
    cluster.kubectl("apply", "-f", "-", given=json.dumps(made))
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", given=json.dumps(made))
