"""Releases that anybody can build again from the same commit, and check."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parents[2]


def run(
    *arguments: object, cwd: Path = ROOT, **environment: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(each) for each in arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """Return a clone of the commit, with what its author may have lying about beside it."""
    to = tmp_path / "a clone"
    made = run("git", "clone", "--quiet", "--depth=1", f"file://{ROOT}", to)
    assert made.returncode == 0, made.stderr
    (to / "src/upwell/lies_about.py").write_text("")
    return to


@pytest.fixture
def path() -> str:
    """Return a PATH that has uv."""
    return f"{ROOT / '.tools/bin'}:{os.environ['PATH']}"


def test_two_builds_of_a_commit_are_the_same(clone: Path, tmp_path: Path, path: str) -> None:
    mask = os.umask(0o077)
    try:
        one = run(clone / "scripts/build-release", "--no-image", tmp_path / "one", PATH=path)
    finally:
        os.umask(mask)
    assert one.returncode == 0, one.stderr
    shutil.move(clone, tmp_path / "elsewhere")
    two = run(
        tmp_path / "elsewhere/scripts/build-release",
        *("--no-image", tmp_path / "two"),
        PATH=path,
        TZ="Asia/Tokyo",
        LC_ALL="C.UTF-8",
    )
    assert two.returncode == 0, two.stderr
    sums = (tmp_path / "one/SHA256SUMS").read_text()
    assert sums == (tmp_path / "two/SHA256SUMS").read_text()
    assert [line.rpartition(".")[2] for line in sums.splitlines()] == ["whl", "json", "gz"]
    checked = run("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path / "two")
    assert checked.returncode == 0, checked.stdout


def test_a_release_is_signed(clone: Path, tmp_path: Path, path: str) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "key.pem").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    made = run(
        clone / "scripts/build-release",
        *("--no-image", "--key", tmp_path / "key.pem", tmp_path / "out"),
        PATH=path,
    )
    assert made.returncode == 0, made.stderr
    (tmp_path / "signature").write_bytes(b"")
    decoded = run(
        *("openssl", "base64", "-d", "-A", "-in", tmp_path / "out/SHA256SUMS.sig"),
        *("-out", tmp_path / "signature"),
    )
    assert decoded.returncode == 0, decoded.stderr
    key.public_key().verify(
        (tmp_path / "signature").read_bytes(),
        (tmp_path / "out/SHA256SUMS").read_bytes(),
        ec.ECDSA(hashes.SHA256()),
    )


def test_what_is_not_committed_is_not_released(clone: Path, tmp_path: Path, path: str) -> None:
    (clone / "README.md").write_text("changed")
    made = run(clone / "scripts/build-release", "--no-image", tmp_path / "out", PATH=path)
    assert made.returncode == 1
    assert "not committed" in made.stderr


def test_a_release_goes_to_an_empty_folder(clone: Path, tmp_path: Path, path: str) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/of-another-build.whl").write_text("")
    made = run(clone / "scripts/build-release", "--no-image", tmp_path / "out", PATH=path)
    assert made.returncode == 1
    assert "not empty" in made.stderr
