"""`upwell rebase` with real registries: what it finds, refuses, writes and leaves alone."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from click.testing import CliRunner, Result
from tests.support.registry.embedded_server import serving
from tests.support.registry.made_images import (
    MadeImage,
    made_image,
    push_made,
    push_made_index,
    tar_of,
)
from tests.support.registry.registry_proxy import RegistryProxy
from tests.support.workload.tls_servers import make_certificate, tls_site

from upwell.cli import main
from upwell.oci import Digest, Index, Manifest, Reference
from upwell.oci.rebase.images import LayeredImage
from upwell.oci.rebase.records import BASE_DIGEST, BASE_MANIFEST, BASE_NAME
from upwell.outbound.dialing import unrestricted
from upwell.registry.client.client import RegistryClient
from upwell.registry.client.push import RegistryPusher
from upwell.registry.errors import ManifestUnknownError

OLD, NEW, MORE = (
    tar_of({"bin/": b"", "bin/sh": text, "etc/os-release": b"ID=test\n"})
    for text in (b"old", b"new", b"more")
)
APP = tar_of({"srv/": b"", "srv/app": b"app"})
TRAP = tar_of({"bin/": b"", "bin/sh": b"own"})


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which the layers of all tests are read once."""
    return tmp_path_factory.mktemp("layers")


@dataclass
class RebaseSetup:
    host: str
    client: RegistryClient
    cache: Path
    bases: list[MadeImage] = field(default_factory=list)
    server: str = "http://127.0.0.1:1"
    """Address of the server; nothing listens at this one."""

    @property
    def pusher(self) -> RegistryPusher:
        return RegistryPusher(self.client.connection)

    async def run(self, *arguments: str, host: str = "") -> Result:
        texts = [text.replace("HOST", host or self.host) for text in arguments]
        env = {"XDG_CACHE_HOME": str(self.cache), "UPWELL_SERVER": self.server}
        return await asyncio.to_thread(CliRunner().invoke, main, ["rebase", *texts], env=env)

    async def update_base(self, *layers: bytes, **options: Any) -> MadeImage:
        image = made_image(*layers, **options)
        await push_made(self.pusher, f"{self.host}/base:1", image)
        self.bases.append(image)
        return image

    async def push(self, *own: bytes, tag: str = "team/app:1", **options: Any) -> MadeImage:
        """Push an image that stands on the last base and says so."""
        base = self.bases[-1]
        annotations = {
            BASE_NAME: f"{self.host}/base:1",
            BASE_DIGEST: str(base.manifest.digest),
        }
        steps = [{"created_by": "ADD base"}, *({"created_by": "COPY own"} for _ in own)]
        image = made_image(OLD, *own, annotations=annotations, history=steps, **options)
        await push_made(self.pusher, f"{self.host}/{tag}", image)
        return image

    async def manifest(self, name: str) -> Manifest | Index:
        return await self.client.manifest(Reference.parse(f"{self.host}/{name}"))

    async def pulled(self, name: str) -> LayeredImage:
        """Fetch an image with all its content, every digest of which is checked."""
        manifest = await self.manifest(name)
        assert isinstance(manifest, Manifest)
        reference = Reference.parse(f"{self.host}/{name}")
        for layer in manifest.layers:
            assert len(await self.client.blob(reference, layer.digest, layer.size)) == layer.size
        raw = await self.client.blob(reference, manifest.config.digest, manifest.config.size)
        return LayeredImage.parse(manifest, raw)


@pytest.fixture
async def setup(tmp_path: Path, cache: Path) -> AsyncIterator[RebaseSetup]:
    async with serving(tmp_path) as served, RegistryClient(unrestricted()) as client:
        made = RebaseSetup(served.host, client, cache)
        await made.update_base(OLD, settings={"Env": ["V=1"], "Cmd": ["sh"]})
        yield made


