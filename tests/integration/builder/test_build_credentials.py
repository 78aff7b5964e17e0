"""Logins open private registries, and are found in no image, log, argument or error."""

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.builds.base_images import BaseImages, Log, run, serve_registry, write_tree

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuildError, BuilderStrategy, BuildPlan, RegistryLogin
from upwell.oci import Reference

PASSWORD = "wonderland"
HTPASSWD = "alice:$2y$05$abcdefghijklmnopqrstuuA0vov2GDneHB3.8.cv9UF9g.RdvScIW\n"


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("private")
    (folder / "htpasswd").write_text(HTPASSWD)
    yield from serve_registry(
        folder,
        {
            "REGISTRY_AUTH": "htpasswd",
            "REGISTRY_AUTH_HTPASSWD_REALM": "test",
            "REGISTRY_AUTH_HTPASSWD_PATH": str(folder / "htpasswd"),
        },
    )


@pytest.fixture
def plan(images: BaseImages, private: str, tmp_path: Path) -> BuildPlan:
    """A build that searches for its own credentials, and prints what it finds."""
    hook = "#!/bin/sh\nenv; cat /proc/*/environ /run/containers/0/auth.json; echo pass wonderland\n"
    base = Reference.parse(f"{private}/vendor/s2i:1")
    source = ("--src-tls-verify=false", f"docker://{images.s2i}")
    target = ("--dest-tls-verify=false", f"--dest-creds=alice:{PASSWORD}", f"docker://{base}")
    run("skopeo", "copy", "--quiet", *source, *target)
    return BuildPlan(
        id="uid-private",
        namespace="shop",
        name="private-1",
        strategy=BuilderStrategy.SOURCE,
        context=write_tree(tmp_path / "tree", {"hook": hook}),
        images={"builder": base},
        push=Reference.parse(f"{private}/shop/private:1"),
        logins=(RegistryLogin(private, "alice", PASSWORD),),
        insecure_registries=frozenset({private}),
    )


async def test_a_login_is_used_and_kept_out_of_log_and_image(
    builder: BuildahBuilder, plan: BuildPlan, log: Log, tmp_path: Path
) -> None:
    result = await builder.build(plan, log)

    assert result.digest is not None
    assert "pass ********" in log.text
    assert PASSWORD not in log.text + repr(plan)
    copied = tmp_path / "copied"
    login = ("--src-tls-verify=false", f"--src-creds=alice:{PASSWORD}")
    run("skopeo", "copy", "--quiet", *login, f"docker://{plan.push}", f"dir:{copied}")
    unpacked = [_unpacked(blob) for blob in copied.iterdir()]
    assert any(b"/proc/*/environ" in content for content in unpacked)
    assert not [content for content in unpacked if b"YWxpY2U6" in content]  # base64 of "alice:"


def _unpacked(blob: Path) -> bytes:
    content = blob.read_bytes()
    return gzip.decompress(content) if content.startswith(b"\x1f\x8b") else content


async def test_a_wrong_login_fails_without_showing_itself(
    builder: BuildahBuilder, plan: BuildPlan, log: Log, private: str
) -> None:
    wrong = replace(plan, logins=(RegistryLogin(private, "alice", "looking-glass"),))
    fresh = replace(wrong, images={"builder": Reference.parse(f"{private}/vendor/other:1")})
    with pytest.raises(BuildError) as caught:
        await builder.build(fresh, log)
    assert (caught.value.reason, caught.value.retryable) == ("PullBuilderImageFailed", False)
    with pytest.raises(BuildError) as caught:
        await builder.build(wrong, log)
    assert "looking-glass" not in log.text + str(caught.value)


async def test_the_auth_file_is_private_and_goes_with_the_build(
    builder: BuildahBuilder, settings: BuildahSettings, plan: BuildPlan, log: Log
) -> None:
    await builder.build(plan, log)
    (auth,) = settings.work_dir.rglob("auth.json")
    assert auth.stat().st_mode & 0o777 == 0o600
    assert auth.parent.stat().st_mode & 0o777 == 0o700
    await builder.discard(plan.id)
    assert not auth.parent.exists()
