"""Sessions with a server, and the exit codes of their errors."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Never

import click
import pytest
from click.testing import CliRunner

from upwell.api.meta import ObjectKey
from upwell.cli import main
from upwell.cli.core.connection import Session
from upwell.store.interface import ConflictError, NotFoundError, StoreError, UnavailableError
from upwell.store.kubernetes_errors import ServerFaultError

if TYPE_CHECKING:
    from tests.unit.cli.conftest import FakeClient

KEY = ObjectKey("Build", "default", "shop-1")


def raising(error: BaseException) -> Callable[[str, str, str], Never]:
    def connect(_server: str, _token: str, _authority: str) -> Never:
        raise error

    return connect


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (NotFoundError(KEY), 3, '"shop-1" not found in namespace default'),
        (NotFoundError(KEY, f"no instance of {KEY} runs"), 1, f"no instance of {KEY} runs"),
        (NotFoundError(KEY, "BuildConfig default/a does not exist"), 3, "BuildConfig default/a"),
        (UnavailableError("refused"), 4, "is `upwell serve` running at http://127.0.0.1:7080?"),
        (ServerFaultError("disk is full"), 1, "error: disk is full\n"),
        (ConflictError(KEY), 1, "was not written"),
        (StoreError("boom"), 1, "boom"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ExceptionGroup("", [ExceptionGroup("", [StoreError("inner")])]), 1, "inner"),
    ],
)
def test_each_error_has_its_exit_code_and_one_line(
    error: BaseException, code: int, text: str
) -> None:
    session = Session(connect=raising(error))

    result = CliRunner().invoke(main, ["get", "bc"], obj=session)

    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert text in result.stderr
    assert result.stderr.count("\n") == 1 + result.stderr.count("\nhelp: ")


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("127.0.0.1:27280", "'127.0.0.1:27280' needs http:// or https://"),
        ("foo", "'foo' needs http:// or https://"),
        ("ftp://x", "'ftp://x' needs http:// or https://"),
        ("http://", "'http://' needs http:// or https://, as in https://HOST:PORT"),
        ("http://x:99999", "a port is 1 to 65535"),
        ("http://[x", "is not http://HOST:PORT"),
        ("http://ada:s3cret@127.0.0.1:7080", "no user or password"),
        ("http://ada:s3/cret@127.0.0.1:7080", "no user or password"),
        ("ada:s3cret@127.0.0.1:7080", "no user or password"),
    ],
)
@pytest.mark.parametrize("by", ["option", "variable"])
def test_a_server_that_is_no_url_is_a_usage_error(server: str, text: str, by: str) -> None:
    arguments = ["get", "bc"] if by == "variable" else ["get", "bc", "--server", server]
    environment = {"UPWELL_SERVER": server} if by == "variable" else {}

    result = CliRunner().invoke(main, arguments, obj=Session(), env=environment)

    assert result.exit_code == 2
    assert "cret" not in result.output
    assert text in " ".join(result.stderr.split())


def test_verbose_tells_the_cause() -> None:
    session = Session(connect=raising(StoreError("boom")))

    result = CliRunner().invoke(main, ["-v", "get", "bc"], obj=session)

    assert "cause: StoreError: boom" in result.stderr


def test_a_fault_of_our_own_is_not_hidden_in_a_group() -> None:
    session = Session(connect=raising(ExceptionGroup("", [ZeroDivisionError()])))

    result = CliRunner().invoke(main, ["get", "bc"], obj=session)

    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize(
    ("arguments", "environment", "expected"),
    [
        (["get", "bc"], {}, ("http://127.0.0.1:7080", "", "default")),
        (["-n", "a", "get", "bc"], {"UPWELL_NAMESPACE": "b"}, ("http://127.0.0.1:7080", "", "a")),
        (["-n", "a", "get", "bc", "-n", "c"], {}, ("http://127.0.0.1:7080", "", "c")),
        (
            ["get", "bc"],
            {"UPWELL_SERVER": "http://x", "UPWELL_TOKEN": "t", "UPWELL_NAMESPACE": "b"},
            ("http://x", "t", "b"),
        ),
        (
            ["get", "bc", "--server", "http://y"],
            {"UPWELL_SERVER": "http://x"},
            ("http://y", "", "default"),
        ),
    ],
)
def test_options_go_before_the_environment_and_stand_on_either_side(
    arguments: list[str],
    environment: dict[str, str],
    expected: tuple[str, str, str],
    client: "FakeClient",
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("UPWELL_SERVER", "UPWELL_TOKEN", "UPWELL_NAMESPACE"):
        monkeypatch.delenv(name, raising=False)
    used: list[tuple[str, str]] = []

    def connect(server: str, token: str, _authority: str) -> "FakeClient":
        used.append((server, token))
        return client

    session = Session(connect=connect)

    CliRunner().invoke(main, arguments, obj=session, env=environment, catch_exceptions=False)

    assert (*used[0], session.namespace) == expected


def test_a_token_is_no_part_of_a_session_s_text() -> None:
    assert "hunter2" not in repr(Session(token="hunter2"))


def test_usage_errors_exit_with_2() -> None:
    assert isinstance(main, click.Group)
    assert CliRunner().invoke(main, ["get", "--no-such-option"]).exit_code == 2
    assert CliRunner().invoke(main, ["no-such-command"]).exit_code == 2