async def test_an_image_gets_its_updated_base_and_runs_what_it_ran(setup: RebaseSetup) -> None:
    image = await setup.push(APP, settings={"Env": ["V=1", "A=2"], "Cmd": ["/srv/app"]})
    new = await setup.update_base(NEW, MORE, settings={"Env": ["V=2"], "Cmd": ["sh"]})
    done = await setup.run("HOST/team/app:1", "--tag", "2")
    assert done.exit_code == 0, done.output
    found = await setup.pulled("team/app:2")
    assert done.stdout == f"{setup.host}/team/app@{found.digest}\n"
    assert "\n2 mounted, 0 sent" in done.stderr
    assert found.diff_ids == tuple(map(Digest.of, (NEW, MORE, APP)))
    assert found.settings == {"Env": ["V=2", "A=2"], "Cmd": ["/srv/app"]}
    assert found.manifest.annotations[BASE_DIGEST] == str(new.manifest.digest)
    assert (await setup.manifest("team/app:1")).digest == image.manifest.digest
    again = await setup.run("HOST/team/app:2")
    assert again.stdout == f"{setup.host}/team/app:2 is on its new base already: {found.digest}\n"


async def test_what_is_on_its_base_gets_the_tag_that_is_asked_for(setup: RebaseSetup) -> None:
    image = await setup.push(APP)
    tried = await setup.run("HOST/team/app:1", "--tag=second", "--dry-run")
    with pytest.raises(ManifestUnknownError):
        await setup.manifest("team/app:second")
    done = await setup.run("HOST/team/app:1", "--tag=second")
    elsewhere = await setup.run("HOST/team/app:1", "--tag=HOST/other/app:1", "-o=json")

    name = f"{setup.host}/team/app@{image.manifest.digest}"
    assert (tried.stdout, done.stdout) == (f"{name} (dry run)\n", f"{name}\n")
    assert "is on its new base already" in done.stderr
    data = json.loads(elsewhere.stdout)
    assert (data["current"], data["written"]) == (True, True)
    for tag in ("team/app:second", "other/app:1"):
        assert (await setup.pulled(tag)).digest == image.manifest.digest


async def test_a_platform_that_the_image_has_not_is_refused(setup: RebaseSetup) -> None:
    image = await setup.push(APP)
    await setup.update_base(NEW)
    refused = await setup.run("HOST/team/app:1", "--platform=linux/arm64")
    assert refused.exit_code == 1
    assert "no other platform than linux/amd64" in refused.stderr
    assert (await setup.manifest("team/app:1")).digest == image.manifest.digest
    assert (await setup.run("HOST/team/app:1", "--platform=linux/amd64")).exit_code == 0


async def run_main(arguments: list[str]) -> Result:
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def test_the_servers_own_registry_is_trusted_as_the_server(tmp_path: Path) -> None:
    certificate = make_certificate(tmp_path, "localhost")
    async with tls_site(certificate, "no manifest") as port:
        name = f"localhost:{port}/team/app:1"
        for command in (["rebase", name], ["image", "mirror", name, f"localhost:{port}/b"]):
            asked = ["--server=https://127.0.0.1:7443", *command]
            strict = await run_main(asked)
            trusting = await run_main([f"--ca={certificate.chain}", *asked])
            other = await run_main(
                [f"--ca={certificate.chain}", "--server=https://upwell.test", *command]
            )

            for refused in (strict, other):
                assert (
                    "its certificate is not trusted: name its authority by --ca" in refused.stderr
                )
            assert trusting.exit_code == 1
            assert "certificate" not in trusting.stderr


async def test_an_unsafe_rebase_is_refused_with_its_reasons_and_forced(setup: RebaseSetup) -> None:
    image = await setup.push(TRAP)
    await setup.update_base(NEW)
    refused = await setup.run("HOST/team/app:1")
    assert refused.exit_code == 1
    assert "FileOverlap" in refused.stderr
    assert "/bin/sh" in refused.stderr
    assert "rebuild it" in refused.stderr
    assert (await setup.manifest("team/app:1")).digest == image.manifest.digest
    forced = await setup.run("HOST/team/app:1", "--force")
    assert forced.exit_code == 0, forced.output
    assert (await setup.pulled("team/app:1")).diff_ids == tuple(map(Digest.of, (NEW, TRAP)))


