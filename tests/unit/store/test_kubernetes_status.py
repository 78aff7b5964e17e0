import json
from typing import Any

import pytest

from upwell.api.builds.config import BuildConfig
from upwell.api.core import Namespace
from upwell.api.meta import Kind, ObjectKey
from upwell.cluster.errors import (
    AccessDeniedError,
    ClusterError,
    ClusterUnavailableError,
    WorkloadChangedError,
    WriteRefusedError,
    is_of_admission,
    may_be_lifted,
)
from upwell.cluster.kubernetes import cluster_error
from upwell.store.interface import (
    AlreadyExistsError,
    ConflictError,
    ExpiredError,
    NotFoundError,
    RejectedError,
    StoreError,
    UnavailableError,
)
from upwell.store.kubernetes_connections import ServerAccess
from upwell.store.kubernetes_errors import (
    ApiStatus,
    BusyError,
    KindNotServedError,
    NamespaceTerminatingError,
    ServerFaultError,
    StoreForbiddenError,
    StoreUnauthenticatedError,
)
from upwell.store.kubernetes_http import ApiRequest

KEY = ObjectKey("BuildConfig", "shop", "a")


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (ObjectKey("SelfSubjectReview", "", ""), "SelfSubjectReview: the token is unknown"),
        (ObjectKey("Secret", "shop", ""), "Secret in namespace shop: the token is unknown"),
        (KEY, "BuildConfig shop/a: the token is unknown"),
    ],
)
def test_a_refusal_names_what_was_asked_for(key: ObjectKey, text: str) -> None:
    body = json.dumps({"kind": "Status", "code": 401, "message": "the token is unknown"}).encode()
    assert str(ApiStatus.parse(body, 401).error(BuildConfig.KIND, key)) == text


def error(code: int, kind: Kind = BuildConfig.KIND, /, **status: Any) -> StoreError:
    body = json.dumps({"kind": "Status", "code": code, **status}).encode()
    return ApiStatus.parse(body, code).error(kind, KEY)


@pytest.mark.parametrize(
    ("denied", "grant"),
    [
        (
            (
                'jobs.batch is forbidden: User "system:serviceaccount:upwell:server" cannot create'
                ' resource "jobs" in API group "batch" in the namespace "shop"'
            ),
            (
                "; grant create jobs.batch in namespace shop to ServiceAccount upwell/server:"
                " by RBAC, or for the account of an Upwell by `upwell install kubernetes` again"
            ),
        ),
        (
            (
                'pods "a" is forbidden: User "ada" cannot get resource "pods/log" in API group ""'
                ' in the namespace "shop": RBAC: role.rbac.authorization.k8s.io "x" not found'
            ),
            "; grant get pods/log in namespace shop to user ada: by RBAC,",
        ),
        (
            (
                'namespaces is forbidden: User "ada" cannot list resource "namespaces"'
                ' in API group "" at the cluster scope'
            ),
            "; grant list namespaces in the whole cluster to user ada: by RBAC,",
        ),
    ],
)
def test_a_right_that_is_missing_is_told_with_who_gives_it(denied: str, grant: str) -> None:
    refused = error(403, reason="Forbidden", message=denied)
    assert isinstance(refused, StoreForbiddenError)
    assert f"{denied}{grant}" in str(refused)


def test_what_a_server_of_ours_has_relayed_is_told_once() -> None:
    denied = 'services is forbidden: User "a" cannot create resource "services" in API group ""'
    first = error(403, reason="Forbidden", message=denied)
    assert str(error(403, reason="Forbidden", message=str(first))) == str(first)


@pytest.mark.parametrize(
    ("what", "is_native"),
    [
        ('update resource "deployments" in API group "apps"', True),
        ('create resource "secrets" in API group ""', True),
        ('list resource "secrets" in API group ""', False),
        ('update resource "pipelines" in API group "upwell.dev"', False),
    ],
)
def test_a_write_of_what_a_cluster_has_itself_is_told_apart(what: str, is_native: bool) -> None:  # noqa: FBT001
    denied = f'forbidden: User "system:serviceaccount:upwell:upwell" cannot {what}'
    assert error(403, reason="Forbidden", message=denied).of_native_write is is_native


