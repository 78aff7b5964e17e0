"""OpenShift's own build configs, built by Buildah from images under the names that they use.

The numbers are those of the corpus' INDEX.md, section B.
"""

import asyncio
import contextlib
import io
import os
import secrets
import tarfile
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from tests.integration.builder.base_images import Images, run, write_tree
from tests.integration.registry.embedded_server import serving_registry

from upwell.api.build import BinaryInput, Build, BuildConfig, BuildPhase
from upwell.api.codec import decode
from upwell.api.defaults import apply_defaults
from upwell.api.image import ImageStream
from upwell.api.legacy import to_group_form
from upwell.api.manifests import parse_manifests
from upwell.api.meta import ObjectMeta, Resource
from upwell.api.template import Template
from upwell.builder.buildah import BuildahBuilder
from upwell.builder.logs import FileBuildLogs
from upwell.inputs.files import FileInputs
from upwell.machine.platform import machine_platform
from upwell.oci import Reference
from upwell.policy.templates import Request, process_template
from upwell.reconcilers.build_configs import BuildConfigs
from upwell.reconcilers.build_plan import Planner
from upwell.reconcilers.build_requests import BuildRequests
from upwell.reconcilers.build_run import BuildDefaults, BuildRun
from upwell.reconcilers.build_view import BuildView
from upwell.reconcilers.builds import Builds
from upwell.registry.client import RegistryClient
from upwell.registry.embedded import EmbeddedRegistry
from upwell.registry.hosts import RegistryHost, RegistryHosts
from upwell.registry.mirror import Mirror
from upwell.registry.routed import RoutedRegistry
from upwell.store.memory import MemoryStore

_SHARED = Path(os.environ.get("UPWELL_SHARED") or Path(__file__).parents[4] / "shared")
_TESTDATA = _SHARED / "corpus/openshift/openshift-origin@5c0e8a64/test/extended/testdata/builds"

pytestmark = pytest.mark.skipif(
    not _TESTDATA.is_dir(), reason=f"no manifests in {_TESTDATA} (set UPWELL_SHARED)"
)
NAMESPACE = "shop"
SECONDS = 90
TEMPORARY = "/tmp"  # noqa: S108  # in the image
BASES = ("library/busybox:latest",)
BUILDERS = (
    "openshift/test-build-simples2i:latest",
    "centos/ruby-22-centos7:latest",
    "centos/ruby-23-centos7:latest",
)


@pytest.fixture(scope="session")
def docker_hub(images: Images) -> str:
    """The test registry, with our images under the names of the cases."""
    for source, names in ((images.base, BASES), (images.s2i, BUILDERS)):
        for name in names:
            run(
                *("skopeo", "copy", "--src-tls-verify=false", "--dest-tls-verify=false"),
                *(f"docker://{source}", f"docker://{images.registry}/{name}"),
            )
    return images.registry


class Site:
    """A store, a registry of our own, and a reconciler that builds for real."""

    def __init__(
        self,
        builder: BuildahBuilder,
        internal: EmbeddedRegistry,
        client: RegistryClient,
        folder: Path,
    ) -> None:
        self.store = MemoryStore(_now)
        self.view = BuildView(self.store)
        self.requests = BuildRequests(self.view)
        self.inputs = FileInputs(folder / "inputs")
        self.logs = FileBuildLogs(folder / "logs")
        self.internal = internal
        registries = RoutedRegistry(internal, client)
        planner = Planner(
            self.store,
            registries,
            internal.host,
            mirror=Mirror(registries, internal, machine_platform()),
            uploads=self.inputs,
        )
        defaults = BuildDefaults(insecure_registries=frozenset({internal.host}))
        run = BuildRun(self.store, builder, self.logs, internal, planner, defaults, clock=_now)
        self.builds = Builds(self.view, builder, self.logs, run, slots=2, clock=_now)

    async def apply(self, name: str, changes: Mapping[str, str] | None = None) -> None:
        """Create the objects of a file, with these words of its text changed."""
        text = (_TESTDATA / name).read_text()
        for old, new in (changes or {}).items():
            assert old in text, old
            text = text.replace(old, new)
        for document in parse_manifests(text, name):
            resource: Resource = decode(to_group_form(document))
            if isinstance(resource, Template):
                objects = process_template(resource, Request(), secrets.choice).objects
                found = [decode(each) for each in objects]
            else:
                found = [resource]
            for each in found:
                await self.store.create(apply_defaults(each).with_metadata(namespace=NAMESPACE))

    async def stream(self, name: str) -> None:
        metadata = ObjectMeta(name=name, namespace=NAMESPACE)
        await self.store.create(ImageStream(metadata=metadata))

    async def build(self, config: str) -> Build:
        """Start a build; return it as it ended, or as it waits to be tried again."""
        build = await self.requests.instantiate(NAMESPACE, config, {})
        return await self.outcome(build)

    async def upload(self, config: str, files: Mapping[str, str]) -> Build:
        """Start a build of these files; return it as it ended."""
        stored = await self.inputs.save(_archive(files))
        upload = BinaryInput(digest=str(stored.digest))
        build = await self.requests.instantiate_binary(NAMESPACE, config, upload)
        return await self.outcome(build)

    async def outcome(self, build: Build) -> Build:
        async with asyncio.timeout(SECONDS):
            async for event in self.store.watch(Build):
                found = event.resource
                over = found.status.phase.is_terminal or found.status.retry_time is not None
                if found.name == build.name and over:
                    return found
        raise AssertionError("the watch has ended")

    def pushed(self, build: Build, stream: str = "test") -> Reference:
        assert build.status.output is not None, self.log(build)
        assert build.status.output.to is not None
        digest = build.status.output.to.image_digest
        return Reference.parse(f"{self.internal.host}/{NAMESPACE}/{stream}@{digest}")

    def log(self, build: Build) -> str:
        return f"{build.status.message}\n{self.logs.tail(build.uid, 40)}"


