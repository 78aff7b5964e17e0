import asyncio
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from tests.unit.cli.conftest import BUILD_CONFIG, NEW, SHOP_NEW, FakeClient, build

from upwell.api.builds.config import BuildConfig, BuildTriggerPolicy, WebHookTrigger

type Upwell = Callable[..., Result]


@pytest.fixture(autouse=True)
async def shop(client: FakeClient) -> None:
    """Store a BuildConfig and its second build, which has ended."""
    await client.put(BUILD_CONFIG)
    await client.put(build(2, "Complete", NEW, SHOP_NEW))


def names(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {m.name: m.linkname for m in opened.getmembers()}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git/config").write_text("[core]")
    (tmp_path / "web/.gitignore").parent.mkdir()
    (tmp_path / "web/.gitignore").write_text("x")
    (tmp_path / "app.py").write_text("print()")
    (tmp_path / "link").symlink_to("app.py")
    return tmp_path


def two_commits(folder: Path) -> tuple[str, str]:
    """Make a repository of two commits, each of which adds a file; return their names."""

    def git(*arguments: str) -> str:
        names = ("-c", "user.name=Jo", "-c", "user.email=jo@example.com")
        argv = ["git", "-C", str(folder), *names, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "-q")
    commits = []
    for file, message in (("a", "first"), ("b", "second")):
        (folder / file).write_text(file)
        git("add", file)
        git("commit", "-qm", message)
        commits.append(git("rev-parse", "HEAD"))
    return commits[0], commits[1]


class TestUploads:
    def test_a_folder_is_packed_without_its_repository(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        result = upwell("start-build", "shop", "--from-dir", str(folder))

        assert result.exit_code == 0, result.stderr
        [(content, params)] = client.uploads
        assert params == {}
        assert names(content) == {"app.py": "", "link": "app.py", "web": "", "web/.gitignore": ""}

    def test_what_no_archive_holds_is_left_out(
        self, upwell: Upwell, client: FakeClient, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(folder)  # the path of a socket is short
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("web/socket")
            os.mkfifo(folder / "pipe")
            result = upwell("start-build", "shop", "--from-dir", ".")

        assert result.exit_code == 0, result.stderr
        assert set(names(client.uploads[0][0])) == {"app.py", "link", "web", "web/.gitignore"}

    def test_what_is_left_out_can_be_chosen(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        upwell("start-build", "shop", "--from-dir", str(folder), "--exclude", r"\.py$|^web")

        [(content, _)] = client.uploads
        assert set(names(content)) == {".git", ".git/config", "link"}

    def test_a_file_keeps_its_name(self, upwell: Upwell, client: FakeClient, folder: Path) -> None:
        upwell("start-build", "bc/shop", "--from-file", str(folder / "app.py"))
        assert client.uploads == [(b"print()", {"asFile": "app.py"})]

    def test_a_job_may_be_retried(self, upwell: Upwell, client: FakeClient, folder: Path) -> None:
        artifact = ("--from-file", str(folder / "app.py"))
        result = upwell("start-build", "shop", *artifact, "--unless-built", "-o", "name")

        assert client.uploads == [(b"print()", {"asFile": "app.py", "unlessBuilt": "true"})]
        assert result.stdout == "build.build.openshift.io/shop-1\n"
        assert result.stderr == ""
        again = upwell("start-build", "--from-build", "shop-2", "--unless-built")
        assert again.exit_code == 2
        assert "are mutually exclusive" in again.stderr

    def test_an_archive_is_sent_as_it_is(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        upwell("start-build", "shop", "--from-archive", str(folder / "app.py"))
        assert client.uploads == [(b"print()", {})]

    def test_a_commit_of_a_repository_is_sent_and_named(
        self, upwell: Upwell, client: FakeClient, tmp_path: Path
    ) -> None:
        first, _ = two_commits(tmp_path)

        upwell("start-build", "shop", "--from-repo", str(tmp_path), "--commit", first[:10])

        [(content, params)] = client.uploads
        assert set(names(content)) - {"pax_global_header"} == {"a"}
        assert params["revision.commit"] == first
        assert params["revision.message"] == "first"
        assert params["revision.authorEmail"] == "jo@example.com"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("shop", "--from-dir", ".", "--from-file", "x"), "are mutually exclusive"),
            (("shop", "--from-dir", "/nowhere"), "is not a folder"),
            (("shop", "--from-file", "/nowhere/x"), "No such file"),
            (("shop", "--from-dir", ".", "--exclude", "("), "--exclude"),
            (("shop", "--from-dir", ".", "--commit", "abc"), "upload it with --from-repo"),
            (
                ("--from-build", "shop-2", "--commit", "abc"),
                "uses the inputs of that build",
            ),
            (
                ("--from-build", "shop-2", "--from-dir", "."),
                "uses the inputs of that build",
            ),
            (("shop", "--from-repo", "/nowhere", "--commit=--output=/x"), "/nowhere"),
            ((), "name a BuildConfig"),
            (("shop", "--from-build", "shop-1"), "name a BuildConfig, or"),
        ],
    )
    def test_what_cannot_be_uploaded_is_refused(
        self, upwell: Upwell, client: FakeClient, arguments: tuple[str, ...], message: str
    ) -> None:
        result = upwell("start-build", *arguments)
        assert result.exit_code == 2
        assert message in result.stderr
        assert client.calls == []


class TestRequests:
    @pytest.mark.parametrize("name", ["1x", "", "A B", ".", "..x", "Ä"])
    def test_a_name_that_no_variable_can_have_is_refused(
        self, upwell: Upwell, client: FakeClient, name: str
    ) -> None:
        result = upwell("start-build", "shop", "--env", f"{name}=2")
        assert result.exit_code == 2
        assert "--env" in result.stderr
        assert client.calls == []

    @pytest.mark.parametrize("name", ["A", "_x1", "my.env-name", "-x"])
    def test_a_name_that_a_variable_can_have_is_sent(
        self, upwell: Upwell, client: FakeClient, name: str
    ) -> None:
        upwell("start-build", "shop", "--env", f"{name}=2")
        assert client.calls[-1][2]["env"] == [{"name": name, "value": "2"}]

    def test_options_go_into_the_request(self, upwell: Upwell, client: FakeClient) -> None:
        upwell(
            *("start-build", "shop", "--env", "A=1", "--build-arg", "B=2", "--no-cache"),
            *("--incremental", "--build-loglevel", "5"),
        )

        [(_, path, body)] = [call for call in client.calls if call[0] == "POST"]
        assert path == "buildconfigs/shop/instantiate"
        assert body["env"] == [
            {"name": "A", "value": "1"},
            {"name": "BUILD_LOGLEVEL", "value": "5"},
        ]
        assert body["dockerStrategyOptions"] == {
            "buildArgs": [{"name": "B", "value": "2"}],
            "noCache": True,
        }
        assert body["sourceStrategyOptions"] == {"incremental": True}

    def test_a_commit_of_the_configured_repository_is_asked_for(
        self, upwell: Upwell, client: FakeClient
    ) -> None:
        upwell("start-build", "shop", "--commit", "2f1c8d0")
        [(_, path, body)] = [call for call in client.calls if call[0] == "POST"]
        assert path == "buildconfigs/shop/instantiate"
        assert body["revision"] == {"type": "Git", "git": {"commit": "2f1c8d0"}}

    def test_what_is_not_asked_for_stays_as_configured(
        self, upwell: Upwell, client: FakeClient
    ) -> None:
        upwell("start-build", "shop")
        [(_, _, body)] = [call for call in client.calls if call[0] == "POST"]
        assert "dockerStrategyOptions" not in body
        assert "sourceStrategyOptions" not in body
        assert body["triggeredBy"] == [{"message": "Manually triggered"}]

    def test_an_earlier_build_is_made_again(self, upwell: Upwell, client: FakeClient) -> None:
        client.answers["builds/shop-2/clone"] = {
            "apiVersion": "build.openshift.io/v1",
            "kind": "Build",
            "metadata": {"name": "shop-3", "namespace": "default"},
        }
        result = upwell("start-build", "--from-build", "shop-2", "-e", "A=1")
        assert result.stdout == "build.build.openshift.io/shop-3 started\n"


class TestWebhooks:
    def test_their_addresses_are_listed_without_the_secret(
        self, upwell: Upwell, client: FakeClient
    ) -> None:
        give_hooks(client)
        result = upwell("start-build", "shop", "--list-webhooks", "all")

        place = "/apis/build.openshift.io/v1/namespaces/default/buildconfigs/shop/webhooks"
        lines = result.stdout.splitlines()
        assert [line[line.index("/apis") :] for line in lines] == [
            f"{place}/<secret>/github",
            f"{place}/<secret>/generic",
        ]
        only = upwell("start-build", "shop", "--list-webhooks", "generic").stdout.splitlines()
        assert [line.rpartition("/")[2] for line in only] == ["generic"]
        assert not [call for call in client.calls if call[0] == "POST"]

    def test_a_webhook_that_is_away_is_named_without_its_secret(self, upwell: Upwell) -> None:
        url = "http://127.0.0.1:1/webhooks/hush/generic"
        result = upwell("start-build", "--from-webhook", url)
        assert result.exit_code == 4
        assert "hush" not in result.output

    def test_a_push_tells_the_webhook_its_refs_and_commits(
        self, upwell: Upwell, tmp_path: Path
    ) -> None:
        first, second = two_commits(tmp_path)
        none = "0" * 40
        push = tmp_path / "push"
        push.write_text(
            f"{first} {second} refs/heads/main\n"
            f"{none} {first} refs/heads/old\n"
            f"{first} {none} refs/heads/gone\n"
        )
        arguments = ("--git-post-receive", str(push), "--git-repository", str(tmp_path))
        with listening() as (url, bodies):
            result = upwell("start-build", "--from-webhook", url, *arguments)
            assert result.exit_code == 0, result.stderr
            push.write_text(f"{first} {none} refs/heads/gone\n")
            deleted = upwell("start-build", "--from-webhook", url, *arguments)
        assert deleted.stderr == "the push has no commit to build\n"
        [body] = bodies
        assert body["type"] == "git"
        refs = body["git"]["refs"]
        assert [(r["ref"], r["commit"], r["message"]) for r in refs] == [
            ("refs/heads/main", second, "second"),
            ("refs/heads/old", first, "first"),
        ]
        assert refs[0]["author"] == {"name": "Jo", "email": "jo@example.com"}

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("shop", "--git-post-receive", "-"), "needs --from-webhook"),
            (("--from-webhook", "http://x", "--git-post-receive", "/nowhere"), "No such file"),
            (
                ("--from-webhook", "http://x", "--git-post-receive", __file__),
                "not a line OLD NEW REF",
            ),
        ],
    )
    def test_what_is_no_push_is_refused(
        self, upwell: Upwell, arguments: tuple[str, ...], message: str
    ) -> None:
        result = upwell("start-build", *arguments)
        assert result.exit_code != 0
        assert message in result.stderr


