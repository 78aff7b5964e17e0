"""The loop on real parts: a base image changes, and all that stands on it follows, once."""

from collections.abc import Sequence
from datetime import datetime
from functools import partial

import aiohttp
from tests.support.installation.applications import (
    SOURCES,
    base_stream,
    docker_build,
    stream,
    two_applications,
)
from tests.support.installation.installation import Installation, until
from tests.support.installation.traffic import answer, traffic
from tests.support.installation.vendor_images import publish

from upwell.api.apps import Deployment, DeploymentConfig
from upwell.api.builds.build import Build, BuildPhase
from upwell.api.builds.config import BuildConfig
from upwell.api.conditions import find
from upwell.api.core import Service
from upwell.api.image import ImageStream
from upwell.api.meta import Resource
from upwell.api.route import Route
from upwell.store.interface import ApiClient

KINDS: Sequence[type[Resource]] = (
    BuildConfig,
    Build,
    Deployment,
    DeploymentConfig,
    ImageStream,
    Route,
    Service,
)


async def test_a_base_change_reaches_every_application_once(
    made: Installation, client: ApiClient
) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    made.commit("applications", SOURCES)
    manifests = two_applications(made.vendor, f"{made.git}/applications")
    await made.apply(client, manifests)
    await served(made, "1.0")

    async with traffic(made.router_port, ["shop.test", "gate.test"]) as seen:
        await publish(made.vendor, "vendor/base:1", "2.0")
        await served(made, "2.0")
        await until(lambda: settled(made, client), bool)

    assert [failure for one in seen.values() for failure in one.failures] == []
    assert set(seen["shop.test"].answers) == {"shop 1.0", "shop 2.0"}
    assert {build.name: build.status.phase for build in await builds(client)} == {
        f"{name}-{number}": BuildPhase.COMPLETE
        for name in ("builder", "gate", "shop")
        for number in (1, 2)
    }
    for name in ("builder", "gate", "shop"):
        assert len(made.inputs_tags(f"default/{name}")) == 2
    assert len(made.podman_names()) == 2
    assert (made.working_containers(), made.build_folders()) == (set(), [])

    before = await versions(client)
    await made.apply(client, manifests)
    await publish(made.vendor, "vendor/base:1", "2.0")
    assert await call_webhook(made, "vendor/base", "1") == 1
    await two_checks(client, "base")
    assert await versions(client) == before


async def test_a_second_image_of_a_dockerfile_is_followed(
    made: Installation, client: ApiClient
) -> None:
    for name in ("base", "tools"):
        await publish(made.vendor, f"vendor/{name}:1", f"{name} 1")
    dockerfile = (
        f"FROM {made.vendor}/vendor/tools:1 AS tools\n"
        "FROM base:1\n"
        "COPY --from=tools /etc/base-version /tools-version\n"
    )
    streams = base_stream(made.vendor) + base_stream(made.vendor, "tools") + stream("app")
    await made.apply(client, streams)

    async def imported() -> bool:
        found = [await client.get(ImageStream, "default", name) for name in ("base", "tools")]
        return all(one.status.tag("1") is not None for one in found)

    await until(imported, bool)  # else the first build may begin before, and a second one follow
    await made.apply(client, docker_build("app", dockerfile=dockerfile))
    await until(lambda: ended(client), {"app-1": BuildPhase.COMPLETE}.__eq__)

    await publish(made.vendor, "vendor/tools:1", "tools 2")
    await until(lambda: ended(client), {f"app-{n}": BuildPhase.COMPLETE for n in (1, 2)}.__eq__)
    await two_checks(client, "tools")

    last = (await builds(client))[-1]
    (cause,) = last.spec.triggered_by
    assert cause.image_change_build is not None
    assert cause.image_change_build.from_ref is not None
    assert cause.image_change_build.from_ref.name == "tools:1"
    assert len(await builds(client)) == 2


