from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.server.api_server import Api, serving

from upwell.api.builds.build import Build
from upwell.api.builds.config import BinaryInput, BuildConfig
from upwell.oci import Digest
from upwell.server.http.limits import ServerLimits
from upwell.uploads.files import FileInputs
from upwell.uploads.interface import UploadQuota
from upwell.uploads.usage import UploadUsage

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


async def made(api: Api) -> Build:
    [build] = (await api.store.list(Build)).items
    return build


async def test_an_upload_is_kept_and_built(api: Api, inputs: FileInputs) -> None:
    query = "asFile=app.war&revision.commit=abc&revision.message=fix&revision.authorName=Jo"
    path = f"{CONFIGS}/app/instantiatebinary?{query}"
    answer = await api.send("POST", path, b"content", content_type="application/octet-stream")

    assert answer.status == 201, answer.text
    assert answer.json["kind"] == "Build"
    build = await made(api)
    assert build.spec.source.binary is not None
    assert build.spec.source.binary.digest == str(Digest.of(b"content"))
    assert build.spec.source.binary.as_file == "app.war"
    assert build.spec.revision is not None
    assert build.spec.revision.model_dump(exclude_unset=True) == {
        "type": "Git",
        "git": {"commit": "abc", "message": "fix", "author": {"name": "Jo"}},
    }
    kept = await inputs.path(Digest.of(b"content"))
    assert kept.read_bytes() == b"content"


async def test_an_archive_has_no_name_and_needs_no_revision(api: Api) -> None:
    answer = await api.send("POST", f"{CONFIGS}/app/instantiatebinary", b"tar", content_type=TAR)
    assert answer.status == 201
    build = await made(api)
    assert build.spec.source.binary is not None
    assert (build.spec.source.binary.as_file, build.spec.revision) == (None, None)
    assert build.spec.forced


async def test_a_build_without_an_upload_says_which_one_it_uses_again(api: Api) -> None:
    path = f"{CONFIGS}/app/instantiatebinary"
    sent = await api.send("POST", path, b"tar", content_type=TAR)
    assert "Warning" not in sent.headers
    config = await api.store.get(BuildConfig, "shop", "app")
    known = BinaryInput(digest=str(Digest.of(b"tar")), build="app-1")
    status = config.status.model_copy(update={"binary_input": known})
    await api.store.update_status(config.with_status(status))

    again = await api.send("POST", f"{CONFIGS}/app/instantiate", {})
    assert again.status == 201, again.text
    said = (
        f"nothing was uploaded: build app-2 uses the upload of build app-1 again ({known.digest})"
    )
    assert said in again.headers["Warning"]


async def test_a_retried_upload_takes_the_image_that_it_has_made_before(api: Api) -> None:
    path = f"{CONFIGS}/app/instantiatebinary?unlessBuilt=true"
    answer = await api.send("POST", path, b"tar", content_type=TAR)
    assert answer.status == 201
    assert not (await made(api)).spec.forced


@pytest.mark.parametrize(
    ("name", "query", "body", "code", "message"),
    [
        ("app", "", b"x" * 1001, 413, "more than 1000 bytes"),
        ("app", "", b"", 400, "the body is empty"),
        ("app", "?asFile=../up", b"x", 400, "not the name of a file"),
        ("app", "?asFile=..", b"x", 400, "not the name of a file"),
        ("app", "?unlessBuilt=yes", b"x", 400, "write true or false"),
        ("none", "", b"x", 404, "none"),
        ("ci", "", b"x", 422, "built by an external CI"),
    ],
)
async def test_an_upload_that_cannot_be_built_is_refused(
    api: Api, name: str, query: str, body: bytes, code: int, message: str
) -> None:
    path = f"{CONFIGS}/{name}/instantiatebinary{query}"
    answer = await api.send("POST", path, body, content_type=TAR)

    assert answer.status == code
    assert message in answer.json["message"]
    assert (await api.store.list(Build)).items == []


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
        "spec": {"source": {"dockerfile": "FROM base\n"}, "strategy": {"dockerStrategy": {}}},
    }
    assert (await api.send("POST", builds, build)).status == 201
    body = {"kind": "BuildRequest", "env": [{"name": "A", "value": "b"}]}
    answer = await api.send("POST", f"{builds}/app-1/clone", body)

    assert answer.status == 201
    assert answer.json["kind"] == "Build"
    assert answer.json["spec"]["strategy"]["dockerStrategy"]["env"] == body["env"]
    assert (await api.send("POST", f"{builds}/none/clone", {})).status == 404


@pytest.mark.parametrize("env", [5, "MODE=debug", ["MODE"], [{"name": 5}], [{"value": "x"}]])
async def test_a_wrong_build_request_is_refused_without_its_values(api: Api, env: object) -> None:
    answer = await api.send("POST", f"{CONFIGS}/app/instantiate", {"env": env})
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert answer.json["message"].startswith("BuildRequest is invalid: env")
    assert "debug" not in answer.json["message"]
    assert (await api.store.list(Build)).items == []


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            {"binary": {}},
            "BuildRequest is invalid: binary: upload the content with instantiatebinary",
        ),
        (
            {"lastVersion": 99},
            "the LastVersion(0) on build config shop/app does not match the build request",
        ),
        (
            {"sourceStrategyOptions": {"incremental": True}},
            "BuildConfig shop/app cannot be built like this: incremental needs sourceStrategy",
        ),
        ({}, "BuildConfig shop/app cannot be built: waits for a first upload: "),
    ],
)
async def test_a_refused_build_is_invalid_and_says_why(
    api: Api, body: dict[str, object], message: str
) -> None:
    answer = await api.send("POST", f"{CONFIGS}/app/instantiate", body)
    assert (answer.status, answer.json["reason"]) == (422, "Invalid")
    assert message in answer.json["message"]


async def test_more_than_the_quota_of_the_namespace_is_refused_with_its_name(
    tmp_path: Path,
) -> None:
    async def quota(namespace: str) -> UploadQuota:
        return UploadQuota(f"of-{namespace}", 4096)

    limited = FileInputs(tmp_path / "limited", usage=UploadUsage(quota))
    async with serving(ServerLimits(), inputs=limited) as running:
        config = {
            "apiVersion": "build.openshift.io/v1",
            "kind": "BuildConfig",
            "metadata": {"name": "app"},
            "spec": {"source": {"binary": {}}, "strategy": {"dockerStrategy": {}}},
        }
        assert (await running.send("POST", CONFIGS, config)).status == 201
        path = f"{CONFIGS}/app/instantiatebinary"
        first = await running.send("POST", path, b"one", content_type=TAR)
        assert first.status == 201, first.text
        answer = await running.send("POST", path, b"two", content_type=TAR)
    assert answer.status == 403
    assert (
        "exceeded quota: of-shop, requested: upwell.dev/upload-storage=4Ki"
        in answer.json["message"]
    )
