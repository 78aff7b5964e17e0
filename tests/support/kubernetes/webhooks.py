"""Admission webhooks of somebody else: one that refuses an image, one that puts another there."""

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.support.kubernetes.cluster import KitCluster

from upwell.server.asgi.tls import generated, server_context

REFUSES, CHANGES = "Validating", "Mutating"
_IMAGE = "/spec/template/spec/containers/0/image"


@contextmanager
def image_webhook(
    cluster: KitCluster, folder: Path, kind: str, image: str, instead: str = ""
) -> Iterator[None]:
    """Have the cluster ask about Deployments: `image` is refused, or replaced by `instead`."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            review = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = json.dumps(_answer(review, image, instead)).encode()
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
    made = _configuration(kind, f"https://127.0.0.1:{server.server_port}/", authority)
    cluster.kubectl("apply", "-f", "-", given=json.dumps(made))
    try:
        yield
    finally:
        cluster.kubectl("delete", "-f", "-", given=json.dumps(made))
        server.shutdown()
        server.server_close()
        thread.join()


def _configuration(kind: str, url: str, authority: str) -> dict[str, Any]:
    webhook = {
        "name": "images.policy.example",
        "clientConfig": {"url": url, "caBundle": authority},
        "rules": [
            {
                "operations": ["UPDATE"],
                "apiGroups": ["apps"],
                "apiVersions": ["v1"],
                "resources": ["deployments"],
            }
        ],
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
    }
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": f"{kind}WebhookConfiguration",
        "metadata": {"name": "images-policy"},
        "webhooks": [webhook],
    }


def _answer(review: dict[str, Any], image: str, instead: str) -> dict[str, Any]:
    asked = review["request"]
    found = asked["object"]["spec"]["template"]["spec"]["containers"][0]["image"]
    response: dict[str, Any] = {"uid": asked["uid"], "allowed": found != image or bool(instead)}
    if found == image and instead:
        patch = [{"op": "replace", "path": _IMAGE, "value": instead}]
        response |= {
            "patchType": "JSONPatch",
            "patch": base64.b64encode(json.dumps(patch).encode()).decode(),
        }
    elif found == image:
        response["status"] = {"message": "images need the approval of the security team"}
    return {"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response}
