"""Triggers of OpenShift's build configs, their order and images, with real builds.

The numbers are those of the corpus' INDEX.md, section B.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest
from tests.support.builds.base_images import BaseImages, inspect, run
from tests.support.builds.openshift_builds import NAMESPACE, BuildInstallation, committed, files_of
from tests.support.installation.installation import until
from tests.support.openshift import needs_corpus

from upwell.api.builds.build import Build, BuildPhase, BuildRequest
from upwell.api.builds.config import BuildConfig
from upwell.oci import Reference
from upwell.policy.builds.requests import BuildRefusedError

pytestmark = needs_corpus
NODEJS = "centos/nodejs-6-centos7"
RUBY = "git://github.com/openshift/ruby-hello-world.git"
GITHUB_RUBY = "https://github.com/openshift/ruby-hello-world.git"
HANGS = {".s2i/bin/assemble": "#!/bin/sh\nexec sleep 1000\n"}


type BuildState = tuple[str, str, str]
"""Phase, reason and message of a build."""


async def states_of(installed: BuildInstallation, config: str) -> list[BuildState]:
    """Return how far builds of a BuildConfig are; the reasons are for whoever reads a failure."""
    statuses = [build.status for build in await installed.builds_of(config)]
    return [(str(one.phase), one.reason or "", one.message or "") for one in statuses]


def are(*phases: str) -> Callable[[Sequence[BuildState]], bool]:
    """Return whether these are the phases of the builds."""
    return lambda seen: tuple(phase for phase, _, _ in seen) == phases


async def complete(installed: BuildInstallation, config: str, count: int) -> list[Build]:
    """Wait until so many builds of a BuildConfig have ended well, and return them."""
    await until(partial(states_of, installed, config), are(*["Complete"] * count))
    return await installed.builds_of(config)


async def ready(installed: BuildInstallation, config: str) -> None:
    """Wait until every image that a BuildConfig needs is there."""

    async def reason() -> str:
        found = await installed.store.get(BuildConfig, NAMESPACE, config)
        return next((c.reason or "" for c in found.status.conditions if c.type == "Ready"), "")

    await until(reason, "InputsFound".__eq__)


def images_of(build: Build) -> set[str]:
    return {image.reference for image in build.status.images}


async def test_case_12_an_import_builds_each_follower_once(
    live_installed: BuildInstallation, images: BaseImages, repository: str
) -> None:
    installed = live_installed
    away = {"https://github.com/sclorg/nodejs-ex.git": repository}
    await installed.apply("builds/test-imagechangetriggers.yaml", away)
    for name in ("bc-source", "bc-docker", "bc-custom"):
        [build] = await complete(installed, name, 1)
        [cause] = build.spec.triggered_by
        assert cause.message == "Image change"
        assert cause.image_change_build is not None
        assert cause.image_change_build.image_id == f"docker.io/{NODEJS}@{images.s2i.digest}"
        assert cause.image_change_build.from_ref is not None
        assert cause.image_change_build.from_ref.name == "nodejs-ex:latest"
    assert are("New")(await states_of(installed, "bc-jenkins")), "an outside CI's"

    [history] = (await installed.import_again("nodejs-ex")).status.tags
    assert [event.image for event in history.items] == [str(images.s2i.digest)]
    await installed.decided()
    assert len((await installed.store.list(Build)).items) == 4


async def hanging(installed: BuildInstallation, folder: Path, policy: str) -> str:
    """Start a build that does not end, then two more; return the BuildConfig."""
    file = "parallel" if policy == "Parallel" else "serial"
    changes = {RUBY: committed(folder / "hanging", HANGS)}
    if policy == "SerialLatestOnly":
        changes['"Serial"'] = f'"{policy}"'
    await installed.apply(f"run_policy/{file}-bc.yaml", changes)
    config = f"sample-{file}-build"
    for _ in range(3):
        await installed.actions.instantiate(NAMESPACE, config, BuildRequest())
        await until(partial(states_of, installed, config), lambda found: found[0][0] == "Running")
    return config


async def cancel(installed: BuildInstallation, build: str) -> None:
    found = await installed.store.get(Build, NAMESPACE, build)
    status = found.status.model_copy(update={"cancelled": True})
    await installed.store.update_status(found.with_status(status))


async def test_case_13_serial_builds_run_one_after_another(
    installed: BuildInstallation, repository: str
) -> None:
    await installed.apply("run_policy/serial-bc.yaml", {RUBY: repository})
    for _ in range(3):
        await installed.actions.instantiate(NAMESPACE, "sample-serial-build", BuildRequest())
    builds = await complete(installed, "sample-serial-build", 3)
    times = [
        time
        for build in builds
        for time in (build.status.start_timestamp, build.status.completion_timestamp)
        if time is not None
    ]
    assert len(times) == 6
    assert times == sorted(times)


async def test_case_13_after_a_cancelled_and_a_deleted_build_the_next_one_runs(
    installed: BuildInstallation, tmp_path: Path
) -> None:
    name = await hanging(installed, tmp_path, "Serial")
    seen = partial(states_of, installed, name)
    await until(seen, are("Running", "New", "New"))
    await cancel(installed, f"{name}-1")
    await until(seen, are("Cancelled", "Running", "New"))
    await installed.store.delete(Build, NAMESPACE, f"{name}-2")
    await until(seen, are("Cancelled", "Running"))


async def test_case_13_parallel_builds_run_at_once(
    installed: BuildInstallation, tmp_path: Path
) -> None:
    name = await hanging(installed, tmp_path, "Parallel")
    # The machine has two places; the third build waits for one, not for its turn.
    await until(
        partial(states_of, installed, name),
        lambda found: sorted(phase for phase, _, _ in found)[1:] == ["Running"] * 2,
    )


async def test_case_13_only_the_latest_waits_and_the_running_build_is_left_alone(
    installed: BuildInstallation, tmp_path: Path
) -> None:
    name = await hanging(installed, tmp_path, "SerialLatestOnly")
    await until(partial(states_of, installed, name), are("Running", "Cancelled", "New"))


DIAMOND = """\
kind: ImageStream
apiVersion: image.openshift.io/v1
metadata: {name: base}
spec: {tags: [{name: "1", from: {kind: DockerImage, name: "centos/diamond-base:1"}}]}
"""
CHILD = """\
---
kind: ImageStream
apiVersion: image.openshift.io/v1
metadata: {name: NAME}
---
kind: BuildConfig
apiVersion: build.openshift.io/v1
metadata: {name: NAME}
spec:
  source: {dockerfile: "FROM x\\nRUN echo NAME > /tmp/NAME\\n"}
  strategy: {dockerStrategy: {from: {kind: ImageStreamTag, name: "BASE"}}}
  output: {to: {kind: ImageStreamTag, name: "NAME:latest"}}
  triggers: [{type: ImageChange, imageChange: {}}ALSO]
