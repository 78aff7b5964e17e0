"""Answers to ImageStreamImports when nothing can be looked at; the rest meets real registries."""

from typing import Any

from tests.support.server.api_server import ApiAnswer, ApiClock, serving

from upwell.actions.images import ImageExaminer
from upwell.outbound.dialing import unrestricted
from upwell.reconcilers.images.pull_secrets import PullSecrets
from upwell.registry.client.client import RegistryClient
from upwell.registry.credentials import ChainedCredentials
from upwell.registry.hosts import RegistryHosts
from upwell.server.http.limits import ServerLimits
from upwell.store.interface import Listing, UnavailableError
from upwell.store.memory import MemoryStore

IMPORTS = "/apis/image.openshift.io/v1/namespaces/shop/imagestreamimports"
IMAGE = {"from": {"kind": "DockerImage", "name": "vendor.example/base:1"}}


def request(**spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": "base"},
        "spec": spec,
    }


async def test_a_fault_beside_others_is_answered_like_one_alone() -> None:
    class Away(MemoryStore):
        async def list(self, *_: Any, **__: Any) -> Listing[Any]:
            raise UnavailableError("the disk is full")

    async with RegistryClient(unrestricted(), RegistryHosts(()), ChainedCredentials([])) as client:

        def examiner(clock: ApiClock) -> ImageExaminer:
            away = Away(clock)
            return ImageExaminer(away, client, PullSecrets(away, ChainedCredentials([])), clock)

        async with serving(ServerLimits(), examiner=examiner) as api:
            answer = await api.send("POST", IMPORTS, request(images=[IMAGE, IMAGE]))
    assert _refusal(answer) == (503, "ServiceUnavailable", "the disk is full")


def _refusal(answer: ApiAnswer) -> tuple[int, str, str]:
    return answer.status, answer.json["reason"], answer.json["message"]
