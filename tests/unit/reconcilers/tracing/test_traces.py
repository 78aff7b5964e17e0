import pytest
from tests.support.tracing.traced_store import (
    APP,
    BASE,
    BUILDER,
    NAMESPACE,
    TracedStore,
    build,
    complete,
    deployment,
    ended,
    revision,
    running,
    stream,
    with_revisions,
)

from upwell.api.builds.build import Build, BuildPhase
from upwell.api.image import ImageStream, ImageStreamStatus
from upwell.formats.trace_context import TraceContext
from upwell.policy.tracing.spans import TRACEPARENT_ANNOTATION, context_of


@pytest.fixture
def traced() -> TracedStore:
    return TracedStore()


async def test_a_chain_of_builds_and_the_rollout_at_its_end_are_one_trace(
    traced: TracedStore,
) -> None:
    await traced.put(stream(traced, "base", BASE))
    first = await complete(traced, "builder", BUILDER, ("base", BASE))
    second = await complete(traced, "app", APP, ("builder", BUILDER))
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    (record,) = workload.status.revisions
    done = record.model_copy(update={"phase": "Complete", "live_at": traced.clock()})
    await traced.put(with_revisions(workload, done))

    imported, rollout = traced.recorder.named("import"), traced.recorder.named("rollout")
    builds = {s.attributes["upwell.name"]: s for s in traced.recorder.spans if s.name == "build"}
    assert imported.parent is None
    assert builds["builder-1"].parent == imported.context
    assert builds["app-1"].parent == builds["builder-1"].context
    assert rollout.parent == builds["app-1"].context
    assert {span.context.trace_id for span in traced.recorder.spans} == {imported.context.trace_id}
    assert (context_of(first), context_of(second)) == (
        builds["builder-1"].context,
        builds["app-1"].context,
    )
    steps = [s.name for s in traced.recorder.spans if s.parent == rollout.context]
    assert steps == ["rollout start", "rollout replace"]


