"""Sign-in of the command line, against a server of the test's choice."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result
from tests.unit.cli.conftest import FakeClient

from upwell.api.meta import Resource
from upwell.api.reviews import SelfSubjectReview, SelfSubjectReviewStatus, UserInfo
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.cli.core.logins import Login, Logins, logins_path, read_logins, write_logins
from upwell.store.interface import RejectedError, UnavailableError
from upwell.store.kubernetes_errors import StoreForbiddenError

SERVER = "https://upwell.example.com"
TOKEN = "upwell_oidc:abc_def"
BEGUN = {
    "device": "sealed",
    "userCode": "WDJB-MJHT",
    "verificationUri": "https://id.example.com/device",
    "verificationUriComplete": "https://id.example.com/device?code=WDJB-MJHT",
    "interval": 5,
    "expiresIn": 600,
}
ENDS = "2026-03-02T12:00:00Z"


class PersonClient(FakeClient):
    """A server that has people sign in."""

    def __init__(self) -> None:
        super().__init__()
        self.paths = {
            "/oidc": [{"issuer": "https://id.example.com", "device": True}],
            "/oidc/device": [BEGUN],
            "/oidc/token": [{"token": TOKEN, "name": "oidc:ada", "ends": ENDS}],
            "/oidc/sessions/current": [{"ended": ["abc"]}],
        }
        self.refuses: set[str] = set()
        """Tokens that open nothing any more."""
        self.token = ""

    async def create[R: Resource](self, resource: R) -> R:
        if not isinstance(resource, SelfSubjectReview):
            return await super().create(resource)
        if self.token in self.refuses:
            raise StoreForbiddenError("the token is unknown or has expired")
        extra: dict[str, tuple[str, ...]] = {
            "upwell.dev/grants": ("deployer@shop",),
            "upwell.dev/ends": (ENDS,),
        }
        user = UserInfo(
            username="oidc:ada", groups=("system:authenticated", "developers"), extra=extra
        )
        status = SelfSubjectReviewStatus(user_info=user)
        return resource.model_copy(update={"status": status})


@pytest.fixture
def server() -> PersonClient:
    return PersonClient()


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that stands still, but for what the command waits."""
    found: list[float] = []

    async def sleep(seconds: float) -> None:
        found.append(seconds)

    monkeypatch.setattr("upwell.cli.access.sign_in.asyncio.sleep", sleep)
    monkeypatch.setattr("upwell.cli.access.sign_in.clock.elapsed", lambda: sum(found))
    return found


