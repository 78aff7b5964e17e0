"""What starts OpenShift's build configs, in which order, with which images; all of it for real.

The numbers are those of the corpus' INDEX.md, section B.
"""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from tests.support.builds.base_images import Images, inspect, run
from tests.support.builds.openshift_builds import NAMESPACE, Site, committed, files_of
from tests.support.installation.installation import until
from tests.support.openshift import needs_corpus

from upwell.api.build import Build, BuildConfig, BuildPhase, BuildRequest
from upwell.oci import Reference
from upwell.policy.builds.requests import BuildRefusedError

pytestmark = needs_corpus
NODEJS = "centos/nodejs-6-centos7"
RUBY = "git://github.com/openshift/ruby-hello-world.git"
GITHUB_RUBY = "https://github.com/openshift/ruby-hello-world.git"
HANGS = {".s2i/bin/assemble": "#!/bin/sh\nexec sleep 1000\n"}


async def phases(site: Site, config: str) -> list[str]:
    return [str(build.status.phase) for build in await site.builds_of(config)]


async def complete(site: Site, config: str, count: int) -> list[Build]:
    """Wait until so many builds of a BuildConfig have ended well, and return them."""
    await until(partial(phases, site, config), ["Complete"].__mul__(count).__eq__)
    return await site.builds_of(config)


async def ready(site: Site, config: str) -> None:
    """Wait until every image that a BuildConfig needs is there."""

    async def reason() -> str:
        found = await site.store.get(BuildConfig, NAMESPACE, config)
        return next((c.reason or "" for c in found.status.conditions if c.type == "Ready"), "")

    await until(reason, "InputsFound".__eq__)


def images_of(build: Build) -> set[str]:
    return {image.reference for image in build.status.images}


async def test_case_12_an_import_builds_each_follower_once(
    live_site: Site, images: Images, repository: str
) -> None:
    site = live_site
    away = {"https://github.com/sclorg/nodejs-ex.git": repository}
    await site.apply("builds/test-imagechangetriggers.yaml", away)
    for name in ("bc-source", "bc-docker", "bc-custom"):
        [build] = await complete(site, name, 1)
        [cause] = build.spec.triggered_by
        assert cause.message == "Image change"
        assert cause.image_change_build is not None
        assert cause.image_change_build.image_id == f"docker.io/{NODEJS}@{images.s2i.digest}"
        assert cause.image_change_build.from_ref is not None
        assert cause.image_change_build.from_ref.name == "nodejs-ex:latest"
    assert await phases(site, "bc-jenkins") == ["New"], "an outside CI's"

    [history] = (await site.import_again("nodejs-ex")).status.tags
    assert [event.image for event in history.items] == [str(images.s2i.digest)]
    await site.decided()
    assert len((await site.store.list(Build)).items) == 4


async def hanging(site: Site, folder: Path, policy: str) -> str:
    """Start a build that does not end, then two more; return the BuildConfig."""
    file = "parallel" if policy == "Parallel" else "serial"
    changes = {RUBY: committed(folder / "hanging", HANGS)}
    if policy == "SerialLatestOnly":
        changes['"Serial"'] = f'"{policy}"'
    await site.apply(f"run_policy/{file}-bc.yaml", changes)
    config = f"sample-{file}-build"
    for _ in range(3):
        await site.actions.instantiate(NAMESPACE, config, BuildRequest())
        await until(partial(phases, site, config), lambda found: found[0] == "Running")
    return config


async def cancel(site: Site, build: str) -> None:
    found = await site.store.get(Build, NAMESPACE, build)
    status = found.status.model_copy(update={"cancelled": True})
    await site.store.update_status(found.with_status(status))


async def test_case_13_serial_builds_run_one_after_another(site: Site, repository: str) -> None:
    await site.apply("run_policy/serial-bc.yaml", {RUBY: repository})
    for _ in range(3):
        await site.actions.instantiate(NAMESPACE, "sample-serial-build", BuildRequest())
    builds = await complete(site, "sample-serial-build", 3)
    times = [
        time
        for build in builds
        for time in (build.status.start_timestamp, build.status.completion_timestamp)
        if time is not None
    ]
    assert len(times) == 6
    assert times == sorted(times)