async def test_a_dry_run_explains_and_writes_nothing(setup: RebaseSetup) -> None:
    await setup.push(APP, settings={"Env": ["V=1"]})
    await setup.update_base(NEW, settings={"Env": ["V=2"]})
    shown = await setup.run("HOST/team/app:1", "--tag=2", "--dry-run", "--explain")
    assert shown.exit_code == 0, shown.output
    assert f"+ layer {setup.bases[1].manifest.layers[0].digest}" in shown.stdout
    assert '  Env.V: "1" -> "2"\n' in shown.stdout
    assert "safe: nothing" in shown.stdout
    assert "(dry run)" in shown.stdout
    with pytest.raises(ManifestUnknownError):
        await setup.manifest("team/app:2")
    data = json.loads((await setup.run("HOST/team/app:1", "--dry-run", "-o=json")).stdout)
    assert (data["safe"], data["written"], data["current"]) == (True, False, False)
    assert data["platforms"][0]["changes"] == [{"path": "Env.V", "before": "1", "after": "2"}]


async def test_cranes_options_and_bases_by_name(setup: RebaseSetup) -> None:
    old = setup.bases[0]
    await push_made(setup.pusher, f"{setup.host}/team/plain:1", made_image(OLD, APP))
    unknown = await setup.run("HOST/team/plain:1")
    assert unknown.exit_code == 1
    assert "--new-base" in unknown.stderr
    new = await setup.update_base(NEW)
    lost = await setup.run("HOST/team/plain:1", "--new-base=HOST/base:1")
    assert "--old-base" in lost.stderr
    done = await setup.run(
        "--original=HOST/team/plain:1",
        f"--old_base=HOST/base@{old.manifest.digest}",
        "--new_base=HOST/base:1",
        "--rebased=HOST/other/plain:3",
    )
    assert done.exit_code == 0, done.output
    found = await setup.pulled("other/plain:3")
    assert found.layers[0] == new.manifest.layers[0]
    guessed = await setup.run(
        "HOST/team/plain:1",
        "--new-base=HOST/base:1",
        f"--candidate=HOST/base@{old.manifest.digest}",
        "--candidate=HOST/base:none",
        "-t",
        "4",
    )
    assert guessed.exit_code == 0, guessed.output
    assert (await setup.pulled("team/plain:4")).diff_ids == found.diff_ids


async def test_of_several_images_one_that_fails_stops_no_other(setup: RebaseSetup) -> None:
    await setup.push(APP, tag="team/one:1")
    await setup.push(TRAP, tag="team/two:1")
    await setup.push(APP, tag="team/three:1", author="three")
    await setup.update_base(NEW)
    names = [f"HOST/team/{name}:1" for name in ("one", "two", "three", "none")]
    done = await setup.run(*names, "--tag=2", "-o=json")
    assert done.exit_code == 1
    assert [one["written"] for one in json.loads(done.stdout)] == [True, False, True]
    assert "team/two:1 is not safe" in done.stderr
    assert "no manifest" in done.stderr
    assert "2 of 4 images" in done.stderr
    for name in ("one", "three"):
        assert (await setup.pulled(f"team/{name}:2")).diff_ids == tuple(map(Digest.of, (NEW, APP)))
    several = await setup.run(*names, "--tag=HOST/other:1")
    assert several.exit_code == 2


async def test_a_base_of_another_registry_is_copied(setup: RebaseSetup, tmp_path: Path) -> None:
    await setup.push(APP)
    async with serving(tmp_path / "other") as other:
        await push_made(setup.pusher, f"{other.host}/base:1", made_image(NEW))
        done = await setup.run("HOST/team/app:1", f"--new-base={other.host}/base:1")
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("0 mounted, 1 sent")
    assert (await setup.pulled("team/app:1")).diff_ids == tuple(map(Digest.of, (NEW, APP)))


