"""Provenance: what went into an image and by whom, and nothing that is secret."""

import json
from typing import Any

from upwell.api.builds.build import Build
from upwell.api.builds.inputs import GitBuildSource
from upwell.api.codec import decode
from upwell.formats.sigstore import Subject
from upwell.oci import Digest
from upwell.policy.signing.provenance import BuilderIdentity, made_here, provenance

IMAGE = Subject("registry.test/shop/web", Digest.of(b"image"))
BASE = Digest.of(b"base")
BUILDER = BuilderIdentity("https://upwell.test", "1.2")
COMMIT = "ab" * 20
SPEC = {
    "source": {
        "git": {"uri": "https://robot:hunter2@git.test/web?token=hunter2", "ref": "main"},
        "contextDir": "web",
        "sourceSecret": {"name": "hunter2-login"},
        "secrets": [{"secret": {"name": "hunter2-files"}}],
    },
    "strategy": {
        "type": "Docker",
        "dockerStrategy": {
            "env": [
                {"name": "MODE", "value": "fast"},
                {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
            ],
            "pullSecret": {"name": "hunter2-pull"},
        },
    },
    "output": {
        "to": {"kind": "ImageStreamTag", "name": "web:latest"},
        "pushSecret": {"name": "hunter2-push"},
    },
    "triggeredBy": [{"genericWebHook": {"secret": "hunter2"}}],
}
STATUS = {
    "phase": "Complete",
    "inputs": "f" * 64,
    "startTimestamp": "2026-01-02T03:04:05Z",
    "completionTimestamp": "2026-01-02T03:05:05Z",
    "revision": {"git": {"commit": COMMIT}},
    "images": [{"name": "base:1", "reference": f"vendor.test/base@{BASE}", "final": True}],
    "stages": [{"name": "FetchInputs"}, {"name": "PushImage"}],
}


def build(status: dict[str, Any] | None = None) -> Build:
    found = decode({
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {
            "name": "web-1",
            "namespace": "shop",
            "uid": "u1",
            "labels": {"openshift.io/build-config.name": "web"},
        },
        "spec": SPEC,
        "status": {**STATUS, **(status or {})},
    })  # fmt: skip
    assert isinstance(found, Build)
    return found


def test_source_and_bases_stand_by_their_digests() -> None:
    definition = provenance(build(), IMAGE, BUILDER).predicate["buildDefinition"]

    source, base = definition["resolvedDependencies"]
    assert source["digest"] == {"gitCommit": COMMIT}
    assert source["uri"].startswith("git+https://")
    assert source["uri"].endswith("@main")
    assert base == {
        "name": "base:1",
        "uri": "oci://vendor.test/base",
        "digest": {"sha256": BASE.hex},
        "annotations": {"base": "true"},
    }
    assert definition["externalParameters"]["buildConfig"] == "web"
    assert definition["internalParameters"] == {"inputs": "f" * 64}


def test_it_says_who_built_and_which_build() -> None:
    run = provenance(build(), IMAGE, BUILDER).predicate["runDetails"]

    assert run["builder"] == {"id": "https://upwell.test", "version": {"upwell": "1.2"}}
    assert run["metadata"] == {
        "invocationId": "shop/web-1/u1",
        "startedOn": "2026-01-02T03:04:05Z",
        "finishedOn": "2026-01-02T03:05:05Z",
    }


def test_nothing_secret_is_in_it_nor_the_name_of_a_secret() -> None:
    statement = provenance(build(), IMAGE, BUILDER)

    assert b"hunter2" not in statement.encode()
    strategy = statement.predicate["buildDefinition"]["externalParameters"]["strategy"]
    assert strategy["dockerStrategy"]["env"] == [
        {"name": "MODE", "value": "fast"},
        {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
    ]


def test_an_upload_stands_by_its_digest() -> None:
    upload = Digest.of(b"upload")
    binary = build().model_copy(deep=True)
    source = binary.spec.source.model_validate({"binary": {"digest": str(upload)}})
    binary = binary.model_copy(update={"spec": binary.spec.model_copy(update={"source": source})})

    found = provenance(binary, IMAGE, BUILDER).predicate["buildDefinition"]
    assert {"name": "upload", "digest": {"sha256": upload.hex}} in found["resolvedDependencies"]


def test_equal_builds_have_equal_statements() -> None:
    first, second = (provenance(build(), IMAGE, BUILDER).encode() for _ in range(2))

    assert first == second
    assert json.loads(first)["subject"][0]["digest"] == {"sha256": IMAGE.digest.hex}


def test_a_build_that_took_an_earlier_result_has_made_nothing() -> None:
    assert made_here(build())
    assert not made_here(build({"stages": [{"name": "FetchInputs"}]}))


def test_an_at_in_a_path_does_not_pass_for_the_beginning_of_the_revision() -> None:
    made = build()
    git = GitBuildSource(uri="https://g.test/a@b/../c", ref="main")
    source = made.spec.source.model_copy(update={"git": git})
    made = made.model_copy(update={"spec": made.spec.model_copy(update={"source": source})})

    definition = provenance(made, IMAGE, BUILDER).predicate["buildDefinition"]

    assert definition["resolvedDependencies"][0]["uri"] == "git+https://g.test/a%40b/../c@main"


def test_a_rebased_image_says_what_it_was_made_of() -> None:
    rebase = {
        "rebased": True,
        "image": f"registry.test/shop/web@{Digest.of(b'before')}",
        "base": f"vendor.test/base@{Digest.of(b'old base')}",
    }

    def definition(rebase: dict[str, Any]) -> Any:
        found = provenance(build({"rebase": rebase}), IMAGE, BUILDER)
        return found.predicate["buildDefinition"]

    built = definition({**rebase, "rebased": False})
    found = definition(rebase)

    assert built["buildType"] == "https://upwell.dev/build/v1"
    assert found["buildType"] == "https://upwell.dev/rebase/v1"
    named = {one["name"]: one["digest"] for one in found["resolvedDependencies"]}
    assert named == {
        **{one["name"]: one["digest"] for one in built["resolvedDependencies"]},
        "image": {"sha256": Digest.of(b"before").hex},
        "old base": {"sha256": Digest.of(b"old base").hex},
    }
