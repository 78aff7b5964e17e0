from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server.api_server import Api, serving

from upwell.oci import Digest
from upwell.server.http.limits import ServerLimits
from upwell.uploads.files import FileInputs

CONFIGS = "/apis/build.openshift.io/v1/namespaces/shop/buildconfigs"
TAR = "application/x-tar"


@pytest.fixture
def inputs(tmp_path: Path) -> FileInputs:
    return FileInputs(tmp_path / "inputs", limit_bytes=1000)


@pytest.fixture
async def api(inputs: FileInputs) -> AsyncIterator[Api]:
    async with serving(ServerLimits(), inputs=inputs) as running:
        for name, strategy in (
            ("app", {"dockerStrategy": {}}),
            ("ci", {"jenkinsPipelineStrategy": {"jenkinsfile": "node {}"}}),
        ):
            config = {
                "apiVersion": "build.openshift.io/v1",
                "kind": "BuildConfig",
                "metadata": {"name": name},
                "spec": {"source": {"binary": {}}, "strategy": strategy},
            }
            assert (await running.send("POST", CONFIGS, config)).status == 201
        yield running


async def test_an_upload_is_kept_and_built(api: Api, inputs: FileInputs) -> None:
    query = "asFile=app.war&revision.commit=abc&revision.message=fix&revision.authorName=Jo"
    path = f"{CONFIGS}/app/instantiatebinary?{query}"
    answer = await api.send("POST", path, b"content", content_type="application/octet-stream")

    assert answer.status == 201, answer.text
    assert answer.json["kind"] == "Build"
    [upload] = api.actions.uploads
    assert upload.digest == str(Digest.of(b"content"))
    assert upload.as_file == "app.war"
    assert upload.revision is not None
    assert upload.revision.model_dump(exclude_unset=True) == {
        "type": "Git",
        "git": {"commit": "abc", "message": "fix", "author": {"name": "Jo"}},
    }
    kept = await inputs.path(Digest.of(b"content"))
    assert kept.read_bytes() == b"content"


async def test_an_archive_has_no_name_and_needs_no_revision(api: Api) -> None:
    answer = await api.send("POST", f"{CONFIGS}/app/instantiatebinary", b"tar", content_type=TAR)
    assert answer.status == 201
    [upload] = api.actions.uploads
    assert (upload.as_file, upload.revision) == (None, None)
    assert api.actions.requests == [{"unlessBuilt": False}]


async def test_a_retried_upload_takes_the_image_that_it_has_made_before(api: Api) -> None:
    path = f"{CONFIGS}/app/instantiatebinary?unlessBuilt=true"
    answer = await api.send("POST", path, b"tar", content_type=TAR)
    assert answer.status == 201
    assert api.actions.requests == [{"unlessBuilt": True}]


@pytest.mark.parametrize(
    ("name", "query", "body", "code", "message"),
    [
        ("app", "", b"x" * 1001, 413, "more than 1000 bytes"),
        ("app", "", b"", 400, "the body is empty"),
        ("app", "?asFile=../up", b"x", 400, "not the name of a file"),
        ("app", "?asFile=..", b"x", 400, "not the name of a file"),
        ("app", "?unlessBuilt=yes", b"x", 400, "write true or false"),
        ("none", "", b"x", 404, "none"),
        ("ci", "", b"x", 422, "built by an outside CI"),
    ],
)
async def test_an_upload_that_cannot_be_built_is_refused(
    api: Api, name: str, query: str, body: bytes, code: int, message: str
) -> None:
    path = f"{CONFIGS}/{name}/instantiatebinary{query}"
    answer = await api.send("POST", path, body, content_type=TAR)

    assert answer.status == code
    assert message in answer.json["message"]
    assert api.actions.uploads == []


async def test_a_server_that_keeps_no_uploads_says_so() -> None:
    async with serving(ServerLimits()) as bare:
        path = f"{CONFIGS}/app/instantiatebinary"
        answer = await bare.send("POST", path, b"x", content_type=TAR)
        assert answer.status == 501


async def test_a_build_is_made_again(api: Api) -> None:
    builds = "/apis/build.openshift.io/v1/namespaces/shop/builds"
    build = {
        "apiVersion": "build.openshift.io/v1",
        "kind": "Build",
        "metadata": {"name": "app-1"},
        "spec": {"strategy": {"dockerStrategy": {}}},
    }
    assert (await api.send("POST", builds, build)).status == 201
    body = {"kind": "BuildRequest", "env": [{"name": "A", "value": "b"}]}
    answer = await api.send("POST", f"{builds}/app-1/clone", body)

    assert answer.status == 201
    assert answer.json["kind"] == "Build"
    assert api.actions.requests == [body]
    assert (await api.send("POST", f"{builds}/none/clone", {})).status == 404
