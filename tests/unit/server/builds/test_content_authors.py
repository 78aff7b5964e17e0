"""Rights of whoever decides what is built, and their names beside the author."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.server.granted_api import REGISTRY, GrantedApi, open_granted_api, path_of

from upwell.api.builds.build import Build
from upwell.api.builds.config import BuildConfig
from upwell.api.values.author import MADE_OF_ANNOTATION, author_of, content_authors_of
from upwell.uploads.files import FileInputs

TAR = "application/x-tar"
MERGE = "application/merge-patch+json"
KEY = {"name": "K", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}


@pytest.fixture
async def granted(tmp_path: Path) -> AsyncIterator[GrantedApi]:
    inputs = FileInputs(tmp_path / "inputs", limit_bytes=1000)
    async with open_granted_api(tmp_path, inputs) as api:
        yield api


def config(docker: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    annotations = spec.pop("annotations", {})
    return {
        "metadata": {"name": "app", "annotations": annotations},
        "spec": {
            "source": {"git": {"uri": "https://git.test/app"}},
            "strategy": {"dockerStrategy": docker or {}},
            **spec,
        },
    }


def output(name: str, **reference: str) -> dict[str, Any]:
    return {"output": {"to": {"name": name, **reference}}}


OTHERS_STREAM = output("app:1", kind="ImageStreamTag", namespace="b")
ANOTHERS = "push repositories in namespace b"
DELEGATED = [
    (config({"env": [KEY]}), "use secrets in namespace a"),
    (config({"buildArgs": [KEY]}), "use secrets in namespace a"),
    (
        config(
            {
                "volumes": [
                    {
                        "name": "v",
                        "source": {"type": "Secret", "secret": {"secretName": "key"}},
                        "mounts": [{"destinationPath": "/v"}],
                    }
                ]
            }
        ),
        "use secrets in namespace a",
    ),
    (
        config(
            source={
                "git": {"uri": "https://git.test/app"},
                "secrets": [{"secret": {"name": "key"}}],
            }
        ),
        "use secrets in namespace a",
    ),
    (
        config(
            strategy={"customStrategy": {"from": {"kind": "DockerImage", "name": "x.test/b"}}},
            output={"pushSecret": {"name": "key"}},
        ),
        "use secrets in namespace a",
    ),
    (config(**OTHERS_STREAM), ANOTHERS),
    (config(**output(f"{REGISTRY}/b/app:1", kind="DockerImage")), ANOTHERS),
    (config(annotations={"upwell.dev/host-network": "true"}), "use hostnetwork in namespace a"),
]
ORDINARY = [
    config(),
    config(output={"pushSecret": {"name": "key"}}),
    config(source={"git": {"uri": "https://git.test/app"}, "sourceSecret": {"name": "key"}}),
    config(
        {"from": {"kind": "ImageStreamTag", "name": "base:1", "namespace": "b"}},
        source={"dockerfile": "FROM base\n"},
    ),
]
REQUESTS: list[dict[str, Any]] = [
    {"env": [{"name": "LD_PRELOAD", "value": "/x"}]},
    {"revision": {"type": "Git", "git": {"commit": "0" * 40}}},
    {"dockerStrategyOptions": {"buildArgs": [{"name": "A", "value": "b"}]}},
]


async def set_up(granted: GrantedApi, document: dict[str, Any]) -> None:
    base = {
        "metadata": {"name": "base"},
        "spec": {
            "tags": [
                {
                    "name": "1",
                    "from": {"kind": "DockerImage", "name": "x.test/base@sha256:" + "a" * 64},
                }
            ]
        },
    }
    assert (await granted.create("admin", "imagestreams", "b", base)).status == 201
    answer = await granted.create("admin", "buildconfigs", "a", document)
    assert answer.status == 201, answer.text


async def uploaded(granted: GrantedApi, who: str) -> Any:
    path = path_of("buildconfigs", "a", "app", "instantiatebinary")
    return await granted.send(who, "POST", path, b"tar", content_type=TAR)


async def asked(granted: GrantedApi, who: str, request: dict[str, Any]) -> Any:
    path = path_of("buildconfigs", "a", "app", "instantiate")
    return await granted.send(who, "POST", path, request)


@pytest.mark.parametrize(("document", "right"), DELEGATED)
async def test_who_decides_the_content_must_have_what_it_decides_about(
    granted: GrantedApi, document: dict[str, Any], right: str
) -> None:
    await set_up(granted, document)
    await granted.grant("ci", "ci@a")
    answer = await uploaded(granted, "ci")
    assert answer.status == 403, answer.text
    assert right in answer.json["message"]
    for request in REQUESTS if "dockerStrategy" in document["spec"]["strategy"] else REQUESTS[:2]:
        refused = await asked(granted, "ci", request)
        assert refused.status == 403, (request, refused.text)
        assert right in refused.json["message"]
    assert (await asked(granted, "ci", {})).status == 201, "nothing of the content is theirs"
    await granted.grant("ci", "ci@a", "secret-user@a", "builder@b", "admin@a")
    assert (await uploaded(granted, "ci")).status == 201
    [made] = [
        one
        for one in (await granted.api.store.list(Build)).items
        if one.spec.source.binary is not None
    ]
    assert (author_of(made), content_authors_of(made)) == ("system:admin", ("ci",))


@pytest.mark.parametrize("document", ORDINARY)
async def test_an_ordinary_upload_takes_no_right_but_that_to_upload(
    granted: GrantedApi, document: dict[str, Any]
) -> None:
    await set_up(granted, document)
    await granted.grant("ci", "ci@a")
    answer = await uploaded(granted, "ci")
    if "from" not in document["spec"]["strategy"]["dockerStrategy"]:
        assert answer.status == 201, answer.text
    else:  # its base has no image here: it is not a right that is missing
        assert answer.status != 403, answer.text


async def test_an_argument_names_no_image_that_its_client_may_not_pull(
    granted: GrantedApi,
) -> None:
    await set_up(granted, config(source={"dockerfile": "ARG BASE=x\nFROM $BASE\n"}))
    await granted.grant("ci", "ci@a")
    argument = {"name": "BASE", "value": f"{REGISTRY}/b/app:1"}
    request = {"dockerStrategyOptions": {"buildArgs": [argument]}}
    refused = await asked(granted, "ci", request)
    assert refused.status == 403
    assert "pull repositories in namespace b" in refused.json["message"]
    await granted.grant("ci", "ci@a", "viewer@b")
    assert (await asked(granted, "ci", request)).status == 201


async def test_only_the_server_says_of_which_buildconfig_a_build_is_made(
    granted: GrantedApi,
) -> None:
    await set_up(granted, config())
    await granted.grant("eve", "builder@a")
    uid = (await granted.api.store.get(BuildConfig, "a", "app")).uid
    owner = {"apiVersion": "build.openshift.io/v1", "kind": "BuildConfig", "name": "app"}
    forged: dict[str, Any] = {
        "metadata": {
            "name": "forged",
            "annotations": {MADE_OF_ANNOTATION: uid},
            "ownerReferences": [{**owner, "uid": uid}],
        },
        "spec": {"source": {"dockerfile": "FROM x"}, "strategy": {"dockerStrategy": {}}},
    }
    for who in ("eve", "admin"):
        forged["metadata"]["name"] = f"forged-by-{who}"
        answer = await granted.create(who, "builds", "a", forged)
        assert answer.status == 201, answer.text
        path = path_of("builds", "a", f"forged-by-{who}")
        again = {"metadata": {"annotations": {MADE_OF_ANNOTATION: uid}}}
        assert (await granted.send(who, "PATCH", path, again, content_type=MERGE)).status == 200
        assert MADE_OF_ANNOTATION not in (await granted.send(who, "GET", path)).json[
            "metadata"
        ].get("annotations", {})

    made = (await asked(granted, "eve", {})).json["metadata"]
    assert made["annotations"][MADE_OF_ANNOTATION] == uid
    for taken in (None, "another"):
        change = {"metadata": {"annotations": {MADE_OF_ANNOTATION: taken}}}
        path = path_of("builds", "a", made["name"])
        answer = await granted.send("eve", "PATCH", path, change, content_type=MERGE)
        assert answer.json["metadata"]["annotations"][MADE_OF_ANNOTATION] == uid


async def test_nobody_names_who_decides_the_content_and_who_changes_it_in_part_is_named(
    granted: GrantedApi,
) -> None:
    base = {"from": {"kind": "ImageStreamTag", "name": "base:1", "namespace": "b"}}
    forged = {"upwell.dev/content-authors": "somebody"}
    await set_up(granted, config(base, annotations=forged))
    await granted.grant("eve", "builder@a")
    path = path_of("buildconfigs", "a", "app")

    async def stored() -> BuildConfig:
        return await granted.api.store.get(BuildConfig, "a", "app")

    assert content_authors_of(await stored()) == ()
    source = {"spec": {"source": {"git": {"uri": "https://git.test/eves"}}}}
    answer = await granted.send("eve", "PATCH", path, source, content_type=MERGE)
    assert answer.status == 200, answer.text
    assert author_of(await stored()) == "system:admin"
    assert content_authors_of(await stored()) == ("eve",)

    away = {"metadata": {"annotations": {"upwell.dev/content-authors": None}}}
    assert (await granted.send("eve", "PATCH", path, away, content_type=MERGE)).status == 200
    assert content_authors_of(await stored()) == ("eve",)

    mine = {"spec": {"source": {"git": {"uri": "https://git.test/mine"}}}}
    assert (await granted.send("admin", "PATCH", path, mine, content_type=MERGE)).status == 200
    assert content_authors_of(await stored()) == ()
