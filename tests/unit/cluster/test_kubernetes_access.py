"""Questions to a cluster's authorization: what is asked, for how long an answer is good."""

import asyncio
from typing import Any

import pytest
from tests.support.clocks import SecondsClock

from upwell.cluster.errors import AccessDeniedError, ClusterUnavailableError
from upwell.cluster.interface import AccessAttributes, ClusterUser
from upwell.cluster.kubernetes_access import KubernetesAccessReviews
from upwell.store.interface import StoreError, UnavailableError
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_errors import StoreForbiddenError
from upwell.store.kubernetes_http import ApiConnection, ApiRequest, ApiResponse

ANN = ClusterUser("ann", ("team", "system:authenticated"))
READ = AccessAttributes("get", "image.openshift.io", "imagestreams", "", "b", "base")


class AnsweringConnection(ApiConnection):
    """Answers every question in the same way."""

    def __init__(self, status: Any) -> None:
        super().__init__(ServerAccess("http://127.0.0.1:1"))
        self.status = status
        self.fault: StoreError | None = None
        self.requests: list[ApiRequest] = []

    async def ask(self, request: ApiRequest) -> ApiResponse:
        self.requests.append(request)
        await asyncio.sleep(0)
        if self.fault is not None:
            raise self.fault
        return ApiResponse({"status": self.status}, [])


async def test_a_question_names_the_user_their_groups_and_the_request() -> None:
    api = AnsweringConnection({"allowed": True})

    assert await KubernetesAccessReviews(api).is_allowed(ANN, READ)

    (request,) = api.requests
    assert request.path == "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    assert request.body == {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": "ann",
            "groups": ["team", "system:authenticated"],
            "resourceAttributes": {
                "verb": "get",
                "group": "image.openshift.io",
                "resource": "imagestreams",
                "subresource": "",
                "namespace": "b",
                "name": "base",
            },
        },
    }


@pytest.mark.parametrize("status", [None, [], {}, {"allowed": "true"}, {"denied": False}])
async def test_what_is_no_yes_is_a_no(status: Any) -> None:
    assert not await KubernetesAccessReviews(AnsweringConnection(status)).is_allowed(ANN, READ)


@pytest.mark.parametrize(("answer", "seconds"), [(True, 10), (False, 2)])
async def test_an_answer_is_good_for_some_seconds(answer: bool, seconds: int) -> None:  # noqa: FBT001
    clock = SecondsClock()
    api = AnsweringConnection({"allowed": answer})
    reviews = KubernetesAccessReviews(api, clock)

    asked = [reviews.is_allowed(ANN, READ) for _ in range(3)]
    assert {await one for one in asked} == {answer}
    assert len(api.requests) == 1

    clock.now += seconds
    api.status = {"allowed": not answer}
    assert await reviews.is_allowed(ANN, READ) is not answer
    assert await reviews.is_allowed(ClusterUser("eve"), READ) is not answer
    assert len(api.requests) == 3


@pytest.mark.parametrize(
    ("fault", "wanted"),
    [
        (StoreForbiddenError("no"), AccessDeniedError),
        (UnavailableError("away"), ClusterUnavailableError),
    ],
)
async def test_a_question_that_gets_no_answer_is_not_remembered(
    fault: StoreError, wanted: type[Exception]
) -> None:
    api = AnsweringConnection({"allowed": True})
    reviews = KubernetesAccessReviews(api)
    api.fault = fault
    with pytest.raises(wanted):
        await reviews.is_allowed(ANN, READ)
    api.fault = None
    assert await reviews.is_allowed(ANN, READ)