def _now() -> datetime:
    return datetime.now(UTC)


async def _archive(files: Mapping[str, str]) -> AsyncIterator[bytes]:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(text.encode()), 0o755 if text.startswith("#!") else 0o644
            archive.addfile(entry, io.BytesIO(text.encode()))
    yield packed.getvalue()


@asynccontextmanager
async def _site(builder: BuildahBuilder, docker_hub: str, folder: Path) -> AsyncIterator[Site]:
    hosts = RegistryHosts((RegistryHost("docker.io", location=docker_hub, insecure=True),))

    def create(host: str) -> EmbeddedRegistry:
        return EmbeddedRegistry(folder / "registry", host)

    async with (
        serving_registry(create) as internal,
        RegistryClient(hosts) as client,
    ):
        site = Site(builder, internal, client, folder)
        task = asyncio.create_task(site.builds.run())
        try:
            yield site
        finally:
            task.cancel()
            await asyncio.wait([task])
            site.logs.close_all()


@pytest.fixture
async def site(builder: BuildahBuilder, docker_hub: str, tmp_path: Path) -> AsyncIterator[Site]:
    async with _site(builder, docker_hub, tmp_path / "site") as running:
        yield running


@pytest.fixture
def repository(tmp_path: Path) -> str:
    """A git repository of an application, as the cases have them at GitHub."""
    return committed(tmp_path / "repository", {"app.rb": "puts 1\n", "Dockerfile": "FROM x\n"})


def committed(path: Path, files: Mapping[str, str]) -> str:
    """Make a git repository of these files."""
    folder = write_tree(path, files)
    identity = ("-c", "user.name=Jo", "-c", "user.email=jo@example.com")
    for arguments in (("init", "-q", "-b", "master"), ("add", "."), ("commit", "-qm", "first")):
        run("git", *identity, *arguments, cwd=folder)
    return str(folder)


CHECKED = (
    ("docker.yaml", "mydockertest", 'command: ["touch"]\n      args: ["/tmp/postCommit"]'),
    ("sti.yaml", "mys2itest", "postCommit: {}"),
)
HOOKS = {
    "command": 'command: ["/bin/sh", "-c"]\n      args: ["touch /tmp/postCommit"]',
    "script": 'script: test "$1" = one && touch /tmp/postCommit\n      args: [one]',
    "default entrypoint": "args: [touch, /tmp/postCommit]",
}


async def with_hook(site: Site, case: tuple[str, str, str], hook: str, repository: str) -> None:
    """Apply a case with its hook changed; the image goes to the tag test:latest."""
    file, name, given = case
    wanted = f"postCommit:\n      {hook}" if given.startswith("postCommit") else hook
    away = {"https://github.com/sclorg/nodejs-ex": repository} if name == "mys2itest" else {}
    await site.apply(f"build-postcommit/{file}", {given: wanted, **away})
    await output_to(site, name)


