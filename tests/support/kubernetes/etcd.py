"""The etcd of a cluster of the kit, asked by its JSON gateway (etcd, "gRPC gateway")."""

import json
import ssl
from contextlib import closing
from http import HTTPStatus
from http.client import HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.restarts import command_of


def compact(cluster: KitCluster) -> int:
    """Have etcd forget all that was before now; return the revision that is the first it knows."""
    command, _ = command_of(cluster, "kube-apiserver")
    options = dict(one.removeprefix("--").partition("=")[::2] for one in command)
    context = ssl.create_default_context(cafile=options["etcd-cafile"])
    place = urlsplit(options["etcd-servers"])
    context.load_cert_chain(options["etcd-certfile"], options["etcd-keyfile"])

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = HTTPSConnection(place.netloc, timeout=30, context=context)
        with closing(connection):
            connection.request("POST", f"/v3/kv/{path}", json.dumps(body))
            answer = connection.getresponse()
            found: dict[str, Any] = json.load(answer)
            assert answer.status == HTTPStatus.OK, found
        return found

    revision = int(ask("range", {"key": "AA==", "limit": 1})["header"]["revision"])
    ask("compaction", {"revision": revision, "physical": True})
    return revision
