"""The etcd of a cluster of the kit, asked by its JSON gateway (etcd, "gRPC gateway")."""

import base64
import json
import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from http import HTTPStatus
from http.client import HTTPSConnection
from itertools import batched
from typing import Any
from urllib.parse import urlsplit

from tests.support.kubernetes.cluster import KitCluster
from tests.support.kubernetes.restarts import command_of

_MOST_OPERATIONS = 128
"""Of one transaction (etcd, `--max-txn-ops`)."""

type Ask = Callable[[str, dict[str, Any]], dict[str, Any]]


@contextmanager
def _opened(cluster: KitCluster) -> Iterator[Ask]:
    command, _ = command_of(cluster, "kube-apiserver")
    options = dict(one.removeprefix("--").partition("=")[::2] for one in command)
    context = ssl.create_default_context(cafile=options["etcd-cafile"])
    place = urlsplit(options["etcd-servers"])
    context.load_cert_chain(options["etcd-certfile"], options["etcd-keyfile"])
    connection = HTTPSConnection(place.netloc, timeout=60, context=context)

    def ask(path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection.request("POST", f"/v3/kv/{path}", json.dumps(body))
        answer = connection.getresponse()
        found: dict[str, Any] = json.load(answer)
        assert answer.status == HTTPStatus.OK, found
        return found

    with closing(connection):
        yield ask


def compact(cluster: KitCluster) -> int:
    """Have etcd forget all that was before now; return the revision that is the first it knows."""
    with _opened(cluster) as ask:
        found = ask("range", {"key": "AA==", "limit": 1})
        revision = int(found["header"]["revision"])
        ask("compaction", {"revision": revision, "physical": True})
    return revision


def put_all(cluster: KitCluster, resource: str, documents: Iterable[dict[str, Any]]) -> None:
    """Store objects of a kind, such as `pods`, past the API server: nobody checks or admits them.

    It reads JSON as it reads what it stores itself.
    """

    def put(document: dict[str, Any]) -> dict[str, Any]:
        metadata = document["metadata"]
        key = f"/registry/{resource}/{metadata['namespace']}/{metadata['name']}"
        value = json.dumps(document)
        return {"requestPut": {"key": _base64(key), "value": _base64(value)}}

    with _opened(cluster) as ask:
        for some in batched(documents, _MOST_OPERATIONS):
            ask("txn", {"success": [put(one) for one in some]})


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
