"""Access of git to a repository, and secrets that it must not show."""

from pathlib import Path

import pytest

from upwell.git.access import access, check_address, fault, secrets, without_login
from upwell.git.commands import GitProgram
from upwell.git.interface import GitError, GitSource, Proxies
from upwell.machine.folder import PrivateFolder
from upwell.machine.process import Launcher, ProcessResult

PASSWORD = "correct-horse-battery"


@pytest.fixture
def folder(tmp_path: Path) -> PrivateFolder:
    folder = PrivateFolder(tmp_path / "work")
    folder.create()
    return folder


@pytest.mark.parametrize(
    "uri",
    ["https://h/x.git", "http://h/x", "ssh://git@h/x", "git://h/x", "git@h.example:team/x.git"],
)
def test_addresses_of_hosts_are_taken(uri: str) -> None:
    check_address(uri, allow_local=False)


@pytest.mark.parametrize(
    "uri",
    ["file:///srv/x", "/srv/x", "ext::sh -c true", "-u/bin/true", "git@h:-oProxyCommand=x", ""],
)
def test_options_commands_and_files_are_no_addresses(uri: str) -> None:
    with pytest.raises(GitError):
        check_address(uri, allow_local=False)


def test_a_login_in_an_address_becomes_no_argument() -> None:
    source = without_login(GitSource(f"https://ann:{PASSWORD}%21@h.example/x.git"))
    assert source.uri == "https://h.example/x.git"
    assert (source.username, source.password) == ("ann", f"{PASSWORD}!")


@pytest.mark.parametrize("key", ["password", "ssh-privatekey"])
def test_a_login_that_no_host_can_mean_is_refused(
    folder: PrivateFolder, tmp_path: Path, key: str
) -> None:
    program = GitProgram(Launcher(str(tmp_path)), {}, allow_local=False)
    for size, refused in ((64 * 1024, False), (64 * 1024 + 1, True)):
        source = GitSource("https://git.test/app.git").with_login({key: b"x" * size})
        if refused:
            with pytest.raises(GitError, match="more than 65536: look at the keys password"):
                program.commands(source, folder, tmp_path)
        else:
            program.commands(source, folder, tmp_path)


def test_a_login_that_is_given_outranks_the_one_in_the_address() -> None:
    source = without_login(GitSource("https://a:b@h/x", username="ann", password=PASSWORD))
    assert (source.username, source.password) == ("ann", PASSWORD)


def test_keys_are_in_private_files_and_passwords_go_to_their_host_alone(
    folder: PrivateFolder,
) -> None:
    source = GitSource("https://h/x", username="ann", password=PASSWORD, ssh_private_key="KEY")
    environment = access({"PATH": "/bin"}, folder, source, allow_local=False)
    assert "http.https://h/.extraHeader" in environment.values()
    key = folder.path / "ssh-key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("KEY\n", 0o600)
    assert "StrictHostKeyChecking=accept-new" in environment["GIT_SSH_COMMAND"]
    assert PASSWORD not in " ".join(environment.values())


def test_hosts_that_are_known_must_show_their_key(folder: PrivateFolder) -> None:
    source = GitSource("git@h:x", ssh_known_hosts="h ssh-ed25519 AAAA")
    environment = access({}, folder, source, allow_local=False)
    assert "StrictHostKeyChecking=yes" in environment["GIT_SSH_COMMAND"]
    assert (folder.path / "known_hosts").read_text() == "h ssh-ed25519 AAAA\n"


def test_neither_a_repr_nor_a_fault_holds_a_secret(folder: PrivateFolder, tmp_path: Path) -> None:
    given = GitSource(
        f"https://ann:{PASSWORD}@h/x", proxies=Proxies(https=f"http://u:{PASSWORD}2@proxy")
    )
    program = GitProgram(Launcher(str(tmp_path)), {"TOKEN": PASSWORD})
    git = program.commands(given, folder, tmp_path)
    assert PASSWORD not in repr(git) + repr(program)
    assert {PASSWORD, f"{PASSWORD}2"} <= set(secrets(git.source))
    why, _ = git.fault(ProcessResult(128, f"fatal: cannot use {PASSWORD} or {PASSWORD}2"))
    assert why == "fatal: cannot use ******** or ********"


@pytest.mark.parametrize(
    ("printed", "expected"),
    [
        ("Cloning\nfatal: no such branch", ("fatal: no such branch", False)),
        ("fatal: could not resolve host: h", ("fatal: could not resolve host: h", True)),
        ("fatal: unable to access: The requested URL returned error: 503", (None, True)),
        ("Host key changed\nfatal: Could not read from remote repository.", (None, False)),
        ("", ("exit status 128", False)),
        ("fatal: terminal prompts disabled", (None, False)),
    ],
)
def test_a_fault_says_why_and_whether_it_may_pass(
    printed: str, expected: tuple[str | None, bool]
) -> None:
    why, transient = fault(GitSource("https://h/x"), ProcessResult(128, printed))
    assert why
    assert transient == expected[1]
    if expected[0] is not None:
        assert why == expected[0]


@pytest.mark.parametrize("scheme", ["ftp", "file", "ssh+git"])
def test_a_refused_address_is_named_without_its_password(scheme: str) -> None:
    with pytest.raises(GitError, match=r"\*\*\*@h/x") as caught:
        check_address(f"{scheme}://ann:{PASSWORD}@h/x", allow_local=False)
    assert PASSWORD not in str(caught.value)


@pytest.mark.parametrize("uri", [f"ssh://git:{PASSWORD}@h/x", f"https://h/x?token={PASSWORD}&a=b"])
def test_credentials_that_stay_in_the_address_show_nowhere(
    folder: PrivateFolder, tmp_path: Path, uri: str
) -> None:
    git = GitProgram(Launcher(str(tmp_path)), {}).commands(GitSource(uri), folder, tmp_path)
    assert PASSWORD not in git.source.shown_uri
    assert PASSWORD not in git.masked(f"fatal: unable to access '{uri}/'")