async def test_the_tip_of_a_diamond_is_built_once_after_both_sides(
    made: Installation, client: ApiClient
) -> None:
    await publish(made.vendor, "vendor/base:1", "1.0")
    side = "FROM base:1\nRUN cp /etc/base-version /side\n"
    slow = "FROM base:1\nRUN sleep 1; cp /etc/base-version /side\n"
    tip = (
        "FROM left:latest\n"
        f"COPY --from=127.0.0.1:{made.port}/default/right:latest /side /right\n"
        'RUN echo "tip $(cat /side) $(cat /right)" > /tip\n'
    )
    follows_right = (
        "- type: ImageChange\n  imageChange: {from: {kind: ImageStreamTag, name: 'right:latest'}}\n"
    )
    await made.apply(
        client,
        base_stream(made.vendor)
        + "".join(stream(name) for name in ("left", "right", "tip"))
        + docker_build("left", dockerfile=side)
        + docker_build("right", dockerfile=slow)
        + docker_build("tip", base="left:latest", dockerfile=tip, extra=follows_right),
    )
    await until(lambda: ended(client), complete("left-1", "right-1", "tip-1").__eq__)

    await publish(made.vendor, "vendor/base:1", "2.0")
    everything = complete(*(f"{name}-{n}" for name in ("left", "right", "tip") for n in (1, 2)))
    await until(lambda: ended(client), everything.__eq__)
    await two_checks(client, "base")

    by_name = {build.name: build for build in await builds(client)}
    assert by_name.keys() == everything.keys()
    tip_build = by_name["tip-2"]
    assert {entry.image.partition("@")[2] for entry in tip_build.spec.image_inputs} == {
        made_image(by_name["left-2"]),
        made_image(by_name["right-2"]),
    }
    assert len(tip_build.spec.triggered_by) == 2


def made_image(build: Build) -> str:
    output = build.status.output
    assert output is not None
    assert output.to is not None
    return output.to.image_digest


async def served(made: Installation, version: str) -> None:
    for name in ("shop", "gate"):
        await until(partial(answer, made.router_port, f"{name}.test"), f"{name} {version}".__eq__)


async def settled(made: Installation, client: ApiClient) -> bool:
    """Tell whether the rollouts are over: one container for each workload, and objects say so."""
    workloads: list[Deployment | DeploymentConfig] = [
        await client.get(Deployment, "default", "shop"),
        await client.get(DeploymentConfig, "default", "gate"),
    ]
    revisions = [workload.status.revisions[0] for workload in workloads]
    return {each.phase for each in revisions} == {"Complete"} and len(made.podman_names()) == 2


async def builds(client: ApiClient) -> Sequence[Build]:
    return (await client.list(Build)).items


async def ended(client: ApiClient) -> dict[str, BuildPhase]:
    return {build.name: build.status.phase for build in await builds(client)}


def complete(*names: str) -> dict[str, BuildPhase]:
    return dict.fromkeys(names, BuildPhase.COMPLETE)


async def versions(client: ApiClient) -> dict[str, str | None]:
    """The resourceVersion of every object but the stream whose checks are counted."""
    return {
        str(each.key): each.metadata.resource_version
        for kind in KINDS
        for each in (await client.list(kind)).items
        if (kind, each.name) != (ImageStream, "base")
    }


async def two_checks(client: ApiClient, name: str) -> None:
    """Wait until upstream was asked twice from now on: what would follow has begun then."""
    seen = {await last_check(client, name)}

    async def checks() -> int:
        seen.add(await last_check(client, name))
        return len(seen)

    await until(checks, lambda count: count > 3)


async def last_check(client: ApiClient, name: str) -> datetime | None:
    tag = (await client.get(ImageStream, "default", name)).status.tag("1")
    assert tag is not None
    assert find(tag.conditions, "ImportSuccess") is None
    return tag.import_state.last_check_time if tag.import_state else None


async def call_webhook(made: Installation, repository: str, tag: str) -> int:
    """Tell the server of a push as distribution does; return how many tags follow it."""
    event = {
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "repository": repository,
            "tag": tag,
        },
    }
    async with (
        aiohttp.ClientSession() as session,
        session.post(f"{made.url}/webhooks/registry", json={"events": [event]}) as response,
    ):
        noted: int = (await response.json())["noted"]
        return noted