async def test_case_13_after_a_cancelled_and_a_deleted_build_the_next_one_runs(
    site: Site, tmp_path: Path
) -> None:
    name = await hanging(site, tmp_path, "Serial")
    seen = partial(phases, site, name)
    await until(seen, ["Running", "New", "New"].__eq__)
    await cancel(site, f"{name}-1")
    await until(seen, ["Cancelled", "Running", "New"].__eq__)
    await site.store.delete(Build, NAMESPACE, f"{name}-2")
    await until(seen, ["Cancelled", "Running"].__eq__)


async def test_case_13_parallel_builds_run_at_once(site: Site, tmp_path: Path) -> None:
    name = await hanging(site, tmp_path, "Parallel")
    # The machine has two places; the third build waits for one, not for its turn.
    await until(partial(phases, site, name), lambda found: sorted(found)[1:] == ["Running"] * 2)


async def test_case_13_only_the_latest_waits_and_the_running_build_is_left_alone(
    site: Site, tmp_path: Path
) -> None:
    name = await hanging(site, tmp_path, "SerialLatestOnly")
    await until(partial(phases, site, name), ["Running", "Cancelled", "New"].__eq__)


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
    live_site: Site, images: Images
) -> None:
    site = live_site
    publish_base(images, images.base)
    await site.create(
        DIAMOND
        + child("left", "base:1")
        + child("right", "base:1")
        + child("tip", "left:latest", ALSO)
    )
    for name in ("left", "right", "tip"):
        await complete(site, name, 1)

    publish_base(images, images.s2i)
    await site.import_again("base")
    for name in ("left", "right", "tip"):
        await complete(site, name, 2)
    await site.decided()
    assert len((await site.store.list(Build)).items) == 6
    left, right, tip = [(await site.builds_of(name))[1] for name in ("left", "right", "tip")]
    used = {image.image for image in tip.spec.image_inputs}
    assert used == {str(site.pushed(left, "left")), str(site.pushed(right, "right"))}
    assert len(tip.spec.triggered_by) == 2, "both parents have changed"


def publish_base(images: Images, source: Reference) -> None:
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
    live_site: Site, tmp_path: Path
) -> None:
    site = live_site
    dockerfile = "FROM busybox\nCOPY injected /tmp/injected\n"
    sources = committed(tmp_path / "ruby-hello-world", {"Dockerfile": dockerfile})
    await site.create(RUBY_STREAM)
    away = {GITHUB_RUBY: sources}
    await site.apply("builds/test-imagesource-buildconfig.yaml", {**away, "FROM ruby": INPUT})
    configs = ("imagesourcebuildconfig", "imagedockerbuildconfig")
    for config in configs:
        with pytest.raises(BuildRefusedError, match="inputimage:latest has no image yet"):
            await site.actions.instantiate(NAMESPACE, config, BuildRequest())
    await ready(site, "inputimage")
    input_image = await site.build("inputimage")
    assert input_image.status.phase is BuildPhase.COMPLETE, site.log(input_image)
    started = [
        await site.actions.instantiate(NAMESPACE, config, BuildRequest()) for config in configs
    ]
    for kind in ("s2i", "docker"):
        await site.apply(f"builds/test-imageresolution-{kind}-build.yaml", away)
    names_written = ("imagesourcebuild", "imagedockerbuild")
    started += [await site.store.get(Build, NAMESPACE, name) for name in names_written]
    builds = await asyncio.gather(*(site.outcome(build) for build in started))
    pinned = str(site.pushed(input_image, "inputimage"))
    for build in builds:
        assert build.status.phase is BuildPhase.COMPLETE, site.log(build)
        assert pinned in images_of(build)
        assert all("@sha256:" in image for image in images_of(build))
        stream = "imagesourceapp" if "source" in build.name else "imagedockerapp"
        held = await asyncio.to_thread(files_of, site.pushed(build, stream))
        copied = [text for path, text in held.items() if "/injected/" in path and "/ruby" in path]
        assert b"an interpreter\n" in copied


