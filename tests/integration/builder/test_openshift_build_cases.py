"""OpenShift's own build configs, built by Buildah from images under the names that they use.

The numbers are those of the corpus' INDEX.md, section B.
"""

import asyncio
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import pytest
from _pytest.mark.structures import ParameterSet
from tests.support.builds.openshift_builds import NAMESPACE, BuildInstallation, committed, files_of
from tests.support.faults.on_demand import on_demand
from tests.support.openshift import TESTDATA, needs_corpus

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.image import ImageStream

pytestmark = needs_corpus
TEMPORARY = "/tmp"  # noqa: S108  # in the image


CHECKED = (
    ("docker.yaml", "mydockertest", 'command: ["touch"]\n      args: ["/tmp/postCommit"]'),
    ("sti.yaml", "mys2itest", "postCommit: {}"),
)
HOOKS = {
    "command": 'command: ["/bin/sh", "-c"]\n      args: ["touch /tmp/postCommit"]',
    "script": 'script: test "$1" = one && touch /tmp/postCommit\n      args: [one]',
    "default entrypoint": "args: [touch, /tmp/postCommit]",
}


def _each_once(hooks: Sequence[str], test: str) -> Sequence[ParameterSet]:
    """Return each hook with a case of its own, in turn; the others are left to those."""
    left = on_demand(f"tests/integration/builder/test_openshift_build_cases.py::{test}")
    return [
        pytest.param(
            case,
            hook,
            id=f"{case[1]}-{hook}",
            marks=() if at % len(CHECKED) == of else (left,),
        )
        for (at, hook), (of, case) in product(enumerate(hooks), enumerate(CHECKED))
    ]


async def with_hook(
    installed: BuildInstallation, case: tuple[str, str, str], hook: str, repository: str
) -> None:
    """Apply a case with its hook changed; the image goes to the tag test:latest."""
    file, name, given = case
    wanted = f"postCommit:\n      {hook}" if given.startswith("postCommit") else hook
    away = {"https://github.com/sclorg/nodejs-ex": repository} if name == "mys2itest" else {}
    await installed.apply(f"builds/build-postcommit/{file}", {given: wanted, **away})
    await output_to(installed, name)


@pytest.mark.parametrize(
    ("case", "hook"),
    _each_once(sorted(HOOKS), "test_case_18_a_hook_checks_the_image_and_leaves_nothing_in_it"),
)
async def test_case_18_a_hook_checks_the_image_and_leaves_nothing_in_it(
    installed: BuildInstallation, repository: str, case: tuple[str, str, str], hook: str
) -> None:
    await with_hook(installed, case, HOOKS[hook], repository)
    done = await installed.build(case[1])

    assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    assert "PostCommit" in [stage.name for stage in done.status.stages]
    log = installed.logs.tail(done.uid, 100)
    uses_entrypoint = (hook, case[1]) == ("default entrypoint", "mys2itest")
    assert ("through the entrypoint" in log) == uses_entrypoint, log
    # In a thread: the registry is served by this very loop.
    pushed = await asyncio.to_thread(files_of, installed.pushed(done))
    assert "/bin/busybox" in pushed
    assert f"{TEMPORARY}/postCommit" not in pushed


@pytest.mark.parametrize(
    ("case", "hook"),
    _each_once(
        ['command: ["false"]', 'args: ["false"]', "script: exit 3"],
        "test_case_18_a_failing_hook_pushes_nothing",
    ),
)
async def test_case_18_a_failing_hook_pushes_nothing(
    installed: BuildInstallation, repository: str, case: tuple[str, str, str], hook: str
) -> None:
    await with_hook(installed, case, hook, repository)
    failed = await installed.build(case[1])

    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED
    assert "Build failed because of post commit hook" in (failed.status.message or "")
    stream = await installed.store.get(ImageStream, NAMESPACE, "test")
    assert not stream.status.tags
    assert f"{NAMESPACE}/test" not in await installed.internal.repositories()


async def output_to(installed: BuildInstallation, config: str) -> None:
    await installed.stream("test")
    found = await installed.store.get(BuildConfig, NAMESPACE, config)
    document = {"to": {"kind": "ImageStreamTag", "name": "test:latest"}}
    output = type(found.spec.output).model_validate(document)
    spec = found.spec.model_copy(update={"output": output})
    await installed.store.update(found.model_copy(update={"spec": spec}))


SENTENCES = {
    "FetchSourceFailed": "Failed to fetch the input source.",
    "PullBuilderImageFailed": "Failed pulling builder image.",
    "PushImageToRegistryFailed": "Failed to push the image to the registry.",
    "GenericBuildFailed": "Generic Build failure - check logs for details.",
    "InvalidContextDirectory": "The supplied context directory does not exist.",
    "OutOfMemoryKilled": "The build pod was killed due to an out of memory condition.",
}


