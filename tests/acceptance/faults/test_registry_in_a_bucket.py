"""A server whose images lie in a bucket: audit of pushes, pruning, and a bucket that is away."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import aiohttp
from aiohttp import web
from tests.support.faults.on_demand import on_demand
from tests.support.installation.installation import Installation, installation, until
from tests.support.registry.docker_registry import push_image
from tests.support.s3.settings import bucket_settings
from tests.support.s3.strict_server import StrictS3, error, strict_s3

from upwell.oci import Digest, Manifest

GONE, KEPT = "default/gone", "default/kept"
OLD = timedelta(days=2)


@on_demand(
    "tests/integration/registry/bucket/test_bucket_replicas.py"
    "::test_content_that_is_let_go_of_is_removed_and_nothing_else",
    "tests/integration/registry/bucket/test_bucket_faults.py"
    "::test_a_bucket_that_is_away_is_503_to_clients_and_back",
)
async def test_pushes_are_audited_pruned_and_wait_for_a_bucket_that_is_away(
    tmp_path: Path,
) -> None:
    async with strict_s3() as s3:
        settings = bucket_settings(tmp_path, s3.url, prefix="ours")
        async with installation("--config", str(settings)) as made:
            gone, kept = await pushed(made, GONE, b"{}"), await pushed(made, KEPT, b"[]")
            assert audited(made) == {GONE, KEPT}

            await upwell(made, "delete", "is/gone", "--wait")
            grow_old(s3)
            pruned = json.loads(await upwell(made, "prune", "--confirm", "-o", "json"))
            removed = {one["name"] for one in pruned["status"]["items"]}
            assert f"{GONE}@{gone.digest}" in removed
            assert contents(s3) == {kept.raw, b"[]"}

            async def away(_: web.BaseRequest) -> web.StreamResponse | None:
                return error(503, "SlowDown")

            s3.fault = away
            assert await status(made) == 503
            s3.fault = None

            async def answered() -> int:
                return await status(made)

            await until(answered, (200).__eq__)


async def pushed(made: Installation, repository: str, config: bytes) -> Manifest:
    """Push an image under the one tag, and wait for its stream, which the push makes."""
    host, login = f"127.0.0.1:{made.port}", f"Bearer {made.token}"
    return await push_image(host, repository, "v1", config=config, login=login)


async def upwell(made: Installation, *arguments: str) -> str:
    """Run a command while the bucket, which this process serves, answers; return its output."""
    done = await asyncio.to_thread(made.upwell, *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def audited(made: Installation) -> set[str]:
    """Return the repositories of which the audit log has the push of a manifest."""
    lines = map(json.loads, (made.data_dir / "audit.log").read_text().splitlines())
    return {one["name"] for one in lines if (one["verb"], one["code"]) == ("push", 201)}


def grow_old(s3: StrictS3) -> None:
    """Date all content back, and when it was used."""
    for key, one in s3.objects.items():
        raw = one.raw
        if key.endswith("/_index"):
            document = json.loads(raw)
            links = [manifest["link"] for manifest in document["manifests"].values()]
            for link in (*links, *document["blobs"].values()):
                link[2] -= OLD.total_seconds()
            for tag in document["tags"].values():
                tag[1] -= OLD.total_seconds()
            raw = json.dumps(document).encode()
        etag = f'"{Digest.of(raw).hex[:32]}"'
        s3.objects[key] = replace(one, raw=raw, etag=etag, changed=one.changed - OLD)


def contents(s3: StrictS3) -> set[bytes]:
    """Return the bytes of all content in the bucket."""
    return {one.raw for key, one in s3.objects.items() if key.startswith("ours/contents/")}


async def status(made: Installation) -> int:
    """Return the status of the answer to a HEAD for the tag."""
    url = f"{made.url}/v2/{KEPT}/manifests/v1"
    headers = {
        "Authorization": f"Bearer {made.token}",
        "Accept": "application/vnd.oci.image.manifest.v1+json",
    }
    async with aiohttp.ClientSession() as session, session.head(url, headers=headers) as answer:
        return answer.status
