"""The judgement of a real Kubernetes API server: a dry run of an object's creation.

    python -m tests.support.mutations.kubernetes.apiserver URL TOKEN CA-FILE

makes `accepted.json` anew, of the API server there.
"""

import json
import ssl
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from http.client import HTTPSConnection
from urllib.parse import urlsplit

from tests.support.mutations.kubernetes.verdicts import KINDS, RECORDING, mutants_of, places
from tests.support.mutations.mutants import Document

from upwell.api.codec import resource_of_kind

_VERSIONS = {"CronJob": "batch/v1beta1"}
"""Versions that Kubernetes 1.20 has of kinds whose objects here are of a later one."""
_NAMESPACE = "default"
_TIMEOUT = 60
_THREADS = 4


@dataclass(frozen=True)
class DryRunJudge:
    """A Kubernetes API server of the test kit."""

    base_url: str
    token: str
    ca: str

    def accepts(self, documents: list[Document]) -> list[bool]:
        """Return the verdict about each object."""
        verdicts = [False] * len(documents)

        def ask(first: int) -> None:
            context = ssl.create_default_context(cafile=self.ca)
            host = urlsplit(self.base_url).netloc
            connection = HTTPSConnection(host, context=context, timeout=_TIMEOUT)
            with closing(connection):
                for at in range(first, len(documents), _THREADS):
                    verdicts[at] = self._ask(connection, documents[at])

        with ThreadPoolExecutor(_THREADS) as threads:
            list(threads.map(ask, range(_THREADS)))
        return verdicts

    def _ask(self, connection: HTTPSConnection, document: Document) -> bool:
        kind = document["kind"]
        version = _VERSIONS.get(kind) or str(document["apiVersion"])
        path = f"apis/{version}" if "/" in version else f"api/{version}"
        plural = resource_of_kind(kind).KIND.plural
        metadata = {**document["metadata"], "namespace": _NAMESPACE}
        body = json.dumps({**document, "apiVersion": version, "metadata": metadata})
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
        url = f"/{path}/namespaces/{_NAMESPACE}/{plural}?dryRun=All"
        connection.request("POST", url, body, headers)
        response = connection.getresponse()
        answer = response.read()
        if response.status not in {201, 400, 422}:
            raise AssertionError(f"{kind}: {response.status} {answer[:500]!r}")
        return response.status == 201


def record(judge: DryRunJudge) -> None:
    """Write the recording anew."""
    found: dict[str, dict[str, list[str]]] = {}
    for place in [place for kind in KINDS for place in places(kind)]:
        asked = list(mutants_of(place))
        verdicts = judge.accepts([mutant.document for _, _, mutant in asked])
        paths = found.setdefault(place, {})
        for (path, label, _), is_accepted in zip(asked, verdicts, strict=True):
            if is_accepted:
                paths.setdefault(path, []).append(label)
    lines = ",\n".join(
        f" {json.dumps(place)}: {{\n"
        + ",\n".join(f"  {json.dumps(path)}: {json.dumps(has)}" for path, has in paths.items())
        + "\n }"
        for place, paths in found.items()
    )
    RECORDING.write_text("{\n" + lines + "\n}\n")


if __name__ == "__main__":
    record(DryRunJudge(*sys.argv[1:4]))
