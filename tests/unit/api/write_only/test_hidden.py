"""Objects without the values of write-only fields, and those values put back."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.codec import InvalidObjectError, decode, encode
from upwell.api.meta import Resource
from upwell.api.write_only.hidden import LAST_APPLIED, hidden, restored

KEY = b"key"
type Document = dict[str, Any]


def build_config(*triggers: Document, uri: str = "https://git.example.com/app") -> Resource:
    return decode(
        {
            "apiVersion": "build.openshift.io/v1",
            "kind": "BuildConfig",
            "metadata": {"name": "app", "namespace": "shop", "uid": "1"},
            "spec": {
                "source": {"type": "Git", "git": {"uri": uri}},
                "strategy": {"type": "Docker", "dockerStrategy": {}},
                "triggers": list(triggers),
            },
        }
    )


def generic(secret: str) -> Document:
    return {"type": "Generic", "generic": {"secret": secret}}


def seen(resource: Resource) -> Document:
    return encode(hidden(resource, KEY))


@given(st.lists(st.text(min_size=1, max_size=20), max_size=4))
def test_what_is_written_back_as_it_was_read_is_what_was_stored(secrets: list[str]) -> None:
    config = build_config(*map(generic, secrets), uri="https://ada:pw@git.example.com/app")
    document = seen(config)
    assert restored(document, config, KEY) == encode(config)
    read = json.dumps(document)
    assert "ada:pw" not in read
    hooks = [one["generic"]["secret"] for one in document["spec"]["triggers"]]
    assert all(hook.startswith("hidden-value-") for hook in hooks)


def test_a_value_follows_its_placeholder_to_another_item() -> None:
    config = build_config(generic("first"), generic("second"))
    document = seen(config)
    del document["spec"]["triggers"][0]
    found = restored(document, config, KEY)["spec"]["triggers"]
    assert found == [generic("second")]


def test_a_new_value_is_taken_as_it_is() -> None:
    config = build_config(generic("first"))
    document = seen(config)
    document["spec"]["triggers"][0]["generic"]["secret"] = "other"
    assert restored(document, config, KEY)["spec"]["triggers"] == [generic("other")]


def test_a_password_is_not_sent_to_another_host() -> None:
    config = build_config(uri="https://ada:pw@git.example.com/app")
    document = seen(config)
    git = document["spec"]["source"]["git"]
    assert git["uri"].endswith("@git.example.com/app")
    git["uri"] = git["uri"].replace("git.example.com", "evil.example.com")
    with pytest.raises(InvalidObjectError, match=r"spec\.source\.git\.uri: stands for a value"):
        restored(document, config, KEY)


def test_a_placeholder_stands_for_nothing_in_another_field() -> None:
    config = build_config(generic("s3cret-hook"), uri="https://ada:pw@git.example.com/app")
    placeholder = seen(config)["spec"]["triggers"][0]["generic"]["secret"]
    shown_uri = seen(config)["spec"]["source"]["git"]["uri"]

    def moved(change: Callable[[Document], object]) -> Document:
        document = seen(config)
        change(document["spec"])
        return document

    for path, document in {
        "source.git.httpProxy": moved(
            lambda spec: spec["source"]["git"].update(httpProxy=placeholder)
        ),
        "source.git.http_proxy": moved(
            lambda spec: spec["source"]["git"].update(http_proxy=placeholder)
        ),
        "source.git.httpsProxy": moved(
            lambda spec: spec["source"]["git"].update(httpsProxy=shown_uri)
        ),
        "source.git.uri": moved(lambda spec: spec["source"]["git"].update(uri=placeholder)),
        "triggers[1].github.secret": moved(
            lambda spec: spec["triggers"].append(
                {"type": "GitHub", "github": {"secret": placeholder}}
            )
        ),
        "triggers[0].generic.secret.any": moved(
            lambda spec: spec["triggers"][0]["generic"].update(secret={"any": placeholder})
        ),
        "triggers[0].generic.secret[0]": moved(
            lambda spec: spec["triggers"][0]["generic"].update(secret=[placeholder])
        ),
    }.items():
        with pytest.raises(InvalidObjectError) as caught:
            restored(document, config, KEY)
        assert [fault.path for fault in caught.value.faults] == [f"spec.{path}"]
        assert "s3cret-hook" not in str(caught.value)


def test_a_placeholder_in_a_field_that_all_may_read_stays_one() -> None:
    config = build_config(generic("s3cret-hook"))
    document = seen(config)
    placeholder = document["spec"]["triggers"][0]["generic"]["secret"]
    document["metadata"]["labels"] = {"a": placeholder}
    document["metadata"]["annotations"] = {
        "a": placeholder,
        LAST_APPLIED: json.dumps(document),
    }
    document["spec"]["source"]["git"]["ref"] = placeholder
    document["spec"]["strategy"]["dockerStrategy"]["env"] = [{"name": "A", "value": placeholder}]
    document["unknown"] = {"secret": placeholder}
    written = decode(restored(document, config, KEY))
    assert encode(written)["spec"]["triggers"] == [generic("s3cret-hook")]
    assert "s3cret-hook" not in json.dumps(seen(written))


@pytest.mark.parametrize("old", [None, build_config(generic("other"))])
def test_a_placeholder_of_another_object_stands_for_nothing(old: Resource | None) -> None:
    document = seen(build_config(generic("first")))
    with pytest.raises(
        InvalidObjectError, match=r"spec\.triggers\[0\]\.generic\.secret: .*write the value itself"
    ):
        restored(document, old, KEY)


def test_equal_values_of_two_objects_do_not_look_equal() -> None:
    one = build_config(generic("same"))
    other = one.with_metadata(uid="2")
    assert seen(one)["spec"]["triggers"] != seen(other)["spec"]["triggers"]


@pytest.mark.parametrize("copy", ["manifest", "no JSON: top-secret", '["top-secret"]'])
def test_the_copy_that_kubectl_keeps_tells_nothing(copy: str) -> None:
    config = build_config(generic("top-secret"))
    text = json.dumps(encode(config)) if copy == "manifest" else copy
    config = config.with_metadata(annotations={LAST_APPLIED: text})
    shown = hidden(config, KEY)
    assert "top-secret" not in json.dumps(encode(shown))
    assert "top-secret" in config.annotations[LAST_APPLIED]
    if copy == "manifest":
        kept = json.loads(shown.annotations[LAST_APPLIED])
        assert [one["type"] for one in kept["spec"]["triggers"]] == ["Generic"]


def test_the_objects_of_a_template_are_hidden_too_and_its_parameters_stay() -> None:
    template = decode(
        {
            "apiVersion": "template.openshift.io/v1",
            "kind": "Template",
            "metadata": {"name": "app", "namespace": "shop", "uid": "3"},
            "objects": [
                {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "top", "b": "${PW}"}},
                {
                    "apiVersion": "route.openshift.io/v1",
                    "kind": "Route",
                    "spec": {"tls": {"key": "PEM", "certificate": "shown"}},
                },
                {"kind": "Unknown", "stringData": {"a": "as it is"}},
            ],
        }
    )
    secret, route, unknown = seen(template)["objects"]
    assert secret["stringData"]["a"].startswith("hidden-value-")
    assert secret["stringData"]["b"] == "${PW}"
    assert route["spec"]["tls"]["key"].startswith("hidden-value-")
    assert route["spec"]["tls"]["certificate"] == "shown"
    assert unknown["stringData"] == {"a": "as it is"}
    assert restored(seen(template), template, KEY) == encode(template)


def template_of(*objects: Document) -> Resource:
    return decode(
        {
            "apiVersion": "template.openshift.io/v1",
            "kind": "Template",
            "metadata": {"name": "app", "namespace": "shop", "uid": "3"},
            "objects": list(objects),
        }
    )


SECRET: Document = {"apiVersion": "v1", "kind": "Secret", "stringData": {"a": "hunter2"}}


@pytest.mark.parametrize("kind", ["BuildConfig", "Secret", "Route", "Unknown"])
def test_a_placeholder_within_a_template_stays_in_its_kind_and_field(kind: str) -> None:
    template = template_of(SECRET)
    document = seen(template)
    placeholder = document["objects"][0]["stringData"]["a"]
    document["objects"].insert(
        0,
        {
            "BuildConfig": {
                "apiVersion": "build.openshift.io/v1",
                "kind": "BuildConfig",
                "spec": {"source": {"git": {"uri": placeholder}}},
            },
            "Secret": {"apiVersion": "v1", "kind": "Secret", "data": {"a": placeholder}},
            "Route": {
                "apiVersion": "route.openshift.io/v1",
                "kind": "Route",
                "spec": {"tls": {"key": placeholder}},
            },
            "Unknown": {"kind": "Unknown", "stringData": {"a": placeholder}},
        }[kind],
    )
    if kind == "Unknown":  # a kind whose fields nobody has declared: nothing is put there
        found = restored(document, template, KEY)
        assert "hunter2" not in json.dumps(found["objects"][0])
        return
    with pytest.raises(InvalidObjectError, match=r"objects\[0\]\..*: stands for a value"):
        restored(document, template, KEY)


def test_a_value_follows_its_placeholder_to_another_object_of_its_kind() -> None:
    template = template_of({"apiVersion": "v1", "kind": "ConfigMap"}, SECRET)
    document = seen(template)
    document["objects"].reverse()
    assert restored(document, template, KEY)["objects"][0] == SECRET
    inner = document["objects"][0]
    inner["stringData"] = {"renamed": inner["stringData"]["a"]}
    found = restored(document, template, KEY)["objects"][0]
    assert found["stringData"] == {"renamed": "hunter2"}


@pytest.mark.parametrize(
    ("url", "secret"),
    [
        ("https://TOKEN1@git.example.com/app", "TOKEN1"),
        ("ssh://git:TOKEN1@git.example.com/app", "TOKEN1"),
        ("https://git.example.com/app?private_token=TOKEN1&a=b", "TOKEN1"),
        ("ada:TOKEN1@git.example.com/app", "TOKEN1"),
        ("ada:TOK/EN1@git.example.com/app", "TOK/EN1"),
        ("https:/ada:TOKEN1@git.example.com/app", "TOKEN1"),
        ("https://ada:TOKEN1@git.example.com/app[", "TOKEN1"),
        ("https://ada:TOKEN1@[git.example.com/app", "TOKEN1"),
    ],
)
def test_a_url_loses_its_secrets_alone(url: str, secret: str) -> None:
    shown = seen(build_config(uri=url))["spec"]["source"]["git"]["uri"]
    assert secret not in shown
    assert "git.example.com/app" in shown


@pytest.mark.parametrize(
    "url",
    [
        "git@git.example.com:app",
        "git@git.example.com:app@v1",
        "file:///srv/a:b@c",
        "ssh://git@git.example.com/app",
        "https://git.example.com/app?ref=main&design=1",
        "https://[broken@",
    ],
)
def test_a_url_without_secrets_is_shown_as_it_is(url: str) -> None:
    assert seen(build_config(uri=url))["spec"]["source"]["git"]["uri"] == url