def expect(build: Build, reason: str) -> None:
    assert build.status.reason == reason, build.status
    assert (build.status.message or "").startswith(SENTENCES[reason])


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("statusfail-fetchsourcedocker.yaml", "statusfail-fetchsourcedocker"),
        ("statusfail-fetchsources2i.yaml", "statusfail-fetchsourcesourcetoimage"),
    ],
)
async def test_case_19_a_repository_that_is_away(
    installed: BuildInstallation, file: str, name: str
) -> None:
    await installed.apply(f"builds/{file}")
    expect(await installed.build(name), "FetchSourceFailed")


async def test_case_19_a_builder_image_that_is_nowhere(
    installed: BuildInstallation, repository: str
) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    await installed.apply("builds/statusfail-fetchbuilderimage.yaml", {github: repository})
    expect(await installed.build("statusfail-builderimage"), "PullBuilderImageFailed")


async def test_case_19_a_registry_that_takes_nothing(
    installed: BuildInstallation, repository: str
) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    changes = {github: repository, "bogus.registry/": "127.0.0.1:1/"}
    await installed.apply("builds/statusfail-pushtoregistry.yaml", changes)
    expect(await installed.build("statusfail-pushtoregistry"), "PushImageToRegistryFailed")


async def test_case_19_a_context_that_is_not_there(
    installed: BuildInstallation, repository: str
) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    changes = {f'"{github}"': f'"{repository}"\n    contextDir: not/there'}
    await installed.apply("builds/statusfail-fetchbuilderimage.yaml", changes)
    failed = await installed.build("statusfail-builderimage")
    expect(failed, "InvalidContextDirectory")
    assert failed.status.phase is BuildPhase.FAILED


async def test_case_19_a_script_that_fails(installed: BuildInstallation) -> None:
    await installed.apply("builds/statusfail-failedassemble.yaml")
    failed = await installed.upload(
        "statusfail-assemblescript", {".s2i/bin/assemble": "#!/bin/sh\necho no\nexit 1\n"}
    )
    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED
    assert "no" in (failed.status.log_snippet or "")


async def test_case_19_a_step_that_needs_more_memory_than_it_may_have(
    installed: BuildInstallation, tmp_path: Path
) -> None:
    greedy = {".s2i/bin/assemble": "#!/bin/sh\nexec dd if=/dev/zero of=/dev/null bs=500M count=1\n"}
    repository = committed(tmp_path / "greedy", greedy)
    github = "https://github.com/openshift/ruby-hello-world"
    await installed.apply("builds/statusfail-oomkilled.yaml", {github: repository})
    failed = await installed.build("statusfail-oomkilled")
    expect(failed, "OutOfMemoryKilled")
    assert failed.status.phase is BuildPhase.FAILED


async def test_case_19_scripts_behind_a_proxy_that_is_none(
    installed: BuildInstallation, repository: str
) -> None:
    github = "https://github.com/sclorg/ruby-ex"
    await installed.apply("builds/statusfail-genericreason.yaml", {github: repository})
    failed = await installed.build("statusfail-genericfailure")
    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED, "no other try would end better"
    assert "http_proxy" in (failed.status.message or "")


@pytest.mark.parametrize("kind", ["docker", "source"])
async def test_case_21_a_build_that_takes_too_long_is_killed(
    installed: BuildInstallation, tmp_path: Path, kind: str
) -> None:
    script = "#!/bin/sh\nsleep 1000 & wait\n"
    scripts = {".s2i/bin/assemble": script, ".s2i/bin/run": script}
    git = f'"git":{{"uri":"{committed(tmp_path / "hanging", scripts)}"}}'
    # Without a script of its own, the build would end before its deadline.
    dockerfile = '"dockerfile":"FROM centos:7\\nRUN sleep 10m"'
    changes = {dockerfile: git} if kind == "source" else {}
    await installed.apply(f"builds/test-cds-{kind}build.json", changes)
    [config] = (await installed.store.list(BuildConfig)).items
    failed = await installed.build(config.name)
    assert failed.status.phase is BuildPhase.FAILED
    assert "deadline of 5 s" in (failed.status.message or "")


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("test-docker-no-outputname.json", "test-docker"),
        ("test-s2i-no-outputname.json", "test-sti"),
    ],
)
async def test_case_22_without_an_output_nothing_is_pushed(
    installed: BuildInstallation, repository: str, file: str, name: str
) -> None:
    text = (TESTDATA / "builds" / file).read_text()
    uris = [w for w in text.split('"') if w.startswith(("https://github", "git://"))]
    await installed.apply(f"builds/{file}", dict.fromkeys(uris, repository))
    done = await installed.build(name)
    assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    assert done.status.output is None
    assert "PushImage" not in [stage.name for stage in done.status.stages]


