"""notify: what it asks of the server, and how it tells the answers."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from click.testing import Result
    from tests.unit.cli.conftest import FakeClient

type Upwell = Callable[..., "Result"]

LETTER: dict[str, Any] = {
    "id": "abc",
    "type": "dev.upwell.image.changed",
    "subject": "shop/ImageStream/base",
    "message": "tag 12 is sha256:a",
    "died": "2026-03-01T12:00:00Z",
    "attempts": 30,
    "error": "answered 503 Busy",
    "event": {"specversion": "1.0"},
}


def test_a_test_that_arrives_says_what_came_back(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["subscriptions/ci/test"] = {
        "id": "1",
        "delivered": True,
        "message": "204 No Content",
    }
    done = upwell("notify", "test", "ci")
    assert (done.exit_code, done.stdout) == (0, "delivered: 204 No Content\n")
    assert client.calls == [("POST", "subscriptions/ci/test", None)]


@pytest.mark.parametrize("output", [(), ("-o", "json")])
def test_a_test_that_does_not_arrive_fails(
    upwell: Upwell, client: "FakeClient", output: tuple[str, ...]
) -> None:
    answer = {"id": "1", "delivered": False, "message": "answered 404 Not Found"}
    client.answers["subscriptions/ci/test"] = answer
    done = upwell("notify", "test", "ci", *output)
    assert done.exit_code == 1
    assert "cannot deliver to subscription/ci: answered 404 Not Found" in done.stderr
    if output:
        assert json.loads(done.stdout).items() >= answer.items()
    else:
        assert done.stdout == ""


def test_dead_letters_are_listed(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["subscriptions/ci/deadletters"] = {"items": [LETTER]}
    assert upwell("notify", "list-dead", "ci").stdout.splitlines() == [
        "ID    TYPE                       SUBJECT                 TRIES   AGE   ERROR",
        "abc   dev.upwell.image.changed   shop/ImageStream/base   30      5m    answered 503 Busy",
    ]
    assert json.loads(upwell("notify", "list-dead", "ci", "-o", "json").stdout)["items"] == [LETTER]


def test_dead_letters_are_sent_again(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["subscriptions/ci/replay"] = {"replayed": 2}
    assert (
        upwell("notify", "replay", "ci", "--all").stdout == "2 dead letters queued for delivery\n"
    )
    letters = [LETTER, LETTER | {"id": "def"}]
    client.answers["subscriptions/ci/deadletters"] = {"items": letters}
    upwell("notify", "replay", "ci", "abc", "def", "-o", "json")
    bodies = [body for method, _, body in client.calls if method == "POST"]
    assert bodies == [{"all": True}, {"ids": ["abc", "def"]}]


def test_a_dead_letter_that_does_not_exist_is_named(upwell: Upwell, client: "FakeClient") -> None:
    client.answers["subscriptions/ci/deadletters"] = {"items": [LETTER]}
    refused = upwell("notify", "replay", "ci", "abc", "123")
    assert (refused.exit_code, refused.stdout) == (1, "")
    assert "subscription/ci has no dead letter 123; nothing was replayed" in refused.stderr
    assert [method for method, _, _ in client.calls] == ["GET"]


@pytest.mark.parametrize("arguments", [(), ("abc", "--all")])
def test_a_replay_says_of_what(upwell: Upwell, arguments: tuple[str, ...]) -> None:
    refused = upwell("notify", "replay", "ci", *arguments)
    assert refused.exit_code == 2
    assert "name the ids of dead letters, or give --all" in refused.stderr


def test_a_subscription_that_does_not_exist(upwell: Upwell) -> None:
    assert upwell("notify", "test", "nix").exit_code == 3