@pytest.mark.parametrize("hook", sorted(HOOKS))
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case[1])
async def test_case_18_a_hook_checks_the_image_and_leaves_nothing_in_it(
    site: Site, repository: str, case: tuple[str, str, str], hook: str
) -> None:
    await with_hook(site, case, HOOKS[hook], repository)
    done = await site.build(case[1])

    assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
    assert "PostCommit" in [stage.name for stage in done.status.stages]
    log = site.logs.tail(done.uid, 100)
    uses_entrypoint = (hook, case[1]) == ("default entrypoint", "mys2itest")
    assert ("through the entrypoint" in log) == uses_entrypoint, log
    # In a thread: the registry is served by this very loop.
    pushed = await asyncio.to_thread(files_of, site.pushed(done))
    assert "/bin/busybox" in pushed
    assert f"{TEMPORARY}/postCommit" not in pushed


@pytest.mark.parametrize("hook", ["script: exit 3", 'command: ["false"]', 'args: ["false"]'])
@pytest.mark.parametrize("case", CHECKED, ids=lambda case: case[1])
async def test_case_18_a_failing_hook_pushes_nothing(
    site: Site, repository: str, case: tuple[str, str, str], hook: str
) -> None:
    await with_hook(site, case, hook, repository)
    failed = await site.build(case[1])

    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED
    assert "Build failed because of post commit hook" in (failed.status.message or "")
    stream = await site.store.get(ImageStream, NAMESPACE, "test")
    assert not stream.status.tags
    assert f"{NAMESPACE}/test" not in await site.internal.repositories()


async def output_to(site: Site, config: str) -> None:
    await site.stream("test")
    found = await site.store.get(BuildConfig, NAMESPACE, config)
    document = {"to": {"kind": "ImageStreamTag", "name": "test:latest"}}
    output = type(found.spec.output).model_validate(document)
    spec = found.spec.model_copy(update={"output": output})
    await site.store.update(found.model_copy(update={"spec": spec}))


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
async def test_case_19_a_repository_that_is_away(site: Site, file: str, name: str) -> None:
    await site.apply(file)
    expect(await site.build(name), "FetchSourceFailed")


async def test_case_19_a_builder_image_that_is_nowhere(site: Site, repository: str) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    await site.apply("statusfail-fetchbuilderimage.yaml", {github: repository})
    expect(await site.build("statusfail-builderimage"), "PullBuilderImageFailed")


async def test_case_19_a_registry_that_takes_nothing(site: Site, repository: str) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    changes = {github: repository, "bogus.registry/": "127.0.0.1:1/"}
    await site.apply("statusfail-pushtoregistry.yaml", changes)
    expect(await site.build("statusfail-pushtoregistry"), "PushImageToRegistryFailed")


async def test_case_19_a_context_that_is_not_there(site: Site, repository: str) -> None:
    github = "https://github.com/openshift/ruby-hello-world.git"
    changes = {f'"{github}"': f'"{repository}"\n    contextDir: not/there'}
    await site.apply("statusfail-fetchbuilderimage.yaml", changes)
    failed = await site.build("statusfail-builderimage")
    expect(failed, "InvalidContextDirectory")
    assert failed.status.phase is BuildPhase.FAILED


async def test_case_19_a_script_that_fails(site: Site) -> None:
    await site.apply("statusfail-failedassemble.yaml")
    failed = await site.upload(
        "statusfail-assemblescript", {".s2i/bin/assemble": "#!/bin/sh\necho no\nexit 1\n"}
    )
    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED
    assert "no" in (failed.status.log_snippet or "")


async def test_case_19_a_step_that_needs_more_memory_than_it_may_have(
    site: Site, tmp_path: Path
) -> None:
    greedy = {".s2i/bin/assemble": "#!/bin/sh\nexec dd if=/dev/zero of=/dev/null bs=500M count=1\n"}
    repository = committed(tmp_path / "greedy", greedy)
    github = "https://github.com/openshift/ruby-hello-world"
    await site.apply("statusfail-oomkilled.yaml", {github: repository})
    failed = await site.build("statusfail-oomkilled")
    expect(failed, "OutOfMemoryKilled")
    assert failed.status.phase is BuildPhase.FAILED


async def test_case_19_scripts_behind_a_proxy_that_is_none(site: Site, repository: str) -> None:
    github = "https://github.com/sclorg/ruby-ex"
    await site.apply("statusfail-genericreason.yaml", {github: repository})
    failed = await site.build("statusfail-genericfailure")
    expect(failed, "GenericBuildFailed")
    assert failed.status.phase is BuildPhase.FAILED, "no other try would end better"
    assert "http_proxy" in (failed.status.message or "")