async def test_what_a_registry_will_not_mount_is_sent(setup: RebaseSetup) -> None:
    await setup.push(APP)
    await setup.update_base(NEW)
    async with MountlessProxy(setup.host) as proxy:
        done = await setup.run("HOST/team/app:1", *named(setup), host=proxy.address)
    assert done.exit_code == 0, done.output
    assert done.stderr.startswith("0 mounted, 1 sent")
    assert (await setup.pulled("team/app:1")).diff_ids == tuple(map(Digest.of, (NEW, APP)))


async def test_every_platform_of_an_index_is_rebased_or_none(setup: RebaseSetup) -> None:
    def platforms(*layers: bytes, **options: Any) -> dict[str, MadeImage]:
        return {
            name: made_image(*layers, architecture=name, author=name, **options)
            for name in ("amd64", "arm64")
        }

    old = await push_made_index(setup.pusher, f"{setup.host}/multi:1", platforms(OLD))
    annotations = {BASE_NAME: f"{setup.host}/multi:1", BASE_DIGEST: str(old.digest)}
    images = platforms(OLD, APP, annotations=annotations)
    about = made_image(author="attestation")
    await push_made(setup.pusher, f"{setup.host}/team/multi:attestation", about)
    attestation = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": str(about.manifest.digest),
        "size": len(about.manifest.raw),
        "platform": {"os": "unknown", "architecture": "unknown"},
    }
    first = await push_made_index(setup.pusher, f"{setup.host}/team/multi:1", images, attestation)
    await setup.run("HOST/team/multi:1", "--tag=HOST/other/multi:same")
    assert (await setup.manifest("other/multi:same")).digest == first.digest
    half = {"amd64": platforms(NEW)["amd64"]}
    await push_made_index(setup.pusher, f"{setup.host}/multi:1", half)
    refused = await setup.run("HOST/team/multi:1")
    assert refused.exit_code == 1
    assert "linux/arm64" in refused.stderr
    new = await push_made_index(setup.pusher, f"{setup.host}/multi:1", platforms(NEW))
    done = await setup.run("HOST/team/multi:1", "-o=json")
    assert done.exit_code == 0, done.output
    index = await setup.manifest("team/multi:1")
    assert isinstance(index, Index)
    assert [str(one.platform) for one in index.manifests] == ["linux/amd64", "linux/arm64"]
    for entry, child in zip(index.manifests, new.manifests, strict=True):
        found = await setup.pulled(f"team/multi@{entry.digest}")
        assert found.diff_ids == tuple(map(Digest.of, (NEW, APP)))
        assert found.platform == entry.platform
        assert found.manifest.annotations[BASE_DIGEST] == str(new.digest)
        assert found.manifest.annotations[BASE_MANIFEST] == str(child.digest)
    one = await setup.run("HOST/team/multi:1", "--platform=linux/arm64", "--tag=arm")
    assert one.exit_code == 0, one.output
    assert (await setup.manifest("team/multi:arm")).digest == index.manifests[1].digest


