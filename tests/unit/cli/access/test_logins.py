from pathlib import Path

import pytest
from click.testing import CliRunner
from tests.unit.cli.conftest import FakeClient

from upwell.api.meta import ObjectKey
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.cli.core.errors import CommandError
from upwell.cli.core.logins import Login, Logins, logins_path, read_logins, write_logins
from upwell.store.kubernetes_errors import StoreUnauthenticatedError

SHOP = Login("https://shop.example:7080", "t1", "/etc/shop.pem", "shop")
BANK = Login("https://bank.example", "t2")
BOTH = Logins().with_login(BANK).with_login(SHOP)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("UPWELL_SERVER", "UPWELL_TOKEN", "UPWELL_NAMESPACE", "UPWELL_CA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    return tmp_path


def test_logins_survive_their_file(home: Path) -> None:
    write_logins(logins_path(), BOTH)
    assert read_logins(logins_path()) == BOTH
    assert (home / "upwell").stat().st_mode & 0o777 == 0o700
    assert logins_path().stat().st_mode & 0o777 == 0o600


def test_a_new_token_takes_the_place_of_the_old_one() -> None:
    again = Login(BANK.server, "t3")
    assert BOTH.with_login(again) == Logins(BANK.server, (SHOP, again))


def test_logging_out_of_another_server_leaves_the_one_in_force() -> None:
    assert BOTH.without(BANK.server) == Logins(SHOP.server, (SHOP,))
    assert BOTH.without(SHOP.server) == Logins("", (BANK,))


@pytest.mark.parametrize("text", ["", "[]", "nonsense", '{"servers": [{"what": 1}]}'])
def test_a_damaged_file_is_named(home: Path, text: str) -> None:
    del home
    logins_path().parent.mkdir()
    logins_path().write_text(text)
    with pytest.raises(CommandError, match=r"logins\.json is not valid"):
        read_logins(logins_path())


def test_without_xdg_the_file_is_in_the_home_folder(tmp_path: Path) -> None:
    found = logins_path({"XDG_CONFIG_HOME": "relative"})
    assert found == Path.home() / ".config" / "upwell" / "logins.json"
    assert logins_path({"XDG_CONFIG_HOME": str(tmp_path)}).is_relative_to(tmp_path)


def test_a_token_is_no_part_of_a_logins_text() -> None:
    assert "t1" not in repr(BOTH)


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        ([], {}, (SHOP.server, "t1", "/etc/shop.pem", "shop")),
        (["-n", "other"], {}, (SHOP.server, "t1", "/etc/shop.pem", "other")),
        (["--server", BANK.server], {}, (BANK.server, "t2", "", "default")),
        (["--server", f"{BANK.server}/"], {}, (BANK.server, "t2", "", "default")),
        (["--server", "http://else"], {}, ("http://else", "", "", "default")),
        ([], {"UPWELL_TOKEN": "mine"}, (SHOP.server, "mine", "/etc/shop.pem", "shop")),
        (
            ["--server", BANK.server],
            {"UPWELL_TOKEN": "mine", "UPWELL_NAMESPACE": "n"},
            (BANK.server, "mine", "", "n"),
        ),
    ],
)
def test_a_login_holds_where_nothing_else_is_said(
    arguments: list[str],
    environment: dict[str, str],
    expected: tuple[str, str, str, str],
    client: FakeClient,
    home: Path,
) -> None:
    del home
    used: list[tuple[str, str, str]] = []

    def connect(server: str, token: str, authority: str) -> FakeClient:
        used.append((server, token, authority))
        return client

    session = Session(logins=BOTH, connect=connect)
    command = ["get", "bc", *arguments]
    CliRunner().invoke(main, command, obj=session, env=environment, catch_exceptions=False)
    assert (*used[0], session.namespace) == expected


@pytest.mark.parametrize(
    ("arguments", "environment", "source"),
    [
        (["--token", "mine"], {"UPWELL_TOKEN": "other"}, "--token: unknown\n"),
        ([], {"UPWELL_TOKEN": "mine"}, "UPWELL_TOKEN: unknown\n"),
        ([], {}, "logins.json: unknown; `upwell login https://shop.example:7080` replaces it\n"),
    ],
)
def test_a_token_that_is_refused_is_told_by_where_it_is_from(
    arguments: list[str], environment: dict[str, str], source: str, home: Path
) -> None:
    del home

    def refuse(_server: str, _token: str, _authority: str) -> FakeClient:
        raise StoreUnauthenticatedError(ObjectKey("BuildConfig", "shop", ""), "unknown")

    session = Session(logins=BOTH, connect=refuse)
    result = CliRunner().invoke(main, ["get", "bc", *arguments], obj=session, env=environment)
    assert result.exit_code == 1
    told = result.stderr.partition("help: ")[0]
    assert told.startswith("error: https://shop.example:7080 refused the token of ")
    assert told.endswith(source)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["login", "upwell.example.com"], "needs http:// or https://"),
        (["login", "https://user@upwell.example.com"], "no user or password"),
        (["login", "https://x", "--token-file", "/no/such/file"], "No such file"),
    ],
)
def test_what_is_no_login_is_refused_before_anything_is_asked(
    home: Path, arguments: list[str], text: str
) -> None:
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, list(home.iterdir())) == (2, [])
    assert text in result.stderr


def test_a_token_file_holds_a_token_and_nothing_else(home: Path) -> None:
    result = CliRunner().invoke(main, ["login", "https://x", "--token-file", "-"], input="a b")
    assert result.exit_code == 2
    assert "expected one token and nothing else" in result.stderr
    assert list(home.iterdir()) == []