async def test_each_span_is_told_once(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    await complete(traced, "app", APP, ("base", BASE))
    told = list(traced.recorder.spans)
    await traced.look()
    assert traced.recorder.spans == told


async def test_what_ended_before_the_start_is_not_told_again(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    await complete(traced, "app", APP, ("base", BASE))
    await traced.put(deployment(revision(traced, APP)))
    told = list(traced.recorder.spans)
    traced.restart()
    await traced.look()
    assert traced.recorder.spans == told


async def test_a_rollout_that_outlives_the_process_is_told_by_the_next(traced: TracedStore) -> None:
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    traced.restart()
    await traced.look()
    (record,) = workload.status.revisions
    await traced.put(with_revisions(workload, record.model_copy(update={"phase": "Complete"})))
    assert traced.recorder.named("rollout").start == record.created


async def test_a_build_stays_in_its_trace_when_its_causes_are_gone(traced: TracedStore) -> None:
    await traced.put(stream(traced, "base", BASE))
    made = await traced.put(build("app", ("base", BASE)))
    imported = traced.recorder.named("import")
    await traced.store.delete(ImageStream, NAMESPACE, "base")
    await traced.put(ended(traced, made, BuildPhase.COMPLETE, APP))
    span = traced.recorder.named("build")
    assert span.context.trace_id == imported.context.trace_id
    assert span.context == context_of(made)


async def test_a_rollout_that_another_one_overtakes_has_failed(traced: TracedStore) -> None:
    workload = await traced.put(deployment(revision(traced, BASE, phase="Progressing")))
    (old,) = workload.status.revisions
    over = old.model_copy(update={"phase": "Failed", "message": "superseded by revision 2"})
    new = revision(traced, APP, number=2, phase="Progressing")
    workload = await traced.put(with_revisions(workload, new, over))
    assert traced.recorder.named("rollout").failure == "superseded by revision 2"
    assert context_of(workload) != traced.recorder.named("rollout").context


async def test_a_tag_that_has_a_builds_image_before_the_build_ends_waits_for_that(
    traced: TracedStore,
) -> None:
    """A build tags its image, which is rolled out, and only then writes its result."""
    await traced.put(stream(traced, "base", BASE))
    made = await running(traced, "app", ("base", BASE))
    tagged = await traced.put(stream(traced, "app", APP, imported=False))
    workload = await traced.put(deployment(revision(traced, APP)))
    assert [span.name for span in traced.recorder.spans] == ["import"]
    assert context_of(workload) is None

    done = ended(traced, made, BuildPhase.COMPLETE, APP)
    assert set(traced.reconciler.woken(made, done)) == {made.key, tagged.key, workload.key}
    await traced.put(done)
    build_span, rollout = traced.recorder.named("build"), traced.recorder.named("rollout")
    assert rollout.parent == build_span.context
    assert [span.name for span in traced.recorder.spans] == ["import", "build", "rollout"]


async def test_a_rollout_under_way_is_annotated_once_the_build_of_its_image_has_ended(
    traced: TracedStore,
) -> None:
    made = await running(traced, "app")
    await traced.put(stream(traced, "app", APP, imported=False))
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    assert context_of(workload) is None

    done = ended(traced, made, BuildPhase.COMPLETE, APP)
    assert workload.key in set(traced.reconciler.woken(made, done))


async def test_one_that_nothing_is_to_be_told_of_any_more_waits_for_no_build(
    traced: TracedStore,
) -> None:
    made = await running(traced, "app")
    tagged = await traced.put(stream(traced, "app", APP, imported=False))
    workload = await traced.put(deployment(revision(traced, APP, phase="Progressing")))
    done = ended(traced, made, BuildPhase.COMPLETE, APP)
    assert {tagged.key, workload.key} < set(traced.reconciler.woken(made, done))

    await traced.put(with_revisions(workload))
    await traced.put(tagged.with_status(ImageStreamStatus()))
    assert set(traced.reconciler.woken(made, done)) == {made.key}


async def test_a_build_that_has_its_annotation_waits_for_no_other(traced: TracedStore) -> None:
    first = await running(traced, "app")
    await traced.put(stream(traced, "app", APP, imported=False))
    second = await traced.put(build("web", ("app", APP)))
    done = ended(traced, first, BuildPhase.COMPLETE, APP)
    assert second.key in set(traced.reconciler.woken(first, done))

    await traced.put(done)
    await traced.look()
    assert context_of(await traced.store.get(Build, NAMESPACE, second.name)) is not None
    assert second.key not in set(traced.reconciler.woken(first, done))


async def test_a_push_beside_a_build_that_fails_is_told_at_its_end(traced: TracedStore) -> None:
    made = await running(traced, "app")
    pushed = await traced.put(stream(traced, "app", APP, imported=False))
    seen = traced.clock()
    traced.clock.advance(600)
    await traced.put(ended(traced, made, BuildPhase.FAILED, reason="PostCommitHookFailed"))
    push = traced.recorder.named("push")
    assert push.start == pushed.status.tags[0].items[0].created
    assert push.end <= seen, "as soon as it was seen"


async def test_a_push_from_before_a_build_waits_for_none(traced: TracedStore) -> None:
    pushed = stream(traced, "app", APP, imported=False)
    traced.clock.advance(1)
    await running(traced, "app")
    await traced.put(pushed)
    assert traced.recorder.named("push").attributes["upwell.name"] == "app"


async def test_a_pruned_build_makes_no_push_of_its_image(traced: TracedStore) -> None:
    made = await complete(traced, "app", APP)
    await traced.store.delete(Build, NAMESPACE, made.name)
    await traced.look()
    assert [span.name for span in traced.recorder.spans] == ["build", "build Build"]


async def test_a_rollout_is_told_once_whatever_is_known_of_its_image_later(
    traced: TracedStore,
) -> None:
    workload = await traced.put(deployment(revision(traced, APP)))
    (first,) = workload.status.revisions
    told = traced.recorder.named("rollout")
    await complete(traced, "app", APP)
    await traced.put(
        with_revisions(workload, revision(traced, BASE, number=2, phase="Progressing"), first)
    )
    await traced.look()  # the workload carries the context of the second now
    assert [span for span in traced.recorder.spans if span.name == "rollout"] == [told]


@pytest.mark.parametrize("text", ["", "nonsense", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"])
async def test_an_annotation_that_is_no_traceparent_is_replaced(
    traced: TracedStore, text: str
) -> None:
    made = build("app").with_metadata(annotations={TRACEPARENT_ANNOTATION: text})
    put = await traced.put(made)
    assert context_of(put) == TraceContext.root(put.uid)
