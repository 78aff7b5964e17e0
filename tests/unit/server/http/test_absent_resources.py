"""Resources that clients look for in vain: the answer says where to look instead."""

import pytest

from upwell.server.http.errors import ApiError
from upwell.server.http.target import parse_target


@pytest.mark.parametrize(
    ("group", "version", "path", "step"),
    [
        (
            "authorization.openshift.io",
            "v1",
            "namespaces/shop/localresourceaccessreviews",
            "upwell token list",
        ),
        ("authorization.openshift.io", "v1", "resourceaccessreviews", "upwell token list"),
        (
            "security.openshift.io",
            "v1",
            "namespaces/shop/podsecuritypolicysubjectreviews",
            "pod-security.kubernetes.io/enforce",
        ),
        ("", "v1", "nodes", "upwell doctor"),
    ],
)
def test_the_next_step_is_named(group: str, version: str, path: str, step: str) -> None:
    with pytest.raises(ApiError) as refused:
        parse_target(group, version, path)

    assert step in str(refused.value)