"""
ALSO = ', {type: ImageChange, imageChange: {from: {kind: ImageStreamTag, name: "right:latest"}}}'


def child(name: str, base: str, also: str = "") -> str:
    return CHILD.replace("NAME", name).replace("BASE", base).replace("ALSO", also)


async def test_case_15_a_diamond_builds_each_child_once_after_all_its_parents(
    live_installed: BuildInstallation, images: BaseImages
) -> None:
    installed = live_installed
    publish_base(images, images.base)
    await installed.create(
        DIAMOND
        + child("left", "base:1")
        + child("right", "base:1")
        + child("tip", "left:latest", ALSO)
    )
    for name in ("left", "right", "tip"):
        await complete(installed, name, 1)

    publish_base(images, images.s2i)
    await installed.import_again("base")
    for name in ("left", "right", "tip"):
        await complete(installed, name, 2)
    await installed.decided()
    assert len((await installed.store.list(Build)).items) == 6
    left, right, tip = [(await installed.builds_of(name))[1] for name in ("left", "right", "tip")]
    used = {image.image for image in tip.spec.image_inputs}
    assert used == {str(installed.pushed(left, "left")), str(installed.pushed(right, "right"))}
    assert len(tip.spec.triggered_by) == 2, "both parents have changed"


def publish_base(images: BaseImages, source: Reference) -> None:
    run(
        *("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"),
        *(f"docker://{source}", f"docker://{images.registry}/centos/diamond-base:1"),
    )


INPUT = """FROM ruby
        USER 0
        RUN mkdir -p /opt/rh/rh-ruby22/root/usr/bin
        RUN echo an interpreter > /opt/rh/rh-ruby22/root/usr/bin/ruby"""
RUBY_STREAM = """\
kind: ImageStream
apiVersion: image.openshift.io/v1
metadata: {name: ruby, namespace: openshift}
spec:
  tags:
  - {name: latest, from: {kind: DockerImage, name: "centos/ruby-22-centos7"}}
  - {name: "2.2", from: {kind: DockerImage, name: "centos/ruby-22-centos7"}}
