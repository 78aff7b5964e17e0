"""Room that a build takes in Buildah's storage while it runs."""

import asyncio

from tests.support.builds.base_images import BaseImages, Log

from upwell.builder.buildah import BuildahBuilder
from upwell.builder.interface import BuilderStrategy, BuildPlan

MEBIBYTE = 1024**2
IDLE = "FROM base:1\nRUN echo begun $((1 + 1)) && sleep 600\n"
WRITING = """\
FROM base:1
RUN dd if=/dev/zero of=/first bs=1M count=6
FROM base:1
COPY --from=0 /first /copy
RUN dd if=/dev/zero of=/second bs=1M count=9 && echo written $((1 + 1)) && sleep 600
"""


def plan(images: BaseImages, dockerfile: str) -> BuildPlan:
    return BuildPlan(
        id="uid-room",
        namespace="shop",
        name="room-1",
        strategy=BuilderStrategy.DOCKER,
        context=None,
        images={"base:1": images.base},
        push=None,
        dockerfile=dockerfile,
        insecure_registries=frozenset({images.registry}),
        no_cache=True,
    )


async def used_at(builder: BuildahBuilder, images: BaseImages, dockerfile: str, line: str) -> int:
    """Return the room of a build whose log has come to `line`, and end it."""
    log = Log()
    await builder.storage_used("uid-room")
    task = asyncio.create_task(builder.build(plan(images, dockerfile), log))
    async with asyncio.timeout(60):
        while line not in log.text:
            assert not task.done(), log.text
            await builder.storage_used("uid-room")
            await asyncio.sleep(0.1)
    used = await builder.storage_used("uid-room")
    task.cancel()
    await asyncio.wait([task])
    await builder.discard("uid-room")
    assert await builder.storage_used("uid-room") == 0
    return used


async def test_all_that_steps_have_written_counts(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    used = await used_at(builder, images, WRITING, "written 2")
    assert 21 * MEBIBYTE <= used < 64 * MEBIBYTE  # the store has layers twice while it makes them


async def test_the_base_is_no_room_of_its_builds(
    builder: BuildahBuilder, images: BaseImages
) -> None:
    assert await used_at(builder, images, IDLE, "begun 2") < MEBIBYTE
