"""`upwell serve` with a wrong configuration: it says all that is wrong, and does not start."""

from pathlib import Path

import pytest
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
        "  import-interval: expected a duration such as 5m or 1h30m, above 0, not 5",
        "  retention.keep-tag-revision: unknown key; did you mean keep-tag-revisions?",
        '  git.author: expected NAME <MAIL>, not "me"',
    ]
    assert not (tmp_path / "data").exists()


def test_a_size_that_is_none_is_refused(tmp_path: Path) -> None:
    result = run(tmp_path, "--upload-limit", "much")

    assert result.exit_code == 1
    assert result.stderr == "error: 'much' is not a size such as 512Mi or 2Gi\n"


@pytest.mark.parametrize("option", ["--listen", "--router", "--router-https"])
@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:0", "[::1]:65536"])
def test_a_port_that_does_not_exist_is_refused(tmp_path: Path, address: str, option: str) -> None:
    result = run(tmp_path, option, address)

    assert result.exit_code == 2
    assert f"{address!r} is not HOST:PORT: a port is 1 to 65535" in result.stderr
    assert not (tmp_path / "data").exists()


@pytest.mark.parametrize("option", ["--config", "--tls-cert", "--tls-key"])
def test_a_file_that_is_missing_is_named_with_its_option(tmp_path: Path, option: str) -> None:
    gone = tmp_path / "gone"

    result = run(tmp_path, option, str(gone))

    assert result.exit_code == 2
    assert f"Invalid value for '{option}'" in result.stderr
    assert f"File '{gone}' does not exist." in result.stderr
    assert not (tmp_path / "data").exists()
