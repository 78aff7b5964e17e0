"""Steps that builds of the server find again, whatever their names and commits are."""

import asyncio
import json
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support.builds.base_images import BaseImages, Log, run
from tests.support.builds.openshift_builds import BuildInstallation, files_of
from tests.support.registry.layered_images import layer_of

from upwell.api.builds.build import BuildPhase
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.buildah_settings import BuildahSettings
from upwell.builder.interface import BuilderStrategy, BuildPlan
from upwell.oci import Digest, Reference

CONFIG = """\
kind: BuildConfig
apiVersion: build.openshift.io/v1
metadata: {name: app}
spec:
  source: {type: Binary, binary: {}}
  strategy:
    type: Docker
    dockerStrategy:
      from: {kind: DockerImage, name: "BASE"}
      env: [{name: MODE, value: "say \\"$HOME\\""}]
  output: {to: {kind: ImageStreamTag, name: "test:latest"}}
"""
DOCKERFILE = """\
FROM x
COPY list /list
RUN echo "installing for $MODE" > /installed
COPY code /code
RUN --mount=type=cache,target=/kept cat /code >> /kept/all; echo "seen: $(tr '\\n' ' ' </kept/all)"
"""


async def test_a_change_of_the_code_installs_nothing_anew(
    installed: BuildInstallation, docker_hub: str
) -> None:
    await installed.stream("test")
    await installed.create(CONFIG.replace("BASE", f"{docker_hub}/vendor/base:1"))
    logs = []
    for code in ("one", "two"):
        files = {"Dockerfile": DOCKERFILE, "list": "a\n", "code": f"{code}\n"}
        done = await installed.upload("app", files)
        assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
        logs.append(installed.logs.tail(done.uid, 100))
    assert "Using cache" not in logs[0].partition("STEP 3")[2]
    assert logs[1].count("Using cache") == 3  # MODE, the list, and what was installed
    assert "\nseen: one two \n" in logs[1]


def forged(image: Reference, old: str, new: str, copy: Path) -> Path:
    """Return a copy of an image whose last step says `new` in place of `old`, with a layer of ours.

    As anybody can make it who may pull the image.
    """
    run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{copy}")
    manifest = json.loads((copy / "manifest.json").read_text())
    config = json.loads((copy / manifest["config"]["digest"].removeprefix("sha256:")).read_text())
    at = next(n for n, step in enumerate(config["history"]) if old in step["created_by"])
    step = config["history"][at]
    step["created_by"] = step["created_by"].replace(old, new)
    config["history"] = config["history"][: at + 1]
    layer, plain = layer_of({"installed": b"evil\n"})
    # The base has one layer; what stands between it and the step adds none.
    manifest["layers"] = [manifest["layers"][0], {**manifest["layers"][0]}]
    config["rootfs"]["diff_ids"] = [config["rootfs"]["diff_ids"][0], str(plain)]
    raw = json.dumps(config).encode()
    for part, content in ((manifest["config"], raw), (manifest["layers"][1], layer)):
        part |= {"digest": str(Digest.of(content)), "size": len(content)}
        (copy / Digest.of(content).hex).write_bytes(content)
    (copy / "manifest.json").write_text(json.dumps(manifest))
    return copy


async def test_an_image_that_is_pulled_is_never_taken_for_a_step(
    installed: BuildInstallation, docker_hub: str, tmp_path: Path
) -> None:
    """A copy of somebody's image with their history and another layer, as the base of any build."""
    await installed.stream("test")
    config = CONFIG.replace("BASE", f"{docker_hub}/vendor/base:1")
    await installed.create(config)
    first, second = "echo honest one", "echo honest two"
    text = f"FROM x\nRUN {first} | tee /installed\n"
    mine = await installed.upload("app", {"Dockerfile": text})
    assert mine.status.phase is BuildPhase.COMPLETE, installed.log(mine)
    # In threads, as the registry is served by this one.
    copy = await asyncio.to_thread(forged, installed.pushed(mine), first, second, tmp_path / "copy")
    theirs = f"{docker_hub}/vendor/forged:1"
    run("skopeo", "copy", "--dest-tls-verify=false", f"dir:{copy}", f"docker://{theirs}")
    await installed.create(
        config.replace("name: app", "name: other").replace("vendor/base:1", "vendor/forged:1")
    )
    other = await installed.upload("other", {"Dockerfile": "FROM x\nRUN cat /installed\n"})
    assert "\nevil\n" in installed.logs.tail(other.uid, 100), installed.log(other)
    # First with the copy among the images that the build itself names.
    for content in (f"{text}COPY --from={theirs} /installed /theirs\n", text):
        next_one = {"Dockerfile": content.replace(first, second)}
        done = await installed.upload("app", next_one)
        assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
        log = installed.logs.tail(done.uid, 100)
        assert "\nhonest two\n" in log, log
        files = await asyncio.to_thread(files_of, installed.pushed(done))
        assert b"evil" not in files["/installed"]


PLAIN = "FROM base\nRUN echo first > /first\nRUN cat /first > /second\n"


@pytest.fixture
def own(settings: BuildahSettings) -> Iterator[BuildahSettings]:
    """A builder with stores of its own."""
    place = settings.work_dir
    yield replace(settings, storage_root=place / "storage", run_root=place / "run")
    for store in (place / "storage", *(place / "steps").glob("*")):
        subprocess.run(["umount", store / "overlay"], check=False, capture_output=True)


async def found_steps(builder: BuildahBuilder, images: BaseImages) -> int:
    """Build; return how many steps were found again."""
    log = Log()
    plan = BuildPlan(
        id="uid-steps",
        namespace="shop",
        name="steps-1",
        strategy=BuilderStrategy.DOCKER,
        context=None,
        images={"base": images.base},
        dockerfile=PLAIN,
        push=None,
        insecure_registries=frozenset({images.registry}),
        step_scope="scope",
    )
    await builder.build(plan, log)
    await builder.discard(plan.id)
    return log.text.count("Using cache")


async def test_steps_on_a_base_that_was_removed_and_pulled_anew_are_made_again(
    own: BuildahSettings, images: BaseImages
) -> None:
    builder = BuildahBuilder(own, dialer=None)
    assert await found_steps(builder, images) == 0
    pulled = (f"--root={own.storage_root}", f"--runroot={own.run_root}")
    run("buildah", *pulled, "rmi", "--all", "--force")
    assert await found_steps(builder, images) < 2
    assert await found_steps(builder, images) == 2
