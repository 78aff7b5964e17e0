import asyncio
import io
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from tests.unit.cli.conftest import BUILD_CONFIG, NEW, SHOP_NEW, FakeClient, build

from upwell.api.build import BuildConfig, BuildTriggerPolicy, WebHookTrigger

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


class TestUploads:
    def test_a_folder_is_packed_without_its_repository(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        result = upwell("start-build", "shop", "--from-dir", str(folder))

        assert result.exit_code == 0, result.stderr
        [(content, params)] = client.uploads
        assert params == {}
        assert names(content) == {"app.py": "", "link": "app.py", "web": "", "web/.gitignore": ""}

    def test_what_is_left_out_can_be_chosen(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        upwell("start-build", "shop", "--from-dir", str(folder), "--exclude", r"\.py$|^web")

        [(content, _)] = client.uploads
        assert set(names(content)) == {".git", ".git/config", "link"}

    def test_a_file_keeps_its_name(self, upwell: Upwell, client: FakeClient, folder: Path) -> None:
        upwell("start-build", "bc/shop", "--from-file", str(folder / "app.py"))
        assert client.uploads == [(b"print()", {"asFile": "app.py"})]

    def test_an_archive_is_sent_as_it_is(
        self, upwell: Upwell, client: FakeClient, folder: Path
    ) -> None:
        upwell("start-build", "shop", "--from-archive", str(folder / "app.py"))
        assert client.uploads == [(b"print()", {})]

    def test_a_commit_of_a_repository_is_sent_and_named(
        self, upwell: Upwell, client: FakeClient, tmp_path: Path
    ) -> None:
        def git(*arguments: str) -> str:
            names = ("-c", "user.name=Jo", "-c", "user.email=jo@example.com")
            argv = ["git", "-C", str(tmp_path), *names, *arguments]
            return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

        git("init", "-q")
        (tmp_path / "a").write_text("1")
        git("add", "a")
        git("commit", "-qm", "first")
        first = git("rev-parse", "HEAD")
        (tmp_path / "b").write_text("2")
        git("add", "b")
        git("commit", "-qm", "second")

        upwell("start-build", "shop", "--from-repo", str(tmp_path), "--commit", first[:10])

        [(content, params)] = client.uploads
        assert set(names(content)) - {"pax_global_header"} == {"a"}
        assert params["revision.commit"] == first
        assert params["revision.message"] == "first"
        assert params["revision.authorEmail"] == "jo@example.com"

    @pytest.mark.parametrize(
        ("arguments", "message"),
        [
            (("shop", "--from-dir", ".", "--from-file", "x"), "one upload at a time"),
            (("shop", "--from-dir", "/nowhere"), "is no folder"),
            (("shop", "--from-file", "/nowhere/x"), "No such file"),
            (("shop", "--from-dir", ".", "--exclude", "("), "--exclude"),
            (("shop", "--commit", "abc"), "belongs to --from-repo"),
            (("--from-build", "shop-2", "--from-dir", "."), "upload nothing"),
            (("shop", "--from-repo", "/nowhere", "--commit=--output=/x"), "/nowhere"),
            ((), "name a BuildConfig"),
            (("shop", "--from-build", "shop-1"), "name a BuildConfig, or"),
        ],
    )
    def test_what_cannot_be_uploaded_is_refused(
        self, upwell: Upwell, client: FakeClient, arguments: tuple[str, ...], message: str
    ) -> None:
        result = upwell("start-build", *arguments)
        assert result.exit_code != 0
        assert message in result.stderr
        assert client.calls == []


class TestRequests:
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

    def test_only_in_the_state_that_is_named(self, upwell: Upwell, client: FakeClient) -> None:
        upwell("start-build", "shop")
        client.calls.clear()
        upwell("cancel-build", "bc/shop", "--state", "running")
        assert not [path for method, path, _ in client.calls if method == "PATCH"]

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