def test_a_quota_asks_for_no_right() -> None:
    message = 'pods "a" is forbidden: exceeded quota: small, requested: pods=1'
    refused = error(403, reason="Forbidden", message=message)
    assert str(refused) == f"BuildConfig shop/a: {message}"


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (409, "AlreadyExists", AlreadyExistsError),
        (409, "Conflict", ConflictError),
        (410, "Expired", ExpiredError),
        (410, "Gone", ExpiredError),
        (401, "Unauthorized", StoreUnauthenticatedError),
        (403, "Forbidden", StoreForbiddenError),
        (400, "BadRequest", RejectedError),
        (405, "MethodNotAllowed", RejectedError),
        (413, "RequestEntityTooLarge", RejectedError),
        (422, "Invalid", RejectedError),
        (429, "TooManyRequests", BusyError),
        (500, "InternalError", ServerFaultError),
        (503, "ServiceUnavailable", ServerFaultError),
        (504, "Timeout", ServerFaultError),
    ],
)
def test_each_refusal_has_its_error(code: int, reason: str, kind: type[StoreError]) -> None:
    raised = error(code, reason=reason, message="said the server")

    assert type(raised) is kind
    if kind is not AlreadyExistsError:
        assert "said the server" in str(raised)


def test_a_conflict_that_our_own_server_tells_is_not_told_twice() -> None:
    raised = error(409, reason="Conflict", message=str(ConflictError(KEY)))

    assert str(raised) == str(ConflictError(KEY))


def test_a_missing_object_a_missing_namespace_and_a_missing_kind_differ() -> None:
    missing = error(404, details={"name": "a", "kind": "buildconfigs"})
    namespace = error(404, details={"name": "shop", "kind": "namespaces"})
    kind = error(404, details={})

    assert isinstance(missing, NotFoundError)
    assert missing.key == KEY
    assert isinstance(namespace, NotFoundError)
    assert namespace.key == ObjectKey("Namespace", "", "shop")
    assert isinstance(kind, KindNotServedError)
    assert "buildconfigs.build.openshift.io" in str(kind)


@pytest.mark.parametrize(
    ("message", "cause"),
    [
        ("BuildConfig shop/a does not exist", ""),
        ('buildconfigs.build.openshift.io "a" not found', ""),
        (
            "no instance 'x' of BuildConfig shop/a runs",
            "no instance 'x' of BuildConfig shop/a runs",
        ),
        ("ImageStream shop/b does not exist", "ImageStream shop/b does not exist"),
    ],
)
def test_what_is_missing_of_an_object_keeps_its_cause(message: str, cause: str) -> None:
    raised = error(404, message=message, details={"name": "a", "kind": "buildconfigs"})

    assert isinstance(raised, NotFoundError)
    assert raised.cause == cause
    assert str(raised) == (cause or "BuildConfig shop/a does not exist")


def test_a_namespace_that_is_asked_for_is_the_object_itself() -> None:
    missing = error(404, Namespace.KIND, details={"name": "a", "kind": "namespaces"})

    assert isinstance(missing, NotFoundError)
    assert missing.key == KEY


def test_every_cause_of_a_rejection_is_told_once() -> None:
    raised = error(
        422,
        message="a is invalid: spec.x: Required value",
        details={
            "causes": [
                {"field": "spec.x", "message": "Required value"},
                {"field": "spec.y", "message": "Unsupported"},
                {"message": "in general"},
            ]
        },
    )

    assert str(raised) == "a is invalid: spec.x: Required value; spec.y: Unsupported; in general"


@pytest.mark.parametrize(
    "body", [b"404 page not found\n", b"\xff\xfe", b"[]", b'{"kind": "Pod"}', b""]
)
def test_an_answer_that_is_no_status_is_judged_by_its_code(body: bytes) -> None:
    assert isinstance(ApiStatus.parse(body, 404).error(BuildConfig.KIND, KEY), KindNotServedError)
    assert isinstance(ApiStatus.parse(body, 502).error(BuildConfig.KIND, KEY), UnavailableError)


def test_a_long_answer_is_cut() -> None:
    raised = ApiStatus.parse(b"x" * 100_000, 500).error(BuildConfig.KIND, KEY)

    assert len(str(raised)) < 1000


def test_a_busy_server_says_when_to_come_back() -> None:
    raised = ApiStatus.parse(b"", 429).error(BuildConfig.KIND, KEY, retry_after=7)

    assert isinstance(raised, BusyError)
    assert raised.retry_after == 7
    assert raised.retryable


def test_a_namespace_that_is_being_deleted_is_no_right_that_is_missing() -> None:
    cause = {"reason": "NamespaceTerminating", "field": "metadata.namespace"}
    raised = error(403, reason="Forbidden", message="shop goes", details={"causes": [cause]})

    assert isinstance(raised, NamespaceTerminatingError)
    assert raised.retryable
    assert isinstance(cluster_error(raised), WorkloadChangedError), "it goes with its namespace"


