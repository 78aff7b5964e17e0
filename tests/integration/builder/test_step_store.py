"""The store of kept steps, after what people and machines do to the folders of a builder."""

import subprocess
from collections.abc import Iterator
from dataclasses import replace

import pytest
from tests.support.builds.base_images import BaseImages, Log, run

from upwell.builder.buildah import BuildahBuilder, BuildahSettings
from upwell.builder.interface import BuilderStrategy, BuildPlan

STEPS = "FROM base\nRUN echo first > /first\nRUN cat /first > /second\n"


@pytest.fixture
def own(settings: BuildahSettings) -> Iterator[BuildahSettings]:
    """A builder with stores of its own."""
    place = settings.work_dir
    yield replace(settings, storage_root=place / "storage", run_root=place / "run")
    for store in ("storage", "steps"):
        subprocess.run(["umount", place / store / "overlay"], check=False, capture_output=True)


async def found_steps(builder: BuildahBuilder, images: BaseImages) -> int:
    """Build; return how many steps were found again."""
    log = Log()
    plan = BuildPlan(
        id="uid-steps",
        namespace="shop",
        name="steps-1",
        strategy=BuilderStrategy.DOCKER,
        context=None,
        images={"base": images.base},
        dockerfile=STEPS,
        push=None,
        insecure_registries=frozenset({images.registry}),
        step_scope="scope",
    )
    await builder.build(plan, log)
    await builder.discard(plan.id)
    return log.text.count("Using cache")


async def test_steps_on_a_base_that_was_removed_and_pulled_anew_are_made_again(
    own: BuildahSettings, images: BaseImages
) -> None:
    builder = BuildahBuilder(own)
    assert await found_steps(builder, images) == 0
    pulled = (f"--root={own.storage_root}", f"--runroot={own.run_root}")
    run("buildah", *pulled, "rmi", "--all", "--force")
    assert await found_steps(builder, images) < 3  # the label is no layer
    assert await found_steps(builder, images) == 3
