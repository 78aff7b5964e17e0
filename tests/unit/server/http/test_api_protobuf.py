import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.server.http.errors import ApiError
from upwell.server.http.protobuf import decode_protobuf

MAGIC = b"k8s\x00"


def varint(value: int) -> bytes:
    encoded = b""
    while value > 0x7F:
        encoded += bytes([value & 0x7F | 0x80])
        value >>= 7
    return encoded + bytes([value])


def field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def entry(key: str, value: bytes) -> bytes:
    return field(1, key.encode()) + field(2, value)


def envelope(kind: str, raw: bytes) -> bytes:
    return MAGIC + field(1, field(1, b"v1") + field(2, kind.encode())) + field(2, raw)


@given(st.dictionaries(st.text(max_size=4), st.binary(max_size=300), min_size=1, max_size=3))
def test_a_secret_is_read_with_its_bytes_in_base64(data: dict[str, bytes]) -> None:
    metadata = field(1, b"login") + field(8, b"") + field(11, entry("app", b"web"))
    metadata += field(14, b"a") + field(14, b"b")
    raw = field(1, metadata) + field(3, b"Opaque") + field(5, 1)
    raw += b"".join(field(2, entry(key, value)) for key, value in data.items())
    document = decode_protobuf(envelope("Secret", raw))
    encoded = document.pop("data")
    assert {key: base64.b64decode(text) for key, text in encoded.items()} == data
    assert document == {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "login", "labels": {"app": "web"}, "finalizers": ["a", "b"]},
        "type": "Opaque",
        "immutable": True,
    }


def test_fields_that_are_not_known_are_passed_over() -> None:
    unknown = field(90, 5) + varint(91 << 3 | 1) + b"8 bytes!" + varint(92 << 3 | 5) + b"four"
    document = decode_protobuf(envelope("ConfigMap", unknown + field(2, entry("a", b"1"))))
    assert document["data"] == {"a": "1"}


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"{}", 400),
        (MAGIC, 415),
        (envelope("Deployment", b""), 415),
        (envelope("Secret", b"\x0a\xff"), 400),
        (envelope("Secret", b"\x0a\x05abc"), 400),
        (envelope("Secret", b"\xff" * 11), 400),
        (envelope("Secret", b"\x0b"), 400),
        (envelope("Secret", field(1, 5)), 400),
        (envelope("Secret", field(3, b"\xff")), 400),
        (envelope("Secret", field(2, field(1, 5))), 400),
    ],
)
def test_what_cannot_be_read_is_refused(body: bytes, code: int) -> None:
    with pytest.raises(ApiError) as caught:
        decode_protobuf(body)
    assert caught.value.code == code


@given(st.binary(max_size=64), st.sampled_from(["Secret", "ConfigMap", "Namespace"]))
def test_no_bytes_raise_anything_else(raw: bytes, kind: str) -> None:
    try:
        document = decode_protobuf(envelope(kind, raw))
    except ApiError:
        return
    assert (document["apiVersion"], document["kind"]) == ("v1", kind)


