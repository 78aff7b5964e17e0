"""Releases that anybody can build again from the same commit, and check."""

import base64
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

ROOT = Path(__file__).parents[3]


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
    """Return a repository of this tree, with what its author may have lying about beside it."""
    to = tmp_path / "a clone"
    shutil.copytree(
        ROOT,
        to,
        symlinks=True,
        ignore=shutil.ignore_patterns(".git", ".venv*", ".tools", ".*_cache"),
    )
    made = run(
        "sh",
        "-c",
        "git init --quiet && git add --all && git -c user.name=t -c user.email=t@example.com"
        " -c commit.gpgsign=false commit --quiet --no-verify --message=release",
        cwd=to,
    )
    assert made.returncode == 0, made.stderr
    (to / "src/upwell/lies_about.py").write_text("")
    return to


@pytest.fixture
def path() -> str:
    """Return a PATH that has uv."""
    return f"{ROOT / '.tools/bin'}:{os.environ['PATH']}"


def private_key(to: Path) -> ec.EllipticCurvePublicKey:
    key = ec.generate_private_key(ec.SECP256R1())
    to.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return key.public_key()


def test_two_builds_of_a_commit_are_the_same_and_signed(
    clone: Path, tmp_path: Path, path: str
) -> None:
    public = private_key(tmp_path / "key.pem")
    release = ("scripts/build-release", "--no-image")
    mask = os.umask(0o077)
    try:
        one = run(
            clone / release[0],
            *(release[1], "--key", tmp_path / "key.pem", tmp_path / "one"),
            PATH=path,
        )
    finally:
        os.umask(mask)
    assert one.returncode == 0, one.stderr
    shutil.move(clone, tmp_path / "elsewhere")
    two = run(
        tmp_path / "elsewhere" / release[0],
        *(release[1], tmp_path / "two"),
        PATH=path,
        TZ="Asia/Tokyo",
        LC_ALL="C.UTF-8",
    )
    assert two.returncode == 0, two.stderr
    sums = (tmp_path / "one/SHA256SUMS").read_bytes()
    assert sums == (tmp_path / "two/SHA256SUMS").read_bytes()
    assert [line.rpartition(".")[2] for line in sums.decode().splitlines()] == ["whl", "json", "gz"]
    checked = run("sha256sum", "--check", "SHA256SUMS", cwd=tmp_path / "two")
    assert checked.returncode == 0, checked.stdout
    with zipfile.ZipFile(next((tmp_path / "one").glob("*.whl"))) as wheel:
        assert "upwell/lies_about.py" not in wheel.namelist()
    signature = base64.b64decode((tmp_path / "one/SHA256SUMS.sig").read_bytes())
    public.verify(signature, sums, ec.ECDSA(hashes.SHA256()))


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
