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
    stream,
    with_revisions,
)

from upwell.api.builds.build import BuildPhase
from upwell.api.image import (
    ImageStream,
)
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


@pytest.mark.parametrize("text", ["", "nonsense", "00-" + "g" * 32 + "-" + "0" * 16 + "-01"])
async def test_an_annotation_that_is_no_traceparent_is_replaced(
    traced: TracedStore, text: str
) -> None:
    made = build("app").with_metadata(annotations={TRACEPARENT_ANNOTATION: text})
    put = await traced.put(made)
    assert context_of(put) == TraceContext.root(put.uid)