async def test_a_base_that_nobody_has_named_is_one_that_the_server_knows(
    setup: RebaseSetup,
) -> None:
    old = setup.bases[0].manifest.digest
    await push_made(setup.pusher, f"{setup.host}/team/app:1", made_image(OLD, APP))
    await setup.update_base(NEW)
    alone = await setup.run("HOST/team/app:1")
    assert alone.exit_code == 1
    assert "it records none" in alone.stderr

    asked: list[Any] = []

    bases = [
        {
            "name": f"{setup.host}/{name}:1",
            "image": f"{setup.host}/{name}@{old}",
            "layers": 1,
            "own": True,
        }
        for name in ("gone", "base")
    ]

    async def answer(request: web.Request) -> web.Response:
        asked.append(await request.json())
        return web.json_response({**asked[-1], "status": {"bases": bases}}, status=201)

    application = web.Application()
    path = "/apis/upwell.dev/v1alpha1/namespaces/default/basesearches"
    application.router.add_post(path, answer)
    async with TestServer(application) as server:
        setup.server = str(server.make_url("")).rstrip("/")
        done = await setup.run("HOST/team/app:1", "--tag=rebased")
        bases[0]["image"] = bases[1]["image"]
        several = await setup.run("HOST/team/app:1", "--tag=other")
        bases = [{**bases[1], "own": False}]
        strangers = [
            await setup.run("HOST/team/app:1", "--tag=other", *more)
            for more in ((), ("--new-base=HOST/base:1",))
        ]
    for refused in strangers:
        assert refused.exit_code == 1
        named = f"--old-base {setup.host}/base@{old} --new-base {setup.host}/base:1"
        assert f"if one of them is its base, say so with {named}" in refused.stderr
    assert several.exit_code == 1
    assert f"{setup.host}/base:1, {setup.host}/gone:1 have all had it" in several.stderr
    assert done.exit_code == 0, done.output
    assert f"new base: {setup.host}/base:1@sha256:" in done.stderr
    found = await setup.pulled("team/app:rebased")
    assert found.diff_ids == tuple(map(Digest.of, (NEW, APP)))
    assert found.manifest.annotations[BASE_NAME] == f"{setup.host}/base:1"
    layers = made_image(OLD, APP).manifest.layers
    assert asked[0]["spec"]["layers"] == [str(one.digest) for one in layers]


async def test_a_tag_that_was_pushed_to_meanwhile_stays(setup: RebaseSetup) -> None:
    await setup.push(APP)
    await setup.update_base(NEW)
    pushed: list[MadeImage] = []

    async def meanwhile(_request: web.Request) -> None:
        if not pushed:
            setup.bases.append(setup.bases[0])
            pushed.append(await setup.push(APP, author="somebody"))

    async with NotingProxy(setup.host, meanwhile, "blobs/uploads") as proxy:
        done = await setup.run("HOST/team/app:1", *named(setup), host=proxy.address)
    assert done.exit_code == 1
    assert "pushed to meanwhile" in done.stderr
    assert (await setup.manifest("team/app:1")).digest == pushed[0].manifest.digest


async def test_a_registry_that_gives_the_old_digest_for_a_while_after_a_push_loses_no_push(
    setup: RebaseSetup,
) -> None:
    old = await setup.push(APP)
    new = await setup.push(APP, author="somebody")
    await setup.update_base(NEW)
    proxy = OutdatedProxy(setup.host, "team/app/manifests/1", old)
    async with proxy:
        done = await setup.run("HOST/team/app:1", *named(setup), host=proxy.address)
        assert done.exit_code == 1
        assert "pushed to meanwhile" in done.stderr
        assert (await setup.manifest("team/app:1")).digest == new.manifest.digest

        proxy.outdated = 1  # the next one writes what it has read, and asks for no tag afterwards
        done = await setup.run(
            "HOST/team/app:1", *named(setup), "--tag=rebased", host=proxy.address
        )
        assert done.exit_code == 0, done.output
    assert (await setup.pulled("team/app:rebased")).diff_ids == tuple(map(Digest.of, (NEW, APP)))


async def test_cut_off_at_any_request_the_tag_names_a_whole_image(setup: RebaseSetup) -> None:
    image = await setup.push(APP)
    await setup.update_base(NEW, MORE)
    arguments = ("HOST/team/app:1", *named(setup))
    outcomes = list[str]()
    for allowed in range(40):
        async with CuttingProxy(setup.host, allowed) as proxy:
            done = await setup.run(*arguments, host=proxy.address)
        found = await setup.pulled("team/app:1")
        assert found.digest == image.manifest.digest or done.exit_code == 0
        assert done.exit_code in {0, 1}, done.output
        outcomes.append(f"{allowed}: {done.exit_code}")
        if done.exit_code == 0:
            break
    assert (await setup.pulled("team/app:1")).diff_ids == tuple(map(Digest.of, (NEW, MORE, APP)))
    assert len(outcomes) > 10


