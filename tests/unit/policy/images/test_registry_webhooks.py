import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import Digest
from upwell.policy.images.registry_webhooks import (
    MAX_PUSHES,
    InvalidWebhookError,
    PushNotice,
    parse_webhook,
)

HEX = "a" * 64
DIGEST = Digest.parse(f"sha256:{HEX}")
NAMED = f"sha256:{HEX}"


def distribution(*events: dict[str, Any]) -> dict[str, Any]:
    return {"events": list(events)}


def event(action: str = "push", **target: Any) -> dict[str, Any]:
    return {
        "action": action,
        "target": {"repository": "team/app", "digest": NAMED, **target},
        "request": {"host": "registry.example:5000"},
    }


HARBOR_DATA = {
    "resources": [
        {"digest": NAMED, "tag": "1", "resource_url": "harbor.example/library/app:1"},
        {"digest": NAMED, "resource_url": f"harbor.example/library/app@{NAMED}"},
    ],
    "repository": {"repo_full_name": "library/app"},
}
PACKAGE = {
    "name": "App",
    "namespace": "Team",
    "package_type": "CONTAINER",
    "package_version": {"container_metadata": {"tag": {"name": "v1", "digest": NAMED}}},
}


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (
            distribution(event(tag="1")),
            [PushNotice("registry.example:5000", "team/app", "1", DIGEST)],
        ),
        (
            {
                "events": [
                    {
                        "action": "push",
                        "target": {"repository": "a", "tag": "1", "url": "https://r.example/v2/a"},
                    }
                ]
            },
            [PushNotice("r.example", "a", "1")],
        ),
        (distribution(event("pull", tag="1"), event("mount"), event("delete"), event()), []),
        (
            distribution(event(tag="1"), event(tag="1")),
            [PushNotice("registry.example:5000", "team/app", "1", DIGEST)],
        ),
        (
            {"type": "PUSH_ARTIFACT", "occur_at": 1, "operator": "x", "event_data": HARBOR_DATA},
            [PushNotice("harbor.example", "library/app", "1", DIGEST)],
        ),
        (
            {"specversion": "1.0", "type": "harbor.artifact.pushed", "data": HARBOR_DATA},
            [PushNotice("harbor.example", "library/app", "1", DIGEST)],
        ),
        ({"type": "DELETE_ARTIFACT", "event_data": HARBOR_DATA}, []),
        (
            {
                "repository": "team/app",
                "name": "app",
                "docker_url": "quay.io/team/app",
                "updated_tags": ["1", "latest"],
            },
            [PushNotice("quay.io", "team/app", "1"), PushNotice("quay.io", "team/app", "latest")],
        ),
        (
            {
                "push_data": {"tag": "1"},
                "repository": {"repo_name": "team/app"},
                "callback_url": "https://evil.example",
            },
            [PushNotice("docker.io", "team/app", "1")],
        ),
        (
            {"push_data": {"tag": ""}, "repository": {"repo_name": "debian"}},
            [PushNotice("docker.io", "library/debian", "latest")],
        ),
        (
            {"action": "published", "registry_package": PACKAGE},
            [PushNotice("ghcr.io", "team/app", "v1", DIGEST)],
        ),
        (
            {"action": "published", "package": PACKAGE},
            [PushNotice("ghcr.io", "team/app", "v1", DIGEST)],
        ),
        ({"action": "deleted", "package": PACKAGE}, []),
        ({"action": "published", "package": PACKAGE | {"package_type": "npm"}}, []),
        ({"zen": "Design for failure.", "hook": {}}, []),
        (
            {
                "id": "1",
                "action": "push",
                "request": {"host": "x.azurecr.io"},
                "target": {"repository": "app", "tag": "1", "digest": NAMED},
            },
            [PushNotice("x.azurecr.io", "app", "1", DIGEST)],
        ),
        ({"id": "1", "action": "ping"}, []),
        (
            {
                "action": "CREATED",
                "repositoryName": "docker",
                "component": {"format": "docker", "name": "team/app", "version": "1"},
            },
            [PushNotice("", "team/app", "1")],
        ),
        (
            {"action": "CREATED", "component": {"format": "npm", "name": "x", "version": "1"}},
            [],
        ),
    ],
)
def test_every_registrys_payload_is_read(
    payload: dict[str, Any], expected: list[PushNotice]
) -> None:
    assert list(parse_webhook(json.dumps(payload).encode())) == expected


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", "not a JSON object"),
        ({}, "no known registry"),
        ({"events": 5}, "malformed"),
        (distribution({"action": "push"}), "malformed"),
        (distribution(event(tag="../1")), "not a tag"),
        (distribution(event(tag="1", repository="Team")), "not a repository"),
        (distribution(event(tag=["1"])), "not a tag"),
        ({"updated_tags": ["a b"], "docker_url": "quay.io/x"}, "not an image reference"),
        (distribution(*(event(tag=str(n)) for n in range(MAX_PUSHES + 1))), "more than"),
    ],
)
def test_a_bad_payload_is_refused_with_the_reason(payload: object, why: str) -> None:
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    with pytest.raises(InvalidWebhookError, match=why):
        parse_webhook(body)


KEYS = st.sampled_from(
    [
        "events",
        "action",
        "target",
        "type",
        "event_data",
        "data",
        "resources",
        "tag",
        "repository",
        "updated_tags",
        "docker_url",
        "push_data",
        "repo_name",
        "package",
        "component",
        "specversion",
    ]
)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["push", "PUSH_ARTIFACT"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=20,
)


@given(st.dictionaries(KEYS, JSON, max_size=6))
def test_no_payload_raises_anything_else(payload: dict[str, Any]) -> None:
    try:
        notices = parse_webhook(json.dumps(payload).encode())
    except InvalidWebhookError:
        return
    assert all(isinstance(notice, PushNotice) for notice in notices)
