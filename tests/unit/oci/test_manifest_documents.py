import json
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.oci import (
    Digest,
    ImageConfig,
    Index,
    InvalidManifestError,
    Manifest,
    MediaType,
    Platform,
    parse_manifest,
)
from upwell.oci.manifest import MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES

DIGEST = str(Digest.of(b"content"))
BLOB = {"mediaType": "application/octet-stream", "digest": DIGEST, "size": 7}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
_FIELDS = ["mediaType", "config", "layers", "manifests", "annotations", "subject", "artifactType"]


def entry(platform: str, mark: str) -> dict[str, Any]:
    names = dict(zip(("os", "architecture", "variant"), platform.split("/"), strict=False))
    return {**BLOB, "digest": str(Digest.of(mark.encode())), "platform": names}


def image(**changes: object) -> bytes:
    document = {"mediaType": MediaType.OCI_MANIFEST, "config": BLOB, "layers": [BLOB], **changes}
    return json.dumps({key: value for key, value in document.items() if value != ""}).encode()


def index(*manifests: object) -> bytes:
    return json.dumps({"mediaType": MediaType.OCI_INDEX, "manifests": manifests}).encode()


def test_a_manifest_keeps_the_bytes_that_its_digest_is_of() -> None:
    raw = image(annotations={"a": "b"}, subject=BLOB, artifactType="text/x") + b"  \n"
    manifest = parse_manifest(raw)
    assert isinstance(manifest, Manifest)
    assert manifest.raw == raw
    assert manifest.digest == Digest.of(raw)
    assert manifest.annotations == {"a": "b"}
    assert manifest.subject is not None
    assert manifest.artifact_type == "text/x"
    assert manifest.references == (manifest.config, *manifest.layers)
    assert "raw" not in repr(manifest)


@pytest.mark.parametrize(
    ("own", "declared", "expected"),
    [
        (MediaType.DOCKER_MANIFEST, MediaType.OCI_MANIFEST, MediaType.DOCKER_MANIFEST),
        ("", MediaType.DOCKER_MANIFEST, MediaType.DOCKER_MANIFEST),
        ("", f"{MediaType.OCI_MANIFEST}; charset=utf-8", MediaType.OCI_MANIFEST),
        ("", "application/json", MediaType.OCI_MANIFEST),
        ("", None, MediaType.OCI_MANIFEST),
    ],
)
def test_the_documents_own_type_wins(own: str, declared: str | None, expected: MediaType) -> None:
    assert parse_manifest(image(mediaType=own), declared).media_type is expected


def test_an_index_finds_the_manifest_of_a_platform() -> None:
    entries = [entry("linux/arm/v6", "v6"), entry("linux/arm/v7", "v7"), entry("linux/amd64", "a")]
    parsed = parse_manifest(index(*entries, BLOB))
    assert isinstance(parsed, Index)
    found = parsed

    def digest(*platform: str) -> Digest | None:
        selected = found.select(Platform(*platform))
        return selected.digest if selected else None

    assert digest("linux", "amd64") == Digest.of(b"a")
    assert digest("linux", "arm", "v7") == Digest.of(b"v7")
    assert digest("linux", "arm", "v8") == Digest.of(b"v6")
    assert digest("linux", "s390x") is None
    assert digest("windows", "amd64") is None
    assert str(Platform("linux", "arm", "v7")) == "linux/arm/v7"


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b"", "not JSON"),
        (b"[]", "expected an object, found list"),
        (b"[" * 100_000, "not JSON"),
        (b"\xff\xfe\xfd", "not JSON"),
        (b"9" * 10_000, "not JSON"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "more than the 4194304 allowed"),
        (b'{"mediaType":"text/html"}', "media type 'text/html' is not supported"),
        (b'{"mediaType":["a"]}', "is not supported"),
        (image(config=""), "config is missing"),
        (image(config=5), "config: expected an object"),
        (image(layers={}), "layers: expected a list"),
        (image(layers=[{**BLOB, "size": "7"}]), r"layers\[0\].size"),
        (image(layers=[{**BLOB, "size": -1}]), r"layers\[0\].size"),
        (image(layers=[{**BLOB, "size": True}]), r"layers\[0\].size"),
        (image(layers=[BLOB, {**BLOB, "digest": "md5:0"}]), r"layers\[1\].digest"),
        (image(annotations=["a"]), "annotations: expected an object"),
        (index({**BLOB, "platform": "linux"}), r"manifests\[0\].platform"),
    ],
)
def test_a_fault_is_named(raw: bytes, named: str) -> None:
    with pytest.raises(InvalidManifestError, match=named):
        parse_manifest(raw)


@given(st.binary() | st.dictionaries(st.sampled_from(_FIELDS), json_values).map(json.dumps))
def test_no_document_raises_anything_else(document: bytes | str) -> None:
    raw = document if isinstance(document, bytes) else document.encode()
    for parse in (parse_manifest, ImageConfig.parse):
        try:
            parse(raw)
        except InvalidManifestError:
            continue


def test_a_configuration_says_how_an_image_runs() -> None:
    document = {
        "os": "linux",
        "architecture": "amd64",
        "config": {
            "Env": ["A=1"],
            "Entrypoint": None,
            "Cmd": ["sh"],
            "User": "1001",
            "Labels": {"io.openshift.s2i.scripts-url": "image:///usr/libexec/s2i"},
            "OnBuild": ["RUN true"],
        },
    }
    config = ImageConfig.parse(json.dumps(document).encode())
    assert config.platform == Platform("linux", "amd64")
    assert (config.env, config.entrypoint, config.cmd) == (("A=1",), (), ("sh",))
    assert config.user == "1001"
    assert config.labels == {"io.openshift.s2i.scripts-url": "image:///usr/libexec/s2i"}
    assert config.on_build == ("RUN true",)


@pytest.mark.parametrize(
    ("raw", "named"),
    [
        (b'{"config":{"Env":"A=1"}}', "expected a list of strings"),
        (b'{"config":{"Cmd":[1]}}', "expected a list of strings"),
        (b'{"config":[1]}', "config: expected an object"),
        (b" " * (MAX_CONFIG_BYTES + 1), "allowed"),
    ],
)
def test_a_wrong_configuration_is_refused(raw: bytes, named: str) -> None:
    with pytest.raises(InvalidManifestError, match=named):
        ImageConfig.parse(raw)


@pytest.mark.parametrize(
    "filler",
    [b"[" + b"[]," * 1_300_000 + b"[]]", b'"' + b'\\"' * 2_000_000, b'["' + b'","' * 1_300_000],
    ids=["lists", "no end", "texts"],
)
def test_more_values_than_a_manifest_has_take_no_memory(filler: bytes) -> None:
    started = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(InvalidManifestError):
            parse_manifest(b'{"schemaVersion": 2, "x": ' + filler + b"}")
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 24 * 1024**2
    assert time.process_time() - started < 10


def test_commas_in_texts_are_no_values() -> None:
    raw = json.dumps(
        {
            "config": {"digest": f"sha256:{'a' * 64}", "size": 1},
            "annotations": {"csv": "[{," * 300_000},
        }
    ).encode()
    assert parse_manifest(raw).annotations["csv"].startswith("[{,")
