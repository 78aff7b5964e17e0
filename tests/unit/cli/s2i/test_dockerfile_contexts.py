"""`upwell s2i build --as-dockerfile` and `generate`, after the reference's own cases."""

import os
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner
from tests.support.gitops.git_host import GitHost

from upwell.cli import main

_IDENTITY = {
    f"GIT_{who}_{what}": "a@b.example"
    for who in ("AUTHOR", "COMMITTER")
    for what in ("NAME", "EMAIL")
}


def write(tree: Path, *names: str) -> Path:
    for name in names:
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_text(f"{name}\n")
    return tree


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    return write(tmp_path / "tree", "app.rb", "log/a.log", "log/keep.log", "sub/b.rb")


def written(*words: str, code: int = 0) -> str:
    with TemporaryDirectory() as storage:  # so that no image of this machine is the builder image
        result = CliRunner().invoke(main, ["s2i", *words, "--storage", storage])
    assert result.exit_code == code, result.output
    return result.output


def upload(folder: Path) -> set[str]:
    root = folder / "upload"
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


def test_what_the_source_leaves_out_is_not_written(tree: Path, tmp_path: Path) -> None:
    (tree / ".s2iignore").write_text("log/*\n!log/keep.log\n[\n")
    target = tmp_path / "out/Dockerfile"
    written("build", "--copy", str(tree), "b", "--as-dockerfile", str(target), "--exclude", "^sub")
    assert upload(target.parent) == {"src/app.rb", "src/log/keep.log", "src/.s2iignore"}


def test_a_repository_is_written_as_it_is_committed_at_its_ref(tree: Path, tmp_path: Path) -> None:
    def git(*words: str) -> None:
        environment = {**os.environ, **_IDENTITY}
        subprocess.run(["git", "-C", tree, *words], check=True, env=environment)

    git("init", "-q", "-b", "trunk")
    git("add", ".")
    git("commit", "-qm", "one")
    git("tag", "v1")
    write(tree, "later.rb")
    git("add", ".")
    git("commit", "-qm", "two")
    write(tree, ".env", "sub/dirty")
    for number, (source, options, expected) in enumerate(
        [
            (str(tree), [], {"app.rb", "later.rb", "log/a.log", "log/keep.log", "sub/b.rb"}),
            (f"file://{tree}#v1", ["--context-dir", "sub"], {"b.rb"}),
            (str(tree), ["--context-dir", "sub", "--copy"], {"b.rb", "dirty"}),
        ]
    ):
        target = tmp_path / f"out-{number}/Dockerfile"
        written("build", source, "b", "--as-dockerfile", str(target), *options)
        assert upload(target.parent) == {f"src/{name}" for name in expected}
        text = target.read_text()
        assert f'"io.openshift.s2i.build.source-location"="{tree}"' in text
        assert ('build.commit.ref"="trunk"' in text) == (not options)


def test_the_branch_of_a_repository_elsewhere_is_a_label(tmp_path: Path) -> None:
    host = GitHost(tmp_path / "host")
    host.push("first", {"app.rb": "puts 1\n"})
    host.start()
    target = tmp_path / "out/Dockerfile"
    try:
        written("build", host.uri, "b", "--as-dockerfile", str(target))
    finally:
        host.stop()
    assert 'build.commit.ref"="main"' in target.read_text()


@pytest.mark.parametrize(
    ("scripts_url", "image_url", "expected", "in_image"),
    [
        ("", "", {"assemble": "source"}, "/usr/libexec/s2i/run"),
        ("", "image:///opt/bin", {"assemble": "source"}, "/opt/bin/run"),
        ("image:///sbin", "image:///opt/bin", {}, "/sbin/run"),
        ("URL", "", {"assemble": "url", "run": "url"}, ""),
        ("", "URL", {"assemble": "source", "run": "url"}, ""),
    ],
)
def test_scripts_are_found_in_the_order_of_the_reference(
    tree: Path,
    tmp_path: Path,
    scripts_url: str,
    image_url: str,
    expected: dict[str, str],
    in_image: str,
) -> None:
    for place, text in ((tree / ".s2i/bin", "source"), (tmp_path / "url", "url")):
        for name in ("assemble", "run")[: 1 if text == "source" else 2]:
            place.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)
    target, url = tmp_path / "out/Dockerfile", f"file://{tmp_path / 'url'}"
    options = [
        *("--scripts-url", scripts_url.replace("URL", url)),
        *("--image-scripts-url", image_url.replace("URL", url)),
    ]
    written("build", "-c", str(tree), "b", "--as-dockerfile", str(target), *options)
    scripts = target.parent / "upload/scripts"
    assert {path.name: path.read_text() for path in scripts.iterdir()} == expected
    assert all(os.access(path, os.X_OK) for path in scripts.iterdir())
    assert not any("bin/assemble" in name for name in upload(target.parent))
    run = target.read_text().splitlines()[-1]
    own = "/tmp/scripts/run"  # noqa: S108  # in the image
    assert run == f'CMD ["{in_image or own}"]'


