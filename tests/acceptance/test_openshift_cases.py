"""OpenShift's build chains and webhook payloads, through a server (corpus, cases 15 and 27)."""

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import aiohttp
import pytest
import pytest_asyncio
from tests.support.installation.installation import Installation, installation
from tests.support.openshift import CHAINS, WEBHOOKS, needs_corpus

from upwell.api.builds.build import Build
from upwell.store.interface import ApiClient, Selector

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    needs_corpus,
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def made() -> AsyncIterator[Installation]:
    async with installation() as running:
        yield running


async def test_case_15_chains_are_shown_as_oc_shows_them(made: Installation) -> None:
    for name in ("single-namespace-bcs.yaml", "multiple-namespaces-bcs.yaml"):
        applied = made.upwell("apply", "-f", str(CHAINS / name), "--force-conflicts")
        assert applied.returncode == 0, applied.stderr
        again = made.upwell("apply", "-f", str(CHAINS / name))
        assert {line.split()[1] for line in again.stdout.splitlines()} == {"unchanged"}, (
            again.stderr
        )
        if name.startswith("single"):
            shown = made.upwell("build-chain", "ruby-25-centos7:latest", "-n", "test")
            assert shown.stdout.splitlines() == [
                "istag/ruby-25-centos7:latest",
                "\tbc/ruby-hello-world",
                "\t\tistag/ruby-hello-world:latest",
                "\tbc/ruby-sample-build",
                "\t\tistag/origin-ruby-sample:latest",
            ]
            back = made.upwell("build-chain", "ruby-hello-world", "-n", "test", "--reverse")
            assert back.stdout.splitlines() == [
                "istag/ruby-hello-world:latest",
                "\tbc/ruby-hello-world",
                "\t\tistag/ruby-25-centos7:latest",
            ]
            deleted = made.upwell("delete", "-f", str(CHAINS / name))
            assert deleted.returncode == 0, deleted.stderr
    shown = made.upwell("build-chain", "ruby-25-centos7:latest", "-n", "master", "--all")
    assert shown.stdout.splitlines() == [
        "<master istag/ruby-25-centos7:latest>",
        "\t<default bc/ruby-hello-world>",
        "\t\t<test istag/ruby-hello-world:latest>",
        "\t<test bc/ruby-sample-build>",
        "\t\t<another istag/origin-ruby-sample:latest>",
    ]
    drawn = made.upwell(
        "build-chain", "ruby-25-centos7:latest", "-n", "master", "--all", "-o", "dot"
    )
    assert drawn.stdout.startswith('digraph "ruby-25-centos7:latest" {')


HOOKED = """\
apiVersion: v1
kind: BuildConfig
metadata: {name: hooked}
spec:
  source: {type: Git, git: {uri: "%s/none"}}
  strategy: {type: Docker, dockerStrategy: {}}
  runPolicy: Parallel
  triggers:
  - {type: GitHub, github: {secret: secret101}}
  - {type: GitLab, gitlab: {secret: secret101}}
  - {type: Generic, generic: {secret: secret101, allowEnv: true}}
  - {type: Generic, generic: {secret: secret102}}
"""
HEAD = "9bdc3a26ff933b32f3e558636b58aea86a69f051"
JSON = {"Content-Type": "application/json"}
GITHUB = {**JSON, "X-GitHub-Event": "push"}
GITLAB = {**JSON, "X-GitLab-Event": "Push Hook"}


@dataclass(frozen=True)
class Call:
    """A webhook call, and what must come of it."""

    hook: str
    payload: str
    headers: Mapping[str, str]
    commit: str = ""
    """Commit that is built; empty: none is."""
    secret: str = "secret101"
    config: str = "hooked"
    status: int = 200
    env: tuple[str, ...] = ()
    warning: str = ""


CALLS = [
    Call("github", "github/testdata/pushevent.json", GITHUB, HEAD),
    Call("github", "github/testdata/pushevent-not-master-branch.json", GITHUB),
    Call("github", "github/testdata/pingevent.json", {**JSON, "X-GitHub-Event": "ping"}),
    Call("github", "github/testdata/pushevent.json", GITHUB, secret="wrong", status=401),
    Call("github", "github/testdata/pushevent.json", GITHUB, config="none", status=401),
    Call(
        "gitlab",
        "gitlab/testdata/pushevent.json",
        GITLAB,
        "da1560886d4f094c3e6c9ef40349f7d38b5d27d7",
    ),
    Call("gitlab", "gitlab/testdata/pushevent-not-master-branch.json", GITLAB),
    Call("generic", "generic/testdata/push-generic.json", JSON, HEAD),
    Call("generic", "generic/testdata/push-generic-envs.json", JSON, HEAD, env=("EXAMPLE",)),
    Call("generic", "generic/testdata/push-generic-envs.json", JSON, HEAD, secret="secret102"),
    Call(
        "generic",
        "generic/testdata/push-generic-envs.yaml",
        {"Content-Type": "application/yaml"},
        HEAD,
        env=("EXAMPLE",),
    ),
    Call(
        "generic",
        "generic/testdata/post-receive-git.json",
        JSON,
        "2602ace61490de0513dfbd7c7de949356cf9bd17",
    ),
    Call(
        "generic",
        "generic/testdata/push-gitlab.json",
        JSON,
        "the configured ref",
        warning="no git information found in payload",
    ),
    Call(
        "generic",
        "generic/testdata/push-generic.json",
        {"Content-Type": "text/plain"},
        "the configured ref",
        warning="invalid Content-Type on payload",
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(made: Installation) -> AsyncIterator[ApiClient]:
    async with made.client() as connected:
        await made.apply(connected, HOOKED % made.git)
        yield connected


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.payload}-{call.status}")
async def test_case_27_a_payload_starts_its_build_or_none(
    made: Installation, client: ApiClient, call: Call
) -> None:
    before = await builds(client)
    path = f"buildconfigs/{call.config}/webhooks/{call.secret}/{call.hook}"
    url = f"{made.url}/apis/build.openshift.io/v1/namespaces/default/{path}"
    body = (WEBHOOKS / call.payload).read_bytes()
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=call.headers) as answer,
    ):
        text = await answer.text()
        assert answer.status == call.status, text
        assert call.warning in answer.headers.get("Warning", "")
    if call.status == 401:
        told = f'the webhook \\"{call.hook}\\" for \\"{call.config}\\" did not accept your secret'
        assert told in text
    started = {name: build for name, build in (await builds(client)).items() if name not in before}
    assert len(started) == bool(call.commit)
    for build in started.values():
        assert (build.revision.commit or "the configured ref") == call.commit
        assert tuple(v.name for v in build.spec.strategy.env) == call.env
        assert "secret10" not in build.model_dump_json()


async def builds(client: ApiClient) -> Mapping[str, Build]:
    listing = await client.list(Build, Selector("default"))
    return {build.name: build for build in listing.items}
