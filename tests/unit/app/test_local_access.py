"""Tokens of the user's own server, as commands find them."""

import json
import subprocess
from pathlib import Path

import pytest

from upwell.app import local_access
from upwell.app.access import listening_locally
from upwell.app.local_access import announced, find_access, registry_tokens, server_authorities


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = tmp_path / "run"
    monkeypatch.setattr(local_access, "_folders", lambda: [found])
    return found


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "admin.token"
    path.write_text("secret\n")
    return path


def test_a_running_server_is_found_by_each_of_its_addresses(token_file: Path) -> None:
    authority = token_file.with_name("ca.pem")
    with announced(["127.0.0.1:7080", "[::1]:7080", "localhost:443"], token_file, authority):
        for url in ("http://127.0.0.1:7080", "https://[::1]:7080/", "https://localhost"):
            found = find_access(url)
            assert found is not None
            assert (found.token, found.authority) == ("secret", authority)
            assert "secret" not in repr(found)
        assert find_access("http://127.0.0.1:7081") is None
    assert find_access("http://127.0.0.1:7080") is None


def test_a_server_that_was_killed_is_not_believed(folder: Path, token_file: Path) -> None:
    with announced(["127.0.0.1:1", "127.0.0.1:2"], token_file, None):
        path = folder / "127.0.0.1:1.json"
        gone = json.loads(path.read_text()) | {"process": _ended_process()}
        path.write_text(json.dumps(gone))
        assert find_access("http://127.0.0.1:1") is None
        with announced(["127.0.0.1:3"], token_file, None):
            assert not path.exists()
            assert find_access("http://127.0.0.1:2") is not None


def test_the_server_of_a_container_that_shares_the_folder_is_left_alone(
    folder: Path, token_file: Path
) -> None:
    with announced(["127.0.0.1:1"], token_file, None):
        path = folder / "127.0.0.1:1.json"
        elsewhere = {"process": _ended_process(), "process-namespace": "pid:[1]"}
        path.write_text(json.dumps(json.loads(path.read_text()) | elsewhere))
        with announced(["127.0.0.1:2"], token_file, None):
            assert path.exists()
            assert find_access("http://127.0.0.1:1") is None


def _ended_process() -> int:
    child = subprocess.Popen(["true"])
    child.wait(10)
    return child.pid


def test_a_folder_that_others_could_have_written_is_not_believed(
    folder: Path, token_file: Path
) -> None:
    with announced(["127.0.0.1:1"], token_file, None):
        folder.chmod(0o755)
        assert find_access("http://127.0.0.1:1") is None
    folder.chmod(0o777)
    with announced(["127.0.0.1:1"], token_file, None):
        assert list(folder.iterdir()) == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"process": "x"}', "\udcff"])
def test_a_damaged_file_is_as_none(folder: Path, content: str) -> None:
    folder.mkdir(mode=0o700)
    (folder / "127.0.0.1:1.json").write_text(content, errors="surrogateescape")
    assert find_access("http://127.0.0.1:1") is None


@pytest.mark.parametrize("url", ["", "nonsense", "http://", "http://host:port"])
def test_what_is_no_address_finds_nothing(url: str) -> None:
    assert find_access(url) is None


def test_the_local_socket_is_found_while_it_is_one_of_ours(tmp_path: Path) -> None:
    token, path = tmp_path / "admin.token", tmp_path / "api.sock"
    token.write_text("secret")
    with announced(["127.0.0.1:1"], token, None, path):
        found = find_access("http://127.0.0.1:1")
        assert found is not None
        assert found.socket is None  # nobody listens there yet
        path.write_text("no socket")
        assert (found := find_access("http://127.0.0.1:1")) is not None
        assert found.socket is None
        path.unlink()
        with listening_locally(path):
            assert (found := find_access("http://127.0.0.1:1")) is not None
            assert found.socket == path
    assert not path.exists()


def test_the_token_of_a_server_is_for_its_registry_alone(token_file: Path) -> None:
    token = token_file.read_text().strip()
    names = {"127.0.0.1:7080", "[::1]:7080", "localhost:7080"}

    with announced(["localhost:7080"], token_file, None):
        assert registry_tokens("http://localhost:7080") == dict.fromkeys(names, token)
        assert registry_tokens("http://localhost:7081") == {}
    assert registry_tokens("http://localhost:7080") == {}
    assert registry_tokens("http://127.0.0.1:7080", "own") == dict.fromkeys(names, "own")
    named = registry_tokens("https://upwell.test", "own")
    assert named == {"upwell.test:443": "own", "upwell.test": "own"}
    assert registry_tokens("https://[", "own") == {}


def test_what_is_trusted_at_a_server_is_trusted_at_its_registry(token_file: Path) -> None:
    authority = token_file.with_name("ca.pem")
    here = dict.fromkeys(("127.0.0.1", "::1", "localhost"), authority)

    with announced(["localhost:7080"], token_file, authority):
        assert server_authorities("https://localhost:7080") == here
        assert server_authorities("https://localhost:7081") == {}
    assert server_authorities("https://127.0.0.1:7080", str(authority)) == here
    named = server_authorities("https://upwell.test:7080", str(authority))
    assert named == {"upwell.test": authority}
    assert server_authorities("https://[", str(authority)) == {}
