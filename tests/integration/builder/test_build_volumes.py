"""Volumes of builds: seen by every command, in no layer, log or history of the image."""

import asyncio
from pathlib import Path

from tests.integration.builder.test_docker_builds import plan
from tests.support.builds.base_images import BaseImages, Log, inspect, write_tree
from tests.support.builds.openshift_builds import files_of

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.interface import BuilderStrategy, BuildPlan, MountedFiles

HIDDEN = "correct-horse-battery"
VOLUMES = (
    MountedFiles("key", {"token": HIDDEN.encode(), "deep/x": b"1"}, ("/root/.key", "/srv/key")),
    MountedFiles("settings", {"m.xml": b"<m/>"}, ("/etc/m",), secret=False),
)
SEES = "test -r /srv/key/deep/x && cat /srv/key/token && cat /etc/m/m.xml > /tmp/copied"


async def test_a_dockerfile_sees_its_volumes(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = f"FROM base:1\nRUN {SEES} && test -r /root/.key/token\nRUN test -r /srv/key/token\n"
    wanted = plan(images, "volumes", dockerfile=text, volumes=VOLUMES)
    await expect_nothing_left(builder, wanted, log)


async def test_a_changed_volume_is_no_cached_step(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = "FROM base:1\nRUN cat /etc/m/m.xml > /tmp/copied\n"
    for content in (b"one", b"two"):
        volume = MountedFiles("settings", {"m.xml": content}, ("/etc/m",), secret=False)
        wanted = plan(images, "changed-volume", dockerfile=text, volumes=(volume,))
        result = await builder.build(wanted, log)
        assert wanted.push is not None
        assert result.digest is not None
        found = await asyncio.to_thread(files_of, wanted.push.with_digest(result.digest))
        assert found["/tmp/copied"] == content  # noqa: S108  # in the image


async def test_assemble_sees_its_volumes(
    builder: BuildahBuilder, images: BaseImages, tmp_path: Path, log: Log
) -> None:
    tree = write_tree(tmp_path / "tree", {".s2i/bin/assemble": f"#!/bin/sh -e\n{SEES}\n"})
    source = {
        "strategy": BuilderStrategy.SOURCE,
        "images": {"builder": images.s2i},
        "context": tree,
    }
    wanted = plan(images, "s2i-volumes", volumes=VOLUMES, **source)
    await expect_nothing_left(builder, wanted, log)


async def test_a_custom_builder_sees_its_secrets(
    builder: BuildahBuilder, images: BaseImages, log: Log
) -> None:
    text = 'FROM base:1\nCMD ["/bin/sh", "-c", "cat /srv/key/deep/x && echo it is there"]\n'
    target = images.reference("vendor/custom-volumes:1")
    made = await builder.build(plan(images, "custom-volumes", dockerfile=text, push=target), log)
    assert made.digest is not None
    image = {"builder": target.with_digest(made.digest)}
    wanted = plan(
        images, "custom-sees", strategy=BuilderStrategy.CUSTOM, images=image, volumes=VOLUMES[:1]
    )
    await builder.build(wanted, log)
    assert "it is there" in log.text


async def expect_nothing_left(builder: BuildahBuilder, wanted: BuildPlan, log: Log) -> None:
    result = await builder.build(wanted, log)
    assert wanted.push is not None
    assert result.digest is not None
    image = wanted.push.with_digest(result.digest)
    found = await asyncio.to_thread(files_of, image)
    assert found["/tmp/copied"] == b"<m/>"  # noqa: S108  # in the image
    assert not [path for path in found if path.endswith(("/token", "/m.xml"))]
    assert HIDDEN not in str(found)
    assert HIDDEN not in str(inspect(image, "--config"))
    assert HIDDEN not in log.text