COUNTING = {
    ".s2i/bin/assemble": """\
#!/bin/sh -e
before=$(cat /tmp/artifacts/count 2>/dev/null || echo 0)
echo "restored $before"
echo $((before + 1)) > /tmp/count
""",
    ".s2i/bin/save-artifacts": "#!/bin/sh -e\ntar -C /tmp -cf - count\n",
}


async def test_case_24_each_build_takes_up_what_the_one_before_it_saved(
    installed: BuildInstallation, tmp_path: Path
) -> None:
    repository = committed(tmp_path / "incremental-app", COUNTING)
    github = "https://github.com/openshift/incremental-app.git"
    await installed.apply("builds/incremental-auth-build.json", {github: repository})
    restored = []
    for config in ("initial-build", "internal-build", "internal-build"):
        done = await installed.build(config)
        assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
        log = installed.logs.tail(done.uid, 200)
        restored += [line for line in log.splitlines() if line.startswith("restored")]
    assert restored == ["restored 0", "restored 1", "restored 2"]

    image = installed.pushed(done, "internal-image")
    held = await asyncio.to_thread(files_of, image)
    assert sorted(held[f"{TEMPORARY}/count"].split()) == [b"1", b"2", b"3"], "a layer of each"
    for follower in (await installed.store.list(BuildConfig)).items:
        await installed.configs.reconcile(follower.key)
    builds = [build.name for build in (await installed.store.list(Build)).items]
    assert sorted(builds) == ["initial-build-1", "internal-build-1", "internal-build-2"], "no loop"


SECRETS = {b"secret1\n", b"secret2\n", b"secret3\n"}


async def test_case_26_settings_stay_in_the_image_and_secrets_do_not(
    installed: BuildInstallation,
) -> None:
    for name in ("secret", "secret-2", "configmap", "configmap-2", "is"):
        await installed.apply(f"builds/build-secrets/test-{name}.json")
    await installed.apply("builds/build-secrets/test-s2i-build.json")
    script = (
        "#!/bin/sh -e\n"
        "test $(cat /tmp/secret1) = secret1\ntest -s /srv/secret3\n"
        "test $(cat /tmp/configmap/foo) = bar\ntest -s /srv/configmap2/this\n"
        "echo seen by assemble\n"
    )
    done = await installed.upload("test", {".s2i/bin/assemble": script})

    assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    assert "seen by assemble" in installed.logs.tail(done.uid, 100)
    held = await asyncio.to_thread(files_of, installed.pushed(done))
    assert held[f"{TEMPORARY}/configmap/foo"] == b"bar\n"
    assert held.get(f"{TEMPORARY}/secret1", b"") == b""
    assert SECRETS.isdisjoint(held.values())


async def test_case_26_a_dockerfile_sees_secrets_and_keeps_what_it_copies(
    installed: BuildInstallation,
) -> None:
    for name in ("secret", "secret-2", "configmap", "configmap-2", "is"):
        await installed.apply(f"builds/build-secrets/test-{name}.json")
    await installed.apply("builds/build-secrets/test-docker-build.json")
    dockerfile = """\
FROM away.invalid/replaced/by/the/strategy
COPY config-dir /settings
RUN --mount=type=bind,target=/in test $(cat /in/secret-dir/secret1) = secret1 && \\
    test $(cat /in/secret2) = secret2 && test $(cat /in/red) = hat && \\
    test $(cat /settings/foo) = bar
RUN --mount=type=secret,id=testsecret2/secret3,target=/run/it grep secret3 /run/it
"""
    done = await installed.upload("test", {"Dockerfile": dockerfile})

    assert done.status.phase is BuildPhase.COMPLETE, installed.log(done)
    held = await asyncio.to_thread(files_of, installed.pushed(done))
    assert held["/settings/foo"] == b"bar\n"
    assert SECRETS.isdisjoint(held.values())


async def test_case_26_a_missing_secret_fails_an_upload_at_once(
    installed: BuildInstallation,
) -> None:
    await installed.apply("builds/build-secrets/test-is.json")
    await installed.apply("builds/build-secrets/test-docker-build.json")
    failed = await installed.upload("test", {"Dockerfile": "FROM busybox\n"})
    expect(failed, "GenericBuildFailed")
    assert "waits for Secret testsecret, Secret testsecret2" in (failed.status.message or "")
