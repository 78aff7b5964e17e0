"""`import-image`, `tag` and `image mirror` against a real API and real registries."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.images.stream_api import GROUP, StreamApi, open_stream_api
from tests.support.registry.docker_registry import docker_registry
from tests.support.registry.embedded_server import serving
from tests.support.registry.layered_images import push_index, push_layered

from upwell.cli import main
from upwell.cli.images.mirror_mappings import read_mappings
from upwell.oci import Reference
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher


async def upwell(*arguments: str, **env: str) -> Result:
    """Run a command in a thread of its own: it has its own event loop."""
    return await asyncio.to_thread(CliRunner().invoke, main, list(arguments), env=env)


@dataclass(frozen=True)
class ImportSetup:
    site: StreamApi
    host: str

    async def run(self, *arguments: str) -> Result:
        return await upwell(*arguments, UPWELL_SERVER=self.site.api.url, UPWELL_NAMESPACE="shop")

    async def push(self, name: str, mark: str) -> str:
        image = await push_layered(self.site.pusher, f"{self.host}/{name}", mark.encode())
        return str(image.digest)


@pytest.fixture
async def setup(tmp_path: Path) -> AsyncIterator[ImportSetup]:
    async with AsyncExitStack() as stack:
        (tmp_path / "vendor").mkdir()
        host = await stack.enter_async_context(docker_registry(tmp_path / "vendor"))
        yield ImportSetup(await stack.enter_async_context(open_stream_api(tmp_path)), host)


async def test_an_import_is_declared_done_and_shown(setup: ImportSetup) -> None:
    digest = await setup.push("debian:11", "old")
    source = f"--from={setup.host}/debian:11"
    refused = await setup.run("import-image", "debian:11", source)
    assert refused.exit_code == 3
    assert "--confirm" in refused.output
    done = await setup.run("import-image", "debian:11", source, "--confirm", "--scheduled")
    assert done.exit_code == 0, done.output
    assert done.stdout == f"debian:11 is {digest[7:19]}\n"
    new = await setup.push("debian:11", "new")
    again = await setup.run("import-image", "debian:11")
    assert again.stdout == f"debian:11 is {new[7:19]}\n"
    (tag,) = (await setup.site.stream("debian")).spec.tags
    assert tag.scheduled


async def test_every_tag_is_imported_again(setup: ImportSetup) -> None:
    for tag in ("11", "12"):
        await setup.push(f"debian:{tag}", f"old {tag}")
        source = f"--from={setup.host}/debian:{tag}"
        await setup.run("import-image", f"debian:{tag}", source, "--confirm")
    new = {tag: await setup.push(f"debian:{tag}", f"new {tag}") for tag in ("11", "12")}
    done = await setup.run("import-image", "debian", "--all")
    assert done.stdout.splitlines() == [f"debian:{t} is {d[7:19]}" for t, d in new.items()]


async def test_a_whole_repository_is_imported_and_asked_for_again(setup: ImportSetup) -> None:
    digests = {tag: await setup.push(f"debian:{tag}", f"first {tag}") for tag in ("11", "12.1")}
    source = f"--from={setup.host}/debian"
    refused = await setup.run("import-image", "debian", source, "--all")
    assert refused.exit_code == 3
    assert "--confirm" in refused.stderr
    done = await setup.run("import-image", "debian", source, "--all", "--confirm")
    assert done.exit_code == 0, done.output
    assert sorted(done.stdout.splitlines()) == [
        f"debian:{tag} is {digest[7:19]}" for tag, digest in digests.items()
    ]
    moved = await setup.push("debian:11", "second")
    added = await setup.push("debian:13", "thirteen")
    again = await setup.run("import-image", "debian", "--all")
    assert again.exit_code == 0, again.output
    assert sorted(again.stdout.splitlines()) == [
        f"debian:11 is {moved[7:19]}",
        f"debian:12.1 is {digests['12.1'][7:19]}",
        f"debian:13 is {added[7:19]}",
    ]
    latest = await setup.push("debian:13", "fourteen")
    single = await setup.run("import-image", "debian:13")
    assert f"debian:13 is {latest[7:19]}" in single.stdout.splitlines()
    assert (await setup.site.stream("debian")).spec.tags == ()
    text = (await setup.run("describe", "is/debian")).stdout
    assert f"DockerImage {setup.host}/debian:13" in text
    other = await setup.run("import-image", "debian", f"--from={setup.host}/none", "--all")
    assert f"imports {setup.host}/debian; add --confirm" in other.stderr
    changed = f"--from={setup.host}/none"
    gone = await setup.run("import-image", "debian", changed, "--all", "--confirm")
    assert gone.exit_code == 1
    assert "RepositoryUnknown" in gone.stderr


async def test_a_preview_says_what_would_be_imported_and_imports_nothing(
    setup: ImportSetup,
) -> None:
    digest = await setup.push("debian:11", "old")
    one = await setup.run("import-image", "debian:x", f"--from={setup.host}/debian:11", "--dry-run")
    assert one.stdout == f"debian:x would be {digest[7:19]} (dry run)\n", one.output
    whole = await setup.run(
        "import-image", "debian", f"--from={setup.host}/debian", "--all", "--dry-run"
    )
    assert whole.stdout == f"debian:11 would be {digest[7:19]} (dry run)\n", whole.output
    none = await setup.run("import-image", "debian:x", f"--from={setup.host}/debian:9", "--dry-run")
    assert none.exit_code == 1
    assert "debian:x: " in none.stderr
    missing = await setup.run(
        "import-image", "debian", f"--from={setup.host}/no", "--all", "--dry-run"
    )
    assert missing.exit_code == 1
    found = await setup.site.api.send("GET", f"{GROUP}/imagestreams")
    assert found.json["items"] == []


async def test_an_import_sets_the_policies_that_are_asked_for(setup: ImportSetup) -> None:
    await setup.push("debian:11", "old")
    source = f"--from={setup.host}/debian:11"
    policies = ("--reference-policy=local", "--import-mode=Legacy")
    done = await setup.run("import-image", "debian:11", source, "--confirm", *policies)
    assert done.exit_code == 0, done.output
    (tag,) = (await setup.site.stream("debian")).spec.tags
    assert tag.reference_policy is not None
    assert tag.reference_policy.type == "Local"
    assert tag.import_policy is not None
    assert tag.import_policy.import_mode == "Legacy"
    await setup.run("import-image", "debian:11")
    assert (await setup.site.stream("debian")).spec.tags[0].import_policy == tag.import_policy


async def test_a_failed_import_ends_with_1_and_says_why(setup: ImportSetup) -> None:
    source = f"--from={setup.host}/debian:none"
    done = await setup.run("import-image", "debian:11", source, "--confirm")
    assert done.exit_code == 1
    assert "ManifestUnknown" in done.stderr
    assert "tried again at" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["import-image", "none:1"], 3, "not found"),
        (["import-image", "a/b/c:1"], 2, "is not a tag"),
        (["tag", "shop:1"], 2, "at least one TAG"),
        (["tag", "shop:1", "shop:2", "--scheduled"], 2, "--scheduled needs an image of another"),
        (["tag", "quay.io/a/b:1", "shop:2", "--alias"], 2, "--alias needs a tag"),
        (["tag", "none:1", "shop:2"], 3, "not found"),
        (["tag", "-d", "none:1"], 3, "not found"),
        (["image", "mirror"], 2, "name images to copy"),
        (["image", "mirror", "a:1"], 2, "name a destination"),
        (["image", "mirror", "a:1", "B"], 2, "not an image reference"),
        (["image", "mirror", "-f", "/nowhere"], 2, "No such file"),
        (["image", "mirror", "a:1", "b:1", "--filter-by-os=("], 2, "--filter-by-os"),
    ],
)
async def test_wrong_use_is_refused(
    setup: ImportSetup, arguments: list[str], code: int, text: str
) -> None:
    done = await setup.run(*arguments)
    assert done.exit_code == code, done.output
    assert text in done.stderr


async def test_a_promotion_copies_the_digest_and_an_alias_follows(setup: ImportSetup) -> None:
    digest = await setup.push("app:1", "first")
    await setup.run("import-image", "app:latest", f"--from={setup.host}/app:1", "--confirm")
    promoted = await setup.run("tag", "app:latest", "prod/app:live", "app:kept")
    assert promoted.exit_code == 0, promoted.output
    assert promoted.stdout.splitlines()[0] == f"prod/app:live is {digest[7:19]}"
    await setup.run("tag", "app:latest", "app:moving", "--alias")
    for tag in ("kept", "moving"):
        assert await setup.site.imported("app", tag) == digest
    new = await setup.push("app:1", "second")
    await setup.run("import-image", "app:latest")
    await setup.site.tag("app", "moving", lambda found: found.items[0].image == new)
    kept = (await setup.site.stream("app")).status.tag("kept")
    assert kept is not None
    assert [event.image for event in kept.items] == [digest]
    removed = await setup.run("tag", "-d", "app:kept", "app:moving")
    assert removed.stdout.splitlines() == ["shop/app:kept removed", "shop/app:moving removed"]
    assert {tag.name for tag in (await setup.site.stream("app")).spec.tags} == {"latest"}


async def test_other_registries_may_be_tagged(setup: ImportSetup) -> None:
    digest = await setup.push("app:1", "first")
    source = f"{setup.host}/app:1"
    await setup.run("tag", source, "app:a", "--scheduled", "--reference-policy=local")
    await setup.run("tag", source, "app:b", "--reference")
    assert await setup.site.imported("app", "a") == digest
    await setup.site.imported("app", "b")
    found = await setup.site.send("GET", "imagestreamtags/app:a")
    pull_spec = f"registry.internal:5000/shop/app@{digest}"
    assert found.json["image"]["dockerImageReference"] == pull_spec
    pointer = (await setup.site.stream("app")).status.tag("b")
    assert pointer is not None
    assert (pointer.items[0].image, pointer.items[0].docker_image_reference) == ("", source)


@dataclass(frozen=True)
class Registries:
    client: RegistryClient
    source: str
    goal: str

    @property
    def pusher(self) -> RegistryPusher:
        return RegistryPusher(self.client.connection)


@pytest.fixture
async def registries(tmp_path: Path) -> AsyncIterator[Registries]:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(RegistryClient(unrestricted()))
        (tmp_path / "vendor").mkdir()
        source = await stack.enter_async_context(docker_registry(tmp_path / "vendor"))
        goal = await stack.enter_async_context(serving(tmp_path / "goal"))
        yield Registries(client, source, goal.host)


async def test_a_mirror_keeps_digests_and_goes_on_where_it_stopped(
    registries: Registries, tmp_path: Path
) -> None:
    children = {
        name: await push_layered(
            registries.pusher, f"{registries.source}/team/app:{name}", name.encode() * 1000
        )
        for name in ("amd64", "arm64")
    }
    index = await push_index(registries.pusher, f"{registries.source}/team/app:1", **children)
    source, goal = f"{registries.source}/team/app:1", f"{registries.goal}/copy/app"
    planned = await upwell("image", "mirror", source, goal, "--dry-run")
    assert "6 blobs" in planned.stdout  # index, manifests, one config, layers
    copied = await upwell("image", "mirror", source, goal, f"{registries.goal}/second/app:x")
    assert copied.exit_code == 0, copied.output
    assert copied.stdout.splitlines()[0] == f"{source} -> {goal}:1: {index.digest}"
    for name in (f"{goal}:1", f"{registries.goal}/second/app:x"):
        assert (await registries.client.resolve(Reference.parse(name))).digest == index.digest
    again = await upwell("image", "mirror", source, goal)
    assert "0 bytes sent" in again.stderr
    mappings = tmp_path / "images.txt"
    mappings.write_text(
        f"# all of it\n{registries.source}/team/app:a*={registries.goal}/all/app\n"
        f"{registries.source}/team/none:1 {registries.goal}/none/app\n"
    )
    failing = await upwell("image", "mirror", "-f", str(mappings), "--continue-on-error")
    assert failing.exit_code == 1
    assert "cannot copy 1 images" in failing.stderr
    skipping = await upwell("image", "mirror", "-f", str(mappings), "--skip-missing")
    assert skipping.exit_code == 0, skipping.output
    tags = await registries.client.tags(Reference.parse(f"{registries.goal}/all/app"))
    assert sorted(tags) == ["amd64", "arm64"]


async def test_a_filter_leaves_platforms_out(registries: Registries) -> None:
    children = {
        name: await push_layered(
            registries.pusher, f"{registries.source}/team/app:{name}", name.encode()
        )
        for name in ("amd64", "arm64")
    }
    index = await push_index(registries.pusher, f"{registries.source}/team/app:1", **children)
    source, goal = f"{registries.source}/team/app:1", f"{registries.goal}/copy/app:1"
    copied = await upwell("image", "mirror", f"{source}={goal}", "--filter-by-os=linux/amd64")
    assert copied.exit_code == 0, copied.output
    found = await registries.client.resolve(Reference.parse(goal))
    assert found.digest != index.digest


def test_goals_take_the_tag_or_digest_of_their_source() -> None:
    digest = "sha256:" + "a" * 64
    for source, goal, expected in (
        ("a.test/x:1", "b.test/y", "b.test/y:1"),
        ("a.test/x:1", "b.test:5000/y", "b.test:5000/y:1"),
        ("a.test/x:1", "b.test/y:2", "b.test/y:2"),
        (f"a.test/x@{digest}", "b.test/y", f"b.test/y@{digest}"),
    ):
        (mapping,) = read_mappings([source, goal], [])
        assert [str(to) for _, to in mapping.pairs()] == [expected]
    (wild,) = read_mappings(["a.test/x:1.*=b.test/y"], [])
    assert [str(to) for _, to in wild.pairs(["1.1", "2.0", "1.0"])] == [
        "b.test/y:1.0",
        "b.test/y:1.1",
    ]
