"""`upwell serve` with a wrong configuration: it says all that is wrong, and does not start."""

from pathlib import Path

from click.testing import CliRunner, Result

from upwell.cli.serve.serve import serve


def run(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(serve, ["--data-dir", str(folder / "data"), *options], env={})


def test_all_faults_of_the_file_are_told_and_nothing_is_started(tmp_path: Path) -> None:
    path = tmp_path / "upwell.toml"
    path.write_text('import-interval = 5\n[retention]\nkeep-tag-revision = 2\n[git]\nauthor = "me"')

    result = run(tmp_path, "--config", str(path))

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.splitlines() == [
        f"error: {path}: 3 settings are wrong",
        "  import-interval: expected a duration such as 5m or 1h30m, not 5",
        "  retention.keep-tag-revision: unknown key; did you mean keep-tag-revisions?",
        '  git.author: expected NAME <MAIL>, not "me"',
    ]
    assert not (tmp_path / "data").exists()


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "--upload-limit", "much")

    assert result.exit_code == 1
    assert result.stderr == "error: 'much' is not a size such as 512Mi or 2Gi\n"
