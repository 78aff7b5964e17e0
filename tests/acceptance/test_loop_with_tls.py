"""The loop when the API and the registry speak TLS alone, with a generated certificate."""

from functools import partial

from tests.support.installation.applications import (
    base_stream,
    deployment,
    docker_build,
    published,
    stream,
)
from tests.support.installation.installation import installation, until
from tests.support.installation.traffic import answer
from tests.support.installation.vendor_images import publish

DOCKERFILE = (
    'FROM base:1\nRUN mkdir -p /www && cp /etc/base-version /www/index.html\nCMD ["serve"]\n'
)


async def test_builds_push_and_workloads_pull_by_the_servers_own_certificate() -> None:
    async with installation("--tls") as made:
        await publish(made.vendor, "vendor/base:1", "1.0")
        async with made.client() as client:
            await made.apply(
                client,
                base_stream(made.vendor)
                + stream("app")
                + docker_build("app", dockerfile=DOCKERFILE)
                + deployment("app")
                + published("app"),
            )
        asked = partial(answer, made.router_port, "app.test")
        await until(asked, "1.0".__eq__)
        await publish(made.vendor, "vendor/base:1", "2.0")
        await until(asked, "2.0".__eq__)
        shown = made.upwell("status")
        assert "1 of 1 workloads run the newest of what they follow" in shown.stdout, shown.stderr
        assert made.url.startswith("https://")