async def test_case_21_a_build_that_takes_too_long_is_killed(site: Site) -> None:
    await site.apply("test-cds-dockerbuild.json")
    [config] = (await site.store.list(BuildConfig)).items
    failed = await site.build(config.name)
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
    site: Site, repository: str, file: str, name: str
) -> None:
    text = (_TESTDATA / file).read_text()
    uris = [w for w in text.split('"') if w.startswith(("https://github", "git://"))]
    await site.apply(file, dict.fromkeys(uris, repository))
    done = await site.build(name)
    assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
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
    site: Site, tmp_path: Path
) -> None:
    repository = committed(tmp_path / "incremental-app", COUNTING)
    github = "https://github.com/openshift/incremental-app.git"
    await site.apply("incremental-auth-build.json", {github: repository})
    restored = []
    for config in ("initial-build", "internal-build", "internal-build"):
        done = await site.build(config)
        assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
        log = site.logs.tail(done.uid, 200)
        restored += [line for line in log.splitlines() if line.startswith("restored")]
    assert restored == ["restored 0", "restored 1", "restored 2"]

    image = site.pushed(done, "internal-image")
    held = await asyncio.to_thread(files_of, image)
    assert sorted(held[f"{TEMPORARY}/count"].split()) == [b"1", b"2", b"3"], "a layer of each"
    configs = BuildConfigs(site.view, clock=_now)
    for follower in (await site.store.list(BuildConfig)).items:
        await configs.reconcile(follower.key)
    builds = [build.name for build in (await site.store.list(Build)).items]
    assert sorted(builds) == ["initial-build-1", "internal-build-1", "internal-build-2"], "no loop"


SECRETS = {b"secret1\n", b"secret2\n", b"secret3\n"}


async def test_case_26_settings_stay_in_the_image_and_secrets_do_not(site: Site) -> None:
    for name in ("secret", "secret-2", "configmap", "configmap-2", "is"):
        await site.apply(f"build-secrets/test-{name}.json")
    await site.apply("build-secrets/test-s2i-build.json")
    script = (
        "#!/bin/sh -e\n"
        "test $(cat /tmp/secret1) = secret1\ntest -s /srv/secret3\n"
        "test $(cat /tmp/configmap/foo) = bar\ntest -s /srv/configmap2/this\n"
        "echo seen by assemble\n"
    )
    done = await site.upload("test", {".s2i/bin/assemble": script})

    assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
    assert "seen by assemble" in site.logs.tail(done.uid, 100)
    held = await asyncio.to_thread(files_of, site.pushed(done))
    assert held[f"{TEMPORARY}/configmap/foo"] == b"bar\n"
    assert held.get(f"{TEMPORARY}/secret1", b"") == b""
    assert SECRETS.isdisjoint(held.values())


async def test_case_26_a_dockerfile_sees_secrets_and_keeps_what_it_copies(site: Site) -> None:
    for name in ("secret", "secret-2", "configmap", "configmap-2", "is"):
        await site.apply(f"build-secrets/test-{name}.json")
    await site.apply("build-secrets/test-docker-build.json")
    dockerfile = """\
FROM away.invalid/replaced/by/the/strategy
COPY config-dir /settings
RUN --mount=type=bind,target=/in test $(cat /in/secret-dir/secret1) = secret1 && \\
    test $(cat /in/secret2) = secret2 && test $(cat /in/red) = hat && \\
    test $(cat /settings/foo) = bar
RUN --mount=type=secret,id=testsecret2/secret3,target=/run/it grep secret3 /run/it
"""
    done = await site.upload("test", {"Dockerfile": dockerfile})

    assert done.status.phase is BuildPhase.COMPLETE, site.log(done)
    held = await asyncio.to_thread(files_of, site.pushed(done))
    assert held["/settings/foo"] == b"bar\n"
    assert SECRETS.isdisjoint(held.values())


def files_of(image: Reference) -> dict[str, bytes]:
    """Return what a pushed image's layers hold, by path: of a path, all layers' contents."""
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory() as folder:
        run("skopeo", "copy", "--src-tls-verify=false", f"docker://{image}", f"dir:{folder}")
        for blob in Path(folder).iterdir():
            with contextlib.suppress(tarfile.ReadError), tarfile.open(blob) as layer:
                for entry in layer:
                    path = f"/{entry.name.strip('/')}"
                    file = layer.extractfile(entry) if entry.isreg() else None
                    found[path] = found.get(path, b"") + (file.read() if file else b"")
    return found


async def test_case_26_a_missing_secret_fails_an_upload_at_once(site: Site) -> None:
    await site.apply("build-secrets/test-is.json")
    await site.apply("build-secrets/test-docker-build.json")
    failed = await site.upload("test", {"Dockerfile": "FROM busybox\n"})
    expect(failed, "GenericBuildFailed")
    assert "waits for Secret testsecret, Secret testsecret2" in (failed.status.message or "")
