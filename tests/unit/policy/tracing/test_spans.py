"""Spans of imports, builds and rollouts: parents, links, times and failures."""

from datetime import timedelta

import pytest
from tests.support.tracing.traced_store import (
    APP,
    BASE,
    BUILDER,
    TracedStore,
    build,
    complete,
    deployment,
    ended,
    revision,
    stream,
    tag,
)

from upwell.api.apps import (
    HookResult,
)
from upwell.api.builds.build import BuildPhase
from upwell.api.image import (
    ImageStreamSpec,
    TagReference,
)
from upwell.formats.trace_context import TraceContext
from upwell.policy.tracing.spans import context_of


@pytest.fixture
def traced() -> TracedStore:
    return TracedStore()


async def test_a_stage_lasts_as_long_as_its_build_says(traced: TracedStore) -> None:
    await complete(traced, "app", APP)
    stage = traced.recorder.named("build Build")
    assert (stage.end - stage.start, stage.parent) == (
        timedelta(seconds=1.5),
        traced.recorder.named("build").context,
    )


async def test_of_several_causes_all_but_the_first_are_links(traced: TracedStore) -> None:
    for name, digest in (("base", BASE), ("tools", BUILDER)):
        await traced.put(stream(traced, name, digest))
    made = await traced.put(build("app", ("base", BASE), ("tools", BUILDER)))
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    imports = {
        s.attributes["upwell.name"]: s.context for s in traced.recorder.spans if s.name == "import"
    }
    span = traced.recorder.named("build")
    assert (span.parent, span.links) == (imports["base"], (imports["tools"],))


async def test_a_failure_says_why(traced: TracedStore) -> None:
    made = await traced.put(build("app"))
    why = {"reason": "FetchSourceFailed", "message": "no such repository"}
    await traced.put(ended(traced, made, BuildPhase.FAILED, **why))
    assert traced.recorder.named("build").failure == "FetchSourceFailed: no such repository"


async def test_hooks_follow_one_another(traced: TracedStore) -> None:
    record = revision(traced, APP)
    begun = record.created
    hooks = {
        moment: HookResult(phase=phase, ended=begun + timedelta(seconds=at), message=moment)
        for moment, phase, at in (("post", "Failed", 9), ("pre", "Complete", 4))
    }
    await traced.put(deployment(record.model_copy(update={"hooks": hooks})))
    pre, post = (traced.recorder.named(f"rollout hook {moment}") for moment in ("pre", "post"))
    assert (pre.start, pre.end, pre.failure) == (begun, begun + timedelta(seconds=4), "")
    assert (post.start, post.failure) == (pre.end, "post")


@pytest.mark.parametrize(("imported", "name"), [(True, "import"), (False, "push")])
async def test_an_image_from_outside_was_imported_or_pushed(
    traced: TracedStore, name: str, *, imported: bool
) -> None:
    await traced.put(stream(traced, "base", BASE, imported=imported))
    assert [span.name for span in traced.recorder.spans] == [name]


async def test_a_tag_that_follows_another_has_the_trace_of_its_source(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    follower = stream(traced, "copy", BASE, imported=False)
    spec = ImageStreamSpec(tags=(TagReference(name="latest", from_=tag("base")),))
    await traced.put(follower.model_copy(update={"spec": spec}))
    made = await traced.put(build("app", ("copy", BASE)))
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    assert traced.recorder.named("build").parent == traced.recorder.named("import").context


async def test_tags_that_follow_one_another_in_a_circle_end_the_search(traced: TracedStore) -> None:
    for name, other in (("a", "b"), ("b", "a")):
        spec = ImageStreamSpec(tags=(TagReference(name="latest", from_=tag(other)),))
        circular = stream(traced, name, BASE, imported=False)
        await traced.put(circular.model_copy(update={"spec": spec}))
    made = await traced.put(build("app", ("a", BASE)))
    assert context_of(made) == TraceContext.root(made.uid)