@pytest.fixture
def run(
    server: PersonClient, waits: list[float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Result]:
    del waits
    for name in ("UPWELL_SERVER", "UPWELL_TOKEN", "UPWELL_NAMESPACE", "UPWELL_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))

    def invoke(*arguments: str, **options: Any) -> Result:
        def connect(url: str, token: str, authority: str) -> PersonClient:
            del authority
            server.calls.append(("CONNECT", url, token))
            server.token = token
            return server

        session = Session(connect=connect, logins=read_logins(logins_path()))
        return CliRunner().invoke(main, arguments, obj=session, **options)

    return invoke


def test_a_person_signs_in_by_a_code(run: Callable[..., Result]) -> None:
    result = run("login", SERVER)

    assert result.exit_code == 0, result.stderr
    assert "enter the code WDJB-MJHT" in result.stderr
    assert result.stdout == f"logged in to {SERVER} as oidc:ada (deployer@shop)\n"
    assert read_logins(logins_path()).of(SERVER) == Login(SERVER, TOKEN)
    assert logins_path().stat().st_mode & 0o777 == 0o600
    assert TOKEN not in result.output


def test_it_asks_at_the_providers_pace_and_through_restarts(
    run: Callable[..., Result], server: PersonClient, waits: list[float]
) -> None:
    pending = {"pending": True, "slower": False}
    server.paths["/oidc/token"] = [
        pending,
        {"pending": True, "slower": True},
        UnavailableError("Connection refused"),
        {"token": TOKEN},
    ]

    assert run("login", SERVER).exit_code == 0
    assert waits == [5, 5, 10, 10]


def test_a_sign_in_that_nobody_confirms_ends(
    run: Callable[..., Result], server: PersonClient
) -> None:
    server.paths["/oidc/token"] = [{"pending": True, "slower": False}]

    result = run("login", SERVER)

    assert result.exit_code == 5
    assert "nobody has confirmed" in result.stderr
    assert not logins_path().exists()


def test_a_refusal_is_told(run: Callable[..., Result], server: PersonClient) -> None:
    server.paths["/oidc/token"] = [RejectedError("oidc:ada may do nothing here")]

    result = run("login", SERVER)

    assert result.exit_code == 1
    assert "may do nothing here" in result.stderr


@pytest.mark.parametrize("paths", [{}, {"/oidc": [{"issuer": "https://id", "device": False}]}])
def test_elsewhere_it_asks_for_a_token(
    run: Callable[..., Result], server: PersonClient, paths: dict[str, Any]
) -> None:
    server.paths = paths

    result = run("login", SERVER, input="upwell_ci_x\n")

    assert result.exit_code == 0, result.stderr
    assert read_logins(logins_path()).of(SERVER) == Login(SERVER, "upwell_ci_x")


def test_the_token_of_one_server_is_never_sent_to_another(
    run: Callable[..., Result], server: PersonClient
) -> None:
    write_logins(logins_path(), Logins().with_login(Login("https://other.example", "other")))

    assert run("login", SERVER).exit_code == 0

    sent = [call for call in server.calls if call[0] == "CONNECT"]
    assert sent == [("CONNECT", SERVER, ""), ("CONNECT", SERVER, TOKEN)]


def test_logging_out_ends_the_session(run: Callable[..., Result], server: PersonClient) -> None:
    run("login", SERVER)

    result = run("logout")

    assert result.stdout == f"logged out of {SERVER}\n"
    assert ("DELETE", "/oidc/sessions/current", None) in server.calls
    assert read_logins(logins_path()).of(SERVER) is None


def test_a_session_that_cannot_be_ended_is_forgotten_all_the_same(
    run: Callable[..., Result], server: PersonClient
) -> None:
    run("login", SERVER)
    server.paths["/oidc/sessions/current"] = [UnavailableError("Connection refused")]

    result = run("logout")

    assert result.exit_code == 0
    assert "was not ended" in result.stderr
    assert read_logins(logins_path()).of(SERVER) is None


def test_whoami_shows_groups_and_the_end(run: Callable[..., Result]) -> None:
    run("login", SERVER)

    document = json.loads(run("whoami", "-o", "json").stdout)

    assert (document["groups"], document["ends"]) == (["developers"], ENDS)
    assert "developers" in run("whoami").stdout


def test_kubectl_gets_the_login_that_works(
    run: Callable[..., Result], server: PersonClient
) -> None:
    run("login", SERVER)
    server.calls.clear()

    result = run("login", SERVER, "--exec-credential")

    document = json.loads(result.stdout)
    assert document["kind"] == "ExecCredential"
    assert document["status"] == {"token": TOKEN, "expirationTimestamp": ENDS}
    assert not any(call[0] == "POST" for call in server.calls)


def test_kubectl_has_the_person_sign_in_again(
    run: Callable[..., Result], server: PersonClient
) -> None:
    run("login", SERVER)
    server.refuses.add(TOKEN)
    server.paths["/oidc/token"] = [{"token": "upwell_oidc:abc_new"}]

    result = run("login", SERVER, "--exec-credential")

    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["status"]["token"] == "upwell_oidc:abc_new"
    assert "enter the code" in result.stderr


def test_kubectl_is_not_prompted(run: Callable[..., Result], server: PersonClient) -> None:
    server.paths = {}

    result = run("login", SERVER, "--exec-credential")

    assert result.exit_code == 1
    assert result.stdout == ""
    assert "upwell login" in result.stderr


def test_a_kubeconfig_of_a_session_has_the_command_that_renews_it(
    run: Callable[..., Result],
) -> None:
    run("login", SERVER)

    document = yaml.safe_load(run("kubeconfig").stdout)

    plugin = document["users"][0]["user"]["exec"]
    assert [plugin["command"], *plugin["args"]] == [
        "upwell",
        "login",
        SERVER,
        "--exec-credential",
    ]
    assert TOKEN not in str(document)


def test_sessions_are_listed_and_ended(run: Callable[..., Result], server: PersonClient) -> None:
    run("login", SERVER)
    time = "2026-03-01T11:00:00Z"
    one = {"id": "abc", "person": "oidc:ada", "page": False, "current": True}
    one |= {"created": time, "used": time, "ends": "2999-03-02T12:00:00Z"}
    server.paths |= {
        "/oidc/sessions": [{"items": [one]}],
        "/oidc/sessions?all=1": [{"items": [one, {**one, "id": "def", "page": True}]}],
        "/oidc/sessions/abc": [{"ended": ["abc"]}],
        "/oidc/sessions?person=oidc%3Aada": [{"ended": ["abc", "def"]}],
    }

    assert "command line, this one" in run("session", "list").stdout
    listed = json.loads(run("session", "list", "--all", "-o", "json").stdout)
    assert (listed["kind"], len(listed["items"])) == ("SessionList", 2)
    assert run("session", "end", "abc").stdout == "session/abc ended\n"
    ended = run("session", "end", "--person", "oidc:ada").stdout
    assert ended == "session/abc ended\nsession/def ended\n"
    assert run("session", "end").exit_code == 2
    server.paths = {}
    assert run("session", "list").exit_code == 3