@contextmanager
def listening() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve a webhook on loopback; yield its address and the bodies that it is sent."""
    bodies: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            bodies.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/hook", bodies
        finally:
            server.shutdown()
            thread.join()


def give_hooks(client: FakeClient) -> None:
    async def change() -> None:
        config = await client.get(BuildConfig, "default", "shop")
        triggers = (
            BuildTriggerPolicy(type="GitHub", github=WebHookTrigger(secret="hush")),
            BuildTriggerPolicy(type="Generic", generic=WebHookTrigger(secret="hush")),
        )
        spec = config.spec.model_copy(update={"triggers": triggers})
        await client.update(config.model_copy(update={"spec": spec}))

    asyncio.run(change())


class TestCancelling:
    def test_all_builds_of_a_config_that_have_not_ended(
        self, upwell: Upwell, client: FakeClient
    ) -> None:
        upwell("start-build", "shop")
        [started] = [c for c in client.calls if c[0] == "POST"]
        assert started
        client.calls.clear()
        result = upwell("cancel-build", "bc/shop", "--state", "new")

        cancelled = [path for method, path, _ in client.calls if method == "PATCH"]
        assert len(cancelled) == 1
        assert result.stdout.endswith("cancelled\n")
        assert result.stderr == ""

    @pytest.mark.parametrize(("states", "count"), [("running", 0), ("pending,New", 1)])
    def test_only_in_the_states_that_are_named(
        self, upwell: Upwell, client: FakeClient, states: str, count: int
    ) -> None:
        upwell("start-build", "shop")
        client.calls.clear()
        upwell("cancel-build", "bc/shop", "--state", states)
        assert len([path for method, path, _ in client.calls if method == "PATCH"]) == count

    def test_a_state_that_is_none_is_refused(self, upwell: Upwell) -> None:
        result = upwell("cancel-build", "bc/shop", "--state", "new,complete")
        assert result.exit_code == 2
        assert "'complete' is not one of 'new', 'pending', 'running'" in result.stderr

    def test_logs_of_several_cancelled_builds_are_printed_and_they_are_made_again(
        self, upwell: Upwell, client: FakeClient
    ) -> None:
        upwell("start-build", "shop")
        asyncio.run(client.put(build(3, "Running", NEW, "")))
        for number in (1, 3):
            client.logs[f"shop-{number}"] = f"log {number}\n".encode()
            client.answers[f"builds/shop-{number}/clone"] = {
                "apiVersion": "build.openshift.io/v1",
                "kind": "Build",
                "metadata": {"name": f"shop-{number + 3}", "namespace": "default"},
            }
        result = upwell("cancel-build", "shop-1", "build/shop-3", "--dump-logs", "--restart")
        assert result.stdout.splitlines() == [
            "build.build.openshift.io/shop-1 cancelled",
            "log 1",
            "build.build.openshift.io/shop-4 started",
            "build.build.openshift.io/shop-3 cancelled",
            "log 3",
            "build.build.openshift.io/shop-6 started",
        ]

    def test_nothing_else_can_be_cancelled(self, upwell: Upwell) -> None:
        result = upwell("cancel-build", "deploy/shop")
        assert result.exit_code == 2
        assert "neither a build nor a BuildConfig" in result.stderr


class TestLogs:
    def test_a_build_is_chosen_by_its_number(self, upwell: Upwell, client: FakeClient) -> None:
        client.logs["shop-2"] = b"two\n"
        assert upwell("logs", "bc/shop", "--version", "2").stdout == "two\n"
        gone = upwell("logs", "bc/shop", "--version", "9")
        assert gone.exit_code == 3
        assert "has no build 9" in gone.stderr
        assert upwell("logs", "build/shop-2", "--version", "2").exit_code == 2