async def test_case_20_of_real_builds_only_the_newest_two_stay(live_site: Site) -> None:
    site = live_site
    await site.apply("builds/build-pruning/successful-build-config.yaml")
    for _ in range(4):
        done = await site.build("myphp")
        assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
    await until(partial(names, site, "myphp"), ["myphp-3", "myphp-4"].__eq__)
    config = await site.store.get(BuildConfig, NAMESPACE, "myphp")
    spec = config.spec.model_copy(update={"successful_builds_history_limit": 1})
    await site.store.update(config.model_copy(update={"spec": spec}))
    await until(partial(names, site, "myphp"), ["myphp-4"].__eq__)


@pytest.mark.parametrize(("file", "phase"), [("failed", "Failed"), ("errored", "Error")])
async def test_case_20_of_builds_that_fail_only_the_newest_two_stay(
    live_site: Site, repository: str, file: str, phase: str
) -> None:
    site = live_site
    uri = {"failed": "openshift/non-working-example", "errored": "sclorg/cakephp-ex"}[file]
    php = {"name: 'php:7.0'": "name: 'ruby:2.2'"}
    await site.create(RUBY_STREAM)
    source = {"failed": f"{repository}/away", "errored": repository}[file]
    changes = {**php, f"https://github.com/{uri}.git": source}
    await site.apply(f"builds/build-pruning/{file}-build-config.yaml", changes)
    await ready(site, "myphp")
    for _ in range(4):
        assert (await site.build("myphp")).status.phase == phase
    await until(partial(names, site, "myphp"), ["myphp-3", "myphp-4"].__eq__)


async def names(site: Site, config: str) -> list[str]:
    return [build.name for build in await site.builds_of(config)]


VARIABLES = {
    "CONFIGMAPKEYREF_ENV=myvalue",
    "SECRETKEYREF_ENV=developer",
    "UNAVAILABLE_ENV=$(SOME_OTHER_ENV)",
    "ESCAPED_ENV=$(MY_ESCAPED_VALUE)",
}
PINNED = "busybox@sha256:a59906e33509d14c036c8678d687bd4eec81ed7c4b8ce907b888c607f6a1e0e6"


@pytest.mark.parametrize("kind", ["docker", "sti"])
async def test_case_25_variables_reach_the_image(site: Site, repository: str, kind: str) -> None:
    for name in ("test-is.json", "test-configmap.yaml", "test-secret.yaml"):
        await site.apply(f"builds/valuefrom/{name}")
    away = {"https://github.com/sclorg/nodejs-ex": repository}
    changes = away if kind == "sti" else {PINNED: "busybox"}
    await site.apply(f"builds/valuefrom/successful-{kind}-build-value-from-config.yaml", changes)
    done = await site.build({"docker": "mydockertest", "sti": "mys2itest"}[kind])
    assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
    image = await asyncio.to_thread(inspect, site.pushed(done), "--config")
    fields = ("FIELDREF_ENV", "FIELDREF_CLONE_ENV", "FIELDREF_CLONE_CLONE_ENV")
    wanted = VARIABLES | {f"{field}={done.name}" for field in fields}
    assert wanted <= set(image["config"]["Env"])
    assert image["config"]["Labels"]["user-specified-label"] == "arbitrary-value"


async def test_case_25_what_cannot_be_resolved_ends_the_build(site: Site) -> None:
    for name in ("test-is.json", "test-configmap.yaml", "test-secret.yaml"):
        await site.apply(f"builds/valuefrom/{name}")
    file = "failed-docker-build-value-from-config.yaml"
    await site.apply(f"builds/valuefrom/{file}", {PINNED: "busybox"})
    failed = await site.build("mydockertest")
    assert failed.status.phase is BuildPhase.ERROR
    assert failed.status.reason == "UnresolvableEnvironmentVariable"
    for name in ("metadata.nofield", "nokey", "nousername"):
        assert name in (failed.status.message or "")