def test_the_folder_of_the_dockerfile_may_lie_in_the_source(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tree)
    for target in ("out/", "Dockerfile.gen"):
        written("build", "--as-dockerfile", target, ".", "b")
    assert {name for name in upload(tree / "out") if "a.log" not in name} == {
        "src/app.rb",
        "src/log/keep.log",
        "src/sub/b.rb",
    }
    assert "exists: remove it" in written("build", "--as-dockerfile", "out/D", ".", "b", code=2)


def test_what_is_asked_for_is_a_label_and_a_place(tree: Path, tmp_path: Path) -> None:
    target = tmp_path / "out/Dockerfile"
    options = ["--destination", "/srv/", "-s", "image:///scripts", "-n", "shop"]
    written("build", "-c", str(tree), "b", "--as-dockerfile", str(target), *options)
    lines = target.read_text().splitlines()
    assert {
        'LABEL "io.k8s.display-name"="shop"',
        'LABEL "io.openshift.s2i.destination"="/srv/"',
        'LABEL "io.openshift.s2i.scripts-url"="image:///scripts"',
        'COPY --chown=1001:0 ["upload/src", "/srv/src"]',
    } <= set(lines)
    assert lines[-1] == 'CMD ["/scripts/run"]'


def test_injected_files_come_one_by_one_beside_what_the_image_has(
    tree: Path, tmp_path: Path
) -> None:
    secret = write(tmp_path / "secret", "token", "sub/key")
    target = tmp_path / "out/Dockerfile"
    options = ["-i", f"{secret}:/tmp", "-i", f"{secret}/token:inner/renamed"]
    written("build", "-c", str(tree), "b", "--as-dockerfile", str(target), *options)
    places = ("/tmp/sub/key", "/tmp/token", "/opt/app-root/src/inner/renamed")  # noqa: S108
    mounts = " ".join(
        f"--mount=type=bind,source=upload/injections{place},target={place}" for place in places
    )
    assert f'RUN {mounts} ["/usr/libexec/s2i/assemble"]\n' in target.read_text()
    assert (target.parent / "upload/injections/tmp/sub/key").read_text() == "sub/key\n"


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["-i", "SECRET:/tmp"], 2, "cannot name the file '/tmp/a b'"),
        (["-u", "1-9"], 15, "user 1001, which is not an allowed one"),
        (["-u", "1-9", "--assemble-user", "maker"], 15, "no number"),
        (["--destination", "$HOME"], 1, "'$HOME', which is no path"),
        (["--as-dockerfile", "SECRET"], 2, "is a folder"),
        (["-s", "file://SECRET"], 1, "there are no scripts at"),
        (["--incremental"], 2, "--incremental needs TAG"),
        (["--run"], 2, "does not work with --run"),
        (["--runtime-image", "r"], 2, "does not work with --run"),
    ],
)
def test_a_refusal_writes_no_dockerfile(
    tree: Path, tmp_path: Path, *, options: list[str], code: int, message: str
) -> None:
    secret = write(tmp_path / "secret", "a b")
    target = tmp_path / "out/Dockerfile"
    words = [word.replace("SECRET", str(secret)) for word in options]
    output = written(
        "build", "--as-dockerfile", str(target), "-c", str(tree), "b", *words, code=code
    )
    assert message in output
    assert not target.exists()


def test_a_dockerfile_is_generated_for_a_source_that_comes_later(tmp_path: Path) -> None:
    target = tmp_path / "out/Dockerfile.gen"
    written("generate", "b", str(target), "-e", "A=1", "--assemble-user", "7")
    text = target.read_text()
    assert (target.parent / "upload/src").is_dir()
    assert "FROM b\n" in text
    assert 'ENV A="1"\n' in text
    assert "USER 7\n" in text
    assert "source-location" not in text