DEPLOYMENT = (
    "azhzAAoVCgdhcHBzL3YxEgpEZXBsb3ltZW50EsoBCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEpgB"
    "CAASDAoKCgNhcHASA3dlYhp+ChwKABIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEl4SQAoFbmdpbngSB25naW54"
    "OjEaAnNoGgItYxoGZXhpdCAxKgAyCgoAEAAYUCIAKgBCAGoAcgCAAQCIAQCQAQCiAQAaADIAQgBKAFIAWABgAGgA"
    "ggEAigEAmgEAwgEAIgIKACgAOAAaDAgAEAAYACAAKAA4ABoAIgA="
)
"""Sent by `kubectl create deployment web --image=nginx:1 --replicas=0 --port=80 -- …` (1.32)."""
CRON_JOB = (
    "azhzAAoTCghiYXRjaC92MRIHQ3JvbkpvYhKkAQoUCgR0aWNrEgAaACIAKgAyADgAQgASiQEKCyovNSAqICogKiAq"
    "GgAqeAoUCgR0aWNrEgAaACIAKgAyADgAQgASYDJeChAKABIAGgAiACoAMgA4AEIAEkoSIwoEdGljaxIHbmdpbng6"
    "MSoAQgBqAHIAgAEAiAEAkAEAogEAGglPbkZhaWx1cmUyAEIASgBSAFgAYABoAIIBAIoBAJoBAMIBABoAGgAiAA=="
)
SERVICE = (
    "azhzAAoNCgJ2MRIHU2VydmljZRJtCh8KA3dlYhIAGgAiACoAMgA4AEIAWgoKA2FwcBIDd2ViEkYKIAoHODAtaHR0"
    "cBIDVENQGFAiCggBEAAaBGh0dHAogOsBEgoKA2FwcBIDd2ViGgAiCE5vZGVQb3J0OgBCAFIAWgBgAGgAGgIKABoA"
    "IgA="
)
QUOTA = (
    "azhzAAoTCgJ2MRINUmVzb3VyY2VRdW90YRI1ChMKA2ZldxIAGgAiACoAMgA4AEIAEhwKDQoDY3B1EgYKBDUwMG0K"
    "CwoEcG9kcxIDCgEzGgAaACIA"
)


def read(text: str) -> Any:
    return decode_protobuf(base64.b64decode(text))


def test_a_deployment_of_kubectl_is_what_it_says_in_json() -> None:
    assert read(DEPLOYMENT) == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": {"app": "web"}},
            "template": {
                "metadata": {"labels": {"app": "web"}},
                "spec": {
                    "containers": [
                        {
                            "name": "nginx",
                            "image": "nginx:1",
                            "command": ["sh", "-c", "exit 1"],
                            "ports": [{"containerPort": 80}],
                        }
                    ]
                },
            },
        },
    }


def test_templates_in_templates_and_values_of_kubernetes_own_are_read() -> None:
    job = read(CRON_JOB)["spec"]["jobTemplate"]
    assert job["spec"]["template"]["spec"]["restartPolicy"] == "OnFailure"
    (port,) = read(SERVICE)["spec"]["ports"]
    assert (port["targetPort"], port["nodePort"]) == ("http", 30080)
    assert read(QUOTA)["spec"] == {"hard": {"pods": "3", "cpu": "500m"}}


def test_a_pointer_to_nothing_is_kept_and_negative_numbers_are_negative() -> None:
    empty_dir = field(1, b"tmp") + field(2, field(2, b""))
    pod = field(2, field(1, empty_dir) + field(4, (1 << 64) - 1))
    spec = decode_protobuf(envelope("Pod", pod))["spec"]
    assert spec == {
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "terminationGracePeriodSeconds": -1,
    }


def test_a_body_of_too_many_values_is_refused() -> None:
    with pytest.raises(ApiError) as caught:
        decode_protobuf(envelope("Pod", field(2, field(2, b"") * 30_000)))
    assert caught.value.code == 413


MANY = field(9, 1) * 50_000
"""Fields that no message has."""


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"k8s\x00" + MANY, id="envelope"),
        pytest.param(b"k8s\x00" + field(1, field(1, b"v1") + MANY), id="type"),
        pytest.param(envelope("ConfigMap", field(2, entry("a", b"b") + MANY)), id="map"),
        pytest.param(
            envelope("Pod", field(2, field(14, field(4, b"\x01" * 50_000)))), id="packed numbers"
        ),
        pytest.param(
            envelope(
                "Pod", b"".join(field(2, field(14, field(4, b"\x01" * 9_000))) for _ in "abc")
            ),
            id="several",
        ),
    ],
)
def test_numbers_and_fields_that_stand_for_little_count_too(body: bytes) -> None:
    with pytest.raises(ApiError, match="more than 20000 values"):
        decode_protobuf(body)
