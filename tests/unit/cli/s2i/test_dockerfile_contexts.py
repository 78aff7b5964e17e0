"""`upwell s2i build --as-dockerfile` and `generate`, after the reference's own cases."""

import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from upwell.cli.s2i import s2i

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
    result = CliRunner().invoke(s2i, words)
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
    for target in ("out/Dockerfile", "Dockerfile.gen"):
        written("build", "--as-dockerfile", target, ".", "b")
    assert {name for name in upload(tree / "out") if "a.log" not in name} == {
        "src/app.rb",
        "src/log/keep.log",
        "src/sub/b.rb",
    }
    assert "exists: remove it" in written("build", "--as-dockerfile", "out/D", ".", "b", code=2)


def test_a_dockerfile_is_generated_for_a_source_that_comes_later(tmp_path: Path) -> None:
    target = tmp_path / "out/Dockerfile.gen"
    written("generate", "b", str(target), "-e", "A=1", "--assemble-user", "7")
    text = target.read_text()
    assert (target.parent / "upload/src").is_dir()
    assert "FROM b\n" in text
    assert 'ENV A="1"\n' in text
    assert "USER 7\n" in text
    assert "source-location" not in text
