"""The clients that people use: skopeo, buildah, podman and oras against the embedded registry."""

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support.registry.embedded_server import EmbeddedServer, serving

from upwell.oci import Digest

CONTENT = b"what the image holds\n" * 100_000


@pytest.fixture
async def served(tmp_path: Path) -> AsyncIterator[EmbeddedServer]:
    async with serving(tmp_path / "registry") as served:
        yield served


@pytest.fixture
async def layout(tmp_path: Path) -> str:
    """An OCI layout with one image, and nothing but one file in it."""
    tool("buildah")
    storage = storage_options(tmp_path)
    (tmp_path / "payload").mkdir()
    (tmp_path / "payload" / "file").write_bytes(CONTENT)
    container = await run("buildah", *storage, "from", "scratch")
    await run("buildah", *storage, "copy", "-q", container, str(tmp_path / "payload"), "/")
    await run("buildah", *storage, "commit", "-q", container, f"oci:{tmp_path}/layout:v1")
    return f"oci:{tmp_path}/layout:v1"


def tool(name: str) -> None:
    if shutil.which(name) is None:
        pytest.skip(f"install {name} (apt install {name})")


def storage_options(directory: Path) -> list[str]:
    return [
        f"--root={directory}/storage",
        f"--runroot={directory}/run",
        "--storage-driver=vfs",
    ]


async def run(*argv: str) -> str:
    async with asyncio.timeout(60):
        process = await asyncio.create_subprocess_exec(
            *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
        )
        out, err = await process.communicate()
    assert process.returncode == 0, f"{argv}: {err.decode()}"
    return out.decode().strip()


async def test_skopeo_copies_in_across_and_out(
    served: EmbeddedServer, layout: str, tmp_path: Path
) -> None:
    tool("skopeo")
    first = f"docker://{served.host}/team/app:v1"
    second = f"docker://{served.host}/team/other:v2"

    await run("skopeo", "copy", "--dest-tls-verify=false", layout, first)
    await run("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false", first, second)
    await run("skopeo", "copy", "--src-tls-verify=false", second, f"oci:{tmp_path}/out:v1")
    listed = json.loads(
        await run("skopeo", "list-tags", "--tls-verify=false", f"docker://{served.host}/team/app")
    )

    assert listed["Tags"] == ["v1"]
    assert [(event.repository, event.tag) for event in served.events] == [
        ("team/app", "v1"),
        ("team/other", "v2"),
    ]
    copied = json.loads((tmp_path / "out" / "index.json").read_text())["manifests"][0]["digest"]
    assert copied == str(served.events[0].digest) == str(served.events[1].digest)


async def test_skopeo_deletes_what_it_pushed(served: EmbeddedServer, layout: str) -> None:
    tool("skopeo")
    image = f"docker://{served.host}/team/app:v1"
    await run("skopeo", "copy", "--dest-tls-verify=false", layout, image)

    await run("skopeo", "delete", "--tls-verify=false", image)

    assert await served.registry.repositories() == []


async def test_buildah_pushes_and_podman_pulls_by_digest(
    served: EmbeddedServer, layout: str, tmp_path: Path
) -> None:
    tool("podman")
    storage = storage_options(tmp_path)
    image = await run("buildah", *storage, "pull", "-q", layout)
    await run(
        "buildah", *storage, "push", "-q", "--tls-verify=false", image, f"{served.host}/a/b:v1"
    )
    digest = await served.registry.tag_digest("a/b", "v1")
    await run("buildah", *storage, "rmi", "-f", image)

    pulled = await run(
        "podman", *storage, "pull", "-q", "--tls-verify=false", f"{served.host}/a/b@{digest}"
    )

    assert pulled == image.removeprefix("sha256:")


async def test_oras_pushes_attaches_discovers_and_pulls(
    served: EmbeddedServer, tmp_path: Path
) -> None:
    tool("oras")
    source = tmp_path / "artifact.txt"
    source.write_bytes(CONTENT)
    name = f"{served.host}/team/artifact:v1"
    common = ["--plain-http", "--disable-path-validation"]

    await run("oras", "push", *common, name, f"{source}:text/plain")
    await run(
        "oras", "attach", *common, "--artifact-type", "test/sig", name, f"{source}:text/plain"
    )
    found = await run(
        "oras",
        "discover",
        "--plain-http",
        "--distribution-spec",
        "v1.1-referrers-api",
        "-o",
        "json",
        name,
    )
    source.unlink()
    await run(
        "oras", "pull", "--plain-http", "--output", str(tmp_path), "--allow-path-traversal", name
    )

    referrers = json.loads(found)["manifests"]
    assert [referrer["artifactType"] for referrer in referrers] == ["test/sig"]
    assert source.read_bytes() == CONTENT
    subject = await served.registry.tag_digest("team/artifact", "v1")
    assert subject is not None
    listed = await served.registry.referrers("team/artifact", subject)
    assert [entry.digest for entry in listed] == [Digest.parse(referrers[0]["digest"])]
