import base64
import json
import os
from pathlib import Path

import pytest

from upwell.registry.credentials import (
    MAX_AUTH_FILE_BYTES,
    AuthFile,
    ChainedCredentials,
    RememberedCredentials,
    SecretCredentials,
    default_auth_files,
)
from upwell.registry.errors import InvalidCredentialsError
from upwell.registry.interface import Credential


def auth(username: str, password: str | None = None) -> dict[str, str]:
    return {
        "auth": base64.b64encode(
            f"{username}:{'pw' if password is None else password}".encode()
        ).decode()
    }


def document(**auths: object) -> bytes:
    return json.dumps({"auths": auths}).encode()


class RecordingHelpers:
    """Knows alice; remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []

    async def get(self, helper: str, registry: str) -> Credential | None:
        self.asked.append((helper, registry))
        return Credential("alice", "pw")


def test_auth_files_are_searched_in_the_documented_order() -> None:
    home = Path("/home/u")
    environ = {"XDG_RUNTIME_DIR": "/run/user/1", "XDG_CONFIG_HOME": "/cfg"}
    assert [str(path) for path in default_auth_files(environ, home)] == [
        "/run/user/1/containers/auth.json",
        "/cfg/containers/auth.json",
        "/home/u/.docker/config.json",
        "/home/u/.dockercfg",
    ]
    assert str(default_auth_files({}, home)[0]) == "/home/u/.config/containers/auth.json"
    assert str(default_auth_files({"REGISTRY_AUTH_FILE": "/a"}, home)[0]) == "/a"


@pytest.mark.parametrize(
    ("repository", "user"),
    [("a/b/c", "abc"), ("a/b/d", "ab"), ("a/x", "host"), ("ab/b", "host"), ("a/b", "ab")],
)
async def test_the_most_specific_key_wins(repository: str, user: str) -> None:
    raw = document(
        **{"r.test": auth("host"), "r.test/a/b": auth("ab"), "r.test/a/b/c": auth("abc")}
    )
    found = await SecretCredentials.from_dockerconfigjson(raw, "s").find("r.test", repository)
    assert found == Credential(user, "pw")


@pytest.mark.parametrize(
    "key",
    ["docker.io", "https://index.docker.io/v1/", "index.docker.io", "registry-1.docker.io"],
)
async def test_docker_hub_has_many_names(key: str) -> None:
    source = SecretCredentials.from_dockerconfigjson(document(**{key: auth("hub")}), "s")
    assert await source.find("docker.io", "library/debian") == Credential("hub", "pw")


async def test_urls_as_docker_login_writes_them_are_hosts() -> None:
    raw = document(**{"https://r.test:5000/v2/": auth("u"), "http://other.test": auth("v")})
    source = SecretCredentials.from_dockerconfigjson(raw, "s")
    assert await source.find("r.test:5000", "a") == Credential("u", "pw")
    assert await source.find("other.test", "a") == Credential("v", "pw")
    assert await source.find("third.test", "a") is None


async def test_every_form_of_an_entry() -> None:
    raw = document(
        **{
            "colons.test": auth("u", "p:q:r"),
            "plain.test": {"username": "u", "password": "p"},
            "identity.test": {**auth("u", ""), "identitytoken": "refresh"},
            "empty.test": {},
        }
    )
    source = SecretCredentials.from_dockerconfigjson(raw, "s")
    assert await source.find("colons.test", "a") == Credential("u", "p:q:r")
    assert await source.find("plain.test", "a") == Credential("u", "p")
    assert await source.find("identity.test", "a") == Credential("u", "", "refresh")
    assert await source.find("empty.test", "a") is None


async def test_a_dockercfg_is_its_auths_alone() -> None:
    raw = json.dumps({"r.test": auth("u")}).encode()
    assert await SecretCredentials.from_dockercfg(raw, "s").find("r.test", "a") is not None


@pytest.mark.parametrize(
    "raw",
    [
        b"{not json hunter2",
        b"\xff\xfe hunter2",
        b'["hunter2"]',
        b'{"auths": "hunter2"}',
        b'{"auths": {"r.test": "hunter2"}}',
        b'{"auths": {"r.test": {"auth": "hunter2 is not base64"}}}',
        b'{"auths": {"r.test": {"auth": "aHVudGVyMg=="}}}',
        b'{"auths": {"r.test": {"username": "u", "password": ["hunter2"]}}}',
        b'{"credHelpers": "hunter2"}',
        b"[" * 100_000,
        b" " * (MAX_AUTH_FILE_BYTES + 1),
    ],
)
async def test_a_malformed_file_is_named_and_not_quoted(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "auth.json"
    path.write_bytes(raw)
    with pytest.raises(InvalidCredentialsError) as caught:
        await AuthFile(path).find("r.test", "a")
    assert str(path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "hunter2" not in repr(caught.value.__cause__)


async def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "auth.json"
    source = AuthFile(path)
    assert await source.find("r.test", "a") is None
    path.write_bytes(document(**{"r.test": auth("one")}))
    assert await source.find("r.test", "a") == Credential("one", "pw")
    path.write_bytes(document(**{"r.test": auth("two")}))
    os.utime(path, ns=(1, 1))  # the same length within one tick of the clock
    assert await source.find("r.test", "a") == Credential("two", "pw")
    path.unlink()
    assert await source.find("r.test", "a") is None


async def test_an_unreadable_path_is_an_error_and_an_empty_file_is_not(tmp_path: Path) -> None:
    with pytest.raises(InvalidCredentialsError, match="directory"):
        await AuthFile(tmp_path).find("r.test", "a")
    (tmp_path / "empty.json").touch()
    assert await AuthFile(tmp_path / "empty.json").find("r.test", "a") is None


async def test_the_helper_of_a_registry_comes_before_its_entry(tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    content = {
        "auths": {"r.test": auth("file"), "own.test": auth("file"), "empty.test": {}},
        "credHelpers": {"r.test": "special"},
        "credsStore": "store",
    }
    path.write_text(json.dumps(content))
    helpers = RecordingHelpers()
    source = AuthFile(path, helpers)
    assert await source.find("r.test", "a") == Credential("alice", "pw")
    assert await source.find("own.test", "a") == Credential("file", "pw")
    assert await source.find("empty.test", "a") == Credential("alice", "pw")
    assert helpers.asked == [("special", "r.test"), ("store", "empty.test")]


async def test_a_secret_cannot_run_a_helper() -> None:
    raw = json.dumps({"credsStore": "evil", "credHelpers": {"r.test": "evil"}}).encode()
    source = SecretCredentials.from_dockerconfigjson(raw, "s")
    assert await source.find("r.test", "a") is None


async def test_a_chain_stops_at_the_first_that_knows() -> None:
    first = SecretCredentials.from_dockerconfigjson(document(**{"a.test": auth("one")}), "s")
    second = SecretCredentials.from_dockerconfigjson(
        document(**{"a.test": auth("two"), "b.test": auth("two")}), "s"
    )
    chain = ChainedCredentials([first, second])
    assert await chain.find("a.test", "x") == Credential("one", "pw")
    assert await chain.find("b.test", "x") == Credential("two", "pw")
    assert await chain.find("c.test", "x") is None


class FailingLogins:
    """Implements CredentialSource: logins at one registry, of which the first question fails."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    async def find(self, registry: str, repository: str) -> Credential | None:
        self.asked.append(f"{registry}/{repository}")
        if len(self.asked) == 1:
            raise InvalidCredentialsError("file", "unreadable")
        return Credential(repository) if registry == "a.test" else None


async def test_a_login_is_looked_for_once_for_each_repository_and_again_after_a_failure() -> None:
    source = FailingLogins()
    remembered = RememberedCredentials(source)
    with pytest.raises(InvalidCredentialsError):
        await remembered.find("a.test", "x")
    for _ in range(3):
        assert await remembered.find("a.test", "x") == Credential("x")
        assert await remembered.find("a.test", "y") == Credential("y")
        assert await remembered.find("b.test", "x") is None
    assert source.asked == ["a.test/x", "a.test/x", "a.test/y", "b.test/x"]


def test_credentials_do_not_show_in_a_repr() -> None:
    assert "hunter2" not in repr(Credential("u", "hunter2", "hunter2"))