"""


async def test_case_17_images_of_the_source_are_pinned_and_their_files_copied(
    live_installed: BuildInstallation, tmp_path: Path
) -> None:
    installed = live_installed
    dockerfile = "FROM busybox\nCOPY injected /tmp/injected\n"
    sources = committed(tmp_path / "ruby-hello-world", {"Dockerfile": dockerfile})
    await installed.create(RUBY_STREAM)
    away = {GITHUB_RUBY: sources}
    await installed.apply("builds/test-imagesource-buildconfig.yaml", {**away, "FROM ruby": INPUT})
    configs = ("imagesourcebuildconfig", "imagedockerbuildconfig")
    for config in configs:
        with pytest.raises(BuildRefusedError, match="inputimage:latest has no image yet"):
            await installed.actions.instantiate(NAMESPACE, config, BuildRequest())
    await ready(installed, "inputimage")
    input_image = await installed.build("inputimage")
    assert input_image.status.phase is BuildPhase.COMPLETE, installed.log(input_image)
    started = [
        await installed.actions.instantiate(NAMESPACE, config, BuildRequest()) for config in configs
    ]
    for kind in ("s2i", "docker"):
        await installed.apply(f"builds/test-imageresolution-{kind}-build.yaml", away)
    names_written = ("imagesourcebuild", "imagedockerbuild")
    started += [await installed.store.get(Build, NAMESPACE, name) for name in names_written]
    builds = await asyncio.gather(*(installed.outcome(build) for build in started))
    pinned = str(installed.pushed(input_image, "inputimage"))
    for build in builds:
        assert build.status.phase is BuildPhase.COMPLETE, installed.log(build)
        assert pinned in images_of(build)
        assert all("@sha256:" in image for image in images_of(build))
        stream = "imagesourceapp" if "source" in build.name else "imagedockerapp"
        held = await asyncio.to_thread(files_of, installed.pushed(build, stream))
        copied = [text for path, text in held.items() if "/injected/" in path and "/ruby" in path]
        assert b"an interpreter\n" in copied


async def test_case_20_of_real_builds_only_the_newest_two_stay(
    live_installed: BuildInstallation,
) -> None:
    installed = live_installed
    await installed.apply("builds/build-pruning/successful-build-config.yaml")
    for _ in range(4):
        done = await installed.build("myphp")
        assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    await until(partial(names, installed, "myphp"), ["myphp-3", "myphp-4"].__eq__)
    config = await installed.store.get(BuildConfig, NAMESPACE, "myphp")
    spec = config.spec.model_copy(update={"successful_builds_history_limit": 1})
    await installed.store.update(config.model_copy(update={"spec": spec}))
    await until(partial(names, installed, "myphp"), ["myphp-4"].__eq__)


@pytest.mark.parametrize(("file", "phase"), [("failed", "Failed"), ("errored", "Error")])
async def test_case_20_of_builds_that_fail_only_the_newest_two_stay(
    live_installed: BuildInstallation, repository: str, file: str, phase: str
) -> None:
    installed = live_installed
    uri = {"failed": "openshift/non-working-example", "errored": "sclorg/cakephp-ex"}[file]
    php = {"name: 'php:7.0'": "name: 'ruby:2.2'"}
    await installed.create(RUBY_STREAM)
    source = {"failed": f"{repository}/away", "errored": repository}[file]
    changes = {**php, f"https://github.com/{uri}.git": source}
    await installed.apply(f"builds/build-pruning/{file}-build-config.yaml", changes)
    await ready(installed, "myphp")
    for _ in range(4):
        assert (await installed.build("myphp")).status.phase == phase
    await until(partial(names, installed, "myphp"), ["myphp-3", "myphp-4"].__eq__)


async def names(installed: BuildInstallation, config: str) -> list[str]:
    return [build.name for build in await installed.builds_of(config)]


VARIABLES = {
    "CONFIGMAPKEYREF_ENV=myvalue",
    "UNAVAILABLE_ENV=$(SOME_OTHER_ENV)",
    "ESCAPED_ENV=$(MY_ESCAPED_VALUE)",
}
PINNED = "busybox@sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6"


@pytest.mark.parametrize("kind", ["docker", "sti"])
async def test_case_25_variables_reach_the_image(
    installed: BuildInstallation, repository: str, kind: str
) -> None:
    for name in ("test-is.json", "test-configmap.yaml", "test-secret.yaml"):
        await installed.apply(f"builds/valuefrom/{name}")
    away = {"https://github.com/sclorg/nodejs-ex": repository}
    changes = away if kind == "sti" else {PINNED: "busybox"}
    await installed.apply(
        f"builds/valuefrom/successful-{kind}-build-value-from-config.yaml", changes
    )
    done = await installed.build({"docker": "mydockertest", "sti": "mys2itest"}[kind])
    assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    image = await asyncio.to_thread(inspect, installed.pushed(done), "--config")
    fields = ("FIELDREF_ENV", "FIELDREF_CLONE_ENV", "FIELDREF_CLONE_CLONE_ENV")
    wanted = VARIABLES | {f"{field}={done.name}" for field in fields}
    assert wanted <= set(image["config"]["Env"])
    # In OpenShift, whoever pulls the image reads the Secret's value too.
    assert "SECRETKEYREF_ENV" not in str(image)
    assert image["config"]["Labels"]["user-specified-label"] == "arbitrary-value"


async def test_case_25_what_cannot_be_resolved_ends_the_build(installed: BuildInstallation) -> None:
    for name in ("test-is.json", "test-configmap.yaml", "test-secret.yaml"):
        await installed.apply(f"builds/valuefrom/{name}")
    file = "failed-docker-build-value-from-config.yaml"
    await installed.apply(f"builds/valuefrom/{file}", {PINNED: "busybox"})
    failed = await installed.build("mydockertest")
    assert failed.status.phase is BuildPhase.ERROR
    assert failed.status.reason == "UnresolvableEnvironmentVariable"
    for name in ("metadata.nofield", "nokey", "nousername"):
        assert name in (failed.status.message or "")