async def test_few_requests_suffice(setup: RebaseSetup) -> None:
    await setup.push(APP)
    await setup.update_base(NEW, MORE)
    asked = list[str]()

    async def note(request: web.Request) -> None:
        asked.append(f"{request.method} {request.path_qs}")

    arguments = ("HOST/team/app:1", *named(setup))
    assert (await setup.run(*arguments, "--dry-run")).exit_code == 0  # the layers are known
    async with NotingProxy(setup.host, note) as proxy:
        done = await setup.run(*arguments, host=proxy.address)
    assert done.exit_code == 0, done.output
    writes = [one for one in asked if one.split()[0] in {"POST", "PUT", "PATCH"}]
    after = asked[asked.index(writes[0]) :]
    assert len(after) <= 2 + 3 + 2, after  # two layers; floor of three more; two over it
    assert len(asked) - len(after) <= 2 + 3 + 2, asked  # image, old and new base, each once


def named(setup: RebaseSetup) -> tuple[str, str]:
    """Return the options for the two bases, by the same registry as the image."""
    return f"--old-base=HOST/base@{setup.bases[0].manifest.digest}", "--new-base=HOST/base:1"


type Note = Callable[[web.Request], Awaitable[None]]


class ForwardingProxy(RegistryProxy):
    """Passes requests on with their bodies, and is open as long as its context."""

    async def __aenter__(self) -> RegistryProxy:
        await self.start()
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.stop()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        return await forwarded(self.registry, request, request.path_qs)


class NotingProxy(ForwardingProxy):
    """Tells of each request whose path holds a text, before it passes it on."""

    def __init__(self, host: str, note: Note, part: str = "") -> None:
        super().__init__(host)
        self._note, self._part = note, part

    async def answer(self, request: web.Request) -> web.StreamResponse:
        if self._part in request.path:
            await self._note(request)
        return await super().answer(request)


class CuttingProxy(ForwardingProxy):
    """Passes a number of requests on, and then none."""

    def __init__(self, host: str, allowed: int) -> None:
        super().__init__(host)
        self._left = allowed

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self._left -= 1
        if self._left < 0:
            if request.transport is not None:
                request.transport.abort()
            raise ConnectionResetError
        return await super().answer(request)


class OutdatedProxy(ForwardingProxy):
    """Answers some questions for a tag with the image that it had before."""

    def __init__(self, host: str, path: str, before: MadeImage) -> None:
        super().__init__(host)
        self._path, self._before = f"/v2/{path}", before
        self.outdated = 1

    async def answer(self, request: web.Request) -> web.StreamResponse:
        is_asked = request.path == self._path and request.method in {"GET", "HEAD"}
        if not is_asked or not self.outdated:
            return await super().answer(request)
        self.outdated -= 1
        manifest = self._before.manifest
        headers = {
            "Docker-Content-Digest": str(manifest.digest),
            "Content-Type": str(manifest.media_type),
        }
        return web.Response(body=manifest.raw, headers=headers)


class MountlessProxy(ForwardingProxy):
    """Begins an upload where a blob is to be mounted, as the specification lets a registry do."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        target = request.path if "mount" in request.query else request.path_qs
        return await forwarded(self.registry, request, target)


async def forwarded(host: str, request: web.Request, target: str) -> web.Response:
    headers = {k: v for k, v in request.headers.items() if k.lower() != "host"}
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(
            request.method,
            f"http://{host}{target}",
            headers=headers,
            data=await request.read(),
        ) as found,
    ):
        kept = {k: v for k, v in found.headers.items() if k.lower() != "transfer-encoding"}
        return web.Response(body=await found.read(), status=found.status, headers=kept)