def test_a_token_that_is_not_known_is_no_right_that_is_missing() -> None:
    unknown, denied = (
        cluster_error(ApiStatus.parse(b"", code).error(BuildConfig.KIND, KEY))
        for code in (401, 403)
    )
    assert isinstance(unknown, ClusterUnavailableError), "it is issued anew, perhaps at once"
    assert unknown.retryable
    assert isinstance(denied, AccessDeniedError)


ABOUT = {"kind": "pods", "name": "a"}
UNREACHED = 'failed calling webhook "images": Post "https://x": refused'
RIGHT = 'User "ada" cannot create resource "pods" in API group "" in the namespace "shop"'


@pytest.mark.parametrize(
    ("code", "reason", "message", "details"),
    [
        *(
            (code, "", 'admission webhook "images" denied the request: unsigned', {})
            for code in (400, 403, 404, 409, 429, 500, 503)
        ),
        (500, "InternalError", f"Internal error occurred: {UNREACHED}", {}),
        (500, "InternalError", "Internal error", {"causes": [{"message": UNREACHED}]}),
        (403, "Forbidden", 'pods "a" is forbidden: exceeded quota: few', ABOUT),
        (403, "Forbidden", 'pods "a" is forbidden: violates PodSecurity "baseline:v1"', ABOUT),
        (403, "Forbidden", 'pods "a" is forbidden: maximum cpu usage per Container is 1', ABOUT),
        (403, "Forbidden", 'pods "a" is forbidden: quota "x" of admission webhook', ABOUT),
    ],
)
def test_what_admission_refuses_is_told_whatever_code_it_has(
    code: int, reason: str, message: str, details: dict[str, Any]
) -> None:
    raised = cluster_error(error(code, reason=reason, message=message, details=details))

    assert type(raised) is WriteRefusedError
    assert not raised.retryable
    assert message in str(raised)
    assert is_of_admission(raised)
    assert may_be_lifted(raised)


@pytest.mark.parametrize(
    ("code", "reason", "message", "details", "kind"),
    [
        (403, "Forbidden", f'pods "a" is forbidden: {RIGHT}', ABOUT, AccessDeniedError),
        (403, "Forbidden", f"pods is forbidden: {RIGHT}: exceeded quota", ABOUT, AccessDeniedError),
        (403, "Forbidden", 'forbidden: User "ada" cannot get path "/x"', {}, AccessDeniedError),
        (403, "", "no admission webhook here", {}, AccessDeniedError),
        (500, "InternalError", "etcd is away", ABOUT, ClusterUnavailableError),
        (503, "ServiceUnavailable", "exceeded quota", ABOUT, ClusterUnavailableError),
        (422, "Invalid", "spec: exceeded quota", ABOUT, WriteRefusedError),
    ],
)
def test_what_is_not_of_admission_is_judged_by_its_code(
    code: int, reason: str, message: str, details: dict[str, Any], kind: type[ClusterError]
) -> None:
    raised = cluster_error(error(code, reason=reason, message=message, details=details))

    assert type(raised) is kind
    assert not is_of_admission(raised)


@pytest.mark.parametrize(
    ("kind", "namespace", "name", "subresource", "path"),
    [
        (BuildConfig.KIND, "n", "a", "", "/apis/build.openshift.io/v1/namespaces/n/buildconfigs/a"),
        (BuildConfig.KIND, "", "", "", "/apis/build.openshift.io/v1/buildconfigs"),
        (Namespace.KIND, "", "n", "status", "/api/v1/namespaces/n/status"),
        (Namespace.KIND, "", "a..b c", "", "/api/v1/namespaces/a..b%20c"),
        (Namespace.KIND, "", "s:1", "x/y", "/api/v1/namespaces/s:1/x/y"),
    ],
)
def test_an_object_has_one_path(
    kind: Kind, namespace: str, name: str, subresource: str, path: str
) -> None:
    key = ObjectKey(kind.kind, namespace, name)

    assert ApiRequest("GET", kind, key, subresource).path == path


@pytest.mark.parametrize("text", ["a/status", "a/../b", "..", ".", "a%2Fb"])
@pytest.mark.parametrize("where", ["namespace", "name"])
def test_a_name_that_no_object_can_have_has_no_path(text: str, where: str) -> None:
    key = ObjectKey(BuildConfig.KIND.kind, "n", "a")._replace(**{where: text})

    with pytest.raises(NotFoundError, match="does not exist"):
        _ = ApiRequest("GET", BuildConfig.KIND, key).path


def test_a_token_does_not_show() -> None:
    assert "hunter2" not in repr(ServerAccess("https://example.com", token="hunter2"))


def test_an_answer_that_is_no_status_came_from_something_between() -> None:
    verdict = ApiStatus.parse(b"<html>503 Service Unavailable</html>", 503)
    assert type(verdict.error(BuildConfig.KIND, KEY)) is UnavailableError
