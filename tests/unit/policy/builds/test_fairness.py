"""Fair shares of build slots, of any builds in any order."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from upwell.api.meta import ObjectKey
from upwell.policy.builds.fairness import FairQueue, QueuedBuild

NOW = datetime(2026, 5, 1, tzinfo=UTC)


def queued(
    namespace: str,
    config: str,
    number: int,
    waited: int = 0,
    dependents: int = 0,
    *,
    urgency: int = 0,
    own_urgency: int = 0,
) -> QueuedBuild:
    return QueuedBuild(
        ObjectKey("Build", namespace, f"{config}-{number}"),
        ObjectKey("BuildConfig", namespace, config),
        NOW - timedelta(seconds=waited),
        number,
        dependents,
        urgency,
        own_urgency,
    )


def queue_of(builds: Sequence[QueuedBuild]) -> FairQueue:
    queue = FairQueue()
    for build in builds:
        queue.add(build)
    return queue


def started(queue: FairQueue, builds: Sequence[QueuedBuild]) -> QueuedBuild:
    """Start the build whose turn it is."""
    key = queue.first()
    build = next(build for build in builds if build.key == key)
    queue.start(build)
    return build


def order(builds: Sequence[QueuedBuild], slots: int = 1) -> list[str]:
    """Return the names of builds in the order in which they begin, each as long as the others."""
    queue, running, names = queue_of(builds), list[QueuedBuild](), list[str]()
    while len(queue):
        if len(running) == slots:
            queue.finish(running.pop(0).key)
        running.append(started(queue, builds))
        names.append(f"{running[-1].key.namespace}/{running[-1].key.name}")
    return names


def test_the_most_urgent_change_is_built_first_and_namespaces_still_take_turns() -> None:
    late = queued("many", "late", 1, waited=1, urgency=3)
    early = queued("many", "early", 1, waited=5000, dependents=9)
    trivial = queued("many", "trivial", 1, waited=9000, urgency=-1)
    other = queued("other", "web", 1)
    assert order([trivial, early, late, other]) == [
        "many/late-1",
        "other/web-1",
        "many/early-1",
        "many/trivial-1",
    ]


def test_what_a_namespace_calls_urgent_is_so_there_alone() -> None:
    pushy = [queued("pushy", "app", 1, waited=1, own_urgency=3), queued("pushy", "b", 1, waited=9)]
    assert order([*pushy, queued("early", "web", 1, waited=50)]) == [
        "early/web-1",
        "pushy/app-1",
        "pushy/b-1",
    ]


def test_a_build_that_waits_moves_when_its_change_becomes_urgent() -> None:
    builds = [queued("shop", "app", 1, waited=9), queued("shop", "web", 1, waited=1)]
    queue = queue_of(builds)
    assert queue.first() == builds[0].key
    queue.add(queued("shop", "web", 1, waited=1, urgency=3))
    assert queue.first() == builds[1].key
    queue.add(builds[1])
    assert queue.first() == builds[0].key


def test_namespaces_take_turns_and_the_oldest_of_each_is_first() -> None:
    many = [queued("many", "app", number, waited=100 - number) for number in range(1, 4)]
    one = [queued("one", "web", 1, waited=5)]
    assert order([*many, *one]) == ["many/app-1", "one/web-1", "many/app-2", "many/app-3"]


def test_a_config_with_many_builds_does_not_delay_another_of_its_namespace() -> None:
    many = [queued("shop", "many", number, waited=100 - number) for number in range(1, 4)]
    one = [queued("shop", "one", 1)]
    assert order([*many, *one]) == ["shop/many-1", "shop/one-1", "shop/many-2", "shop/many-3"]


def test_who_never_had_a_slot_is_served_by_how_long_it_has_waited() -> None:
    builds = [queued(f"ns-{n}", "app", 1, waited=n) for n in range(5)]
    assert order(builds) == [f"ns-{n}/app-1" for n in reversed(range(5))]


def test_of_those_that_had_no_slot_that_is_first_on_which_most_stands() -> None:
    builds = [
        queued("apps", "leaf", 1, waited=9),
        queued("apps", "library", 1, waited=1, dependents=2),
        queued("tools", "builder", 1, waited=1, dependents=40),
        queued("tools", "lint", 1, waited=9),
    ]
    assert order(builds) == ["tools/builder-1", "apps/library-1", "tools/lint-1", "apps/leaf-1"]


def test_what_most_stands_on_does_not_keep_others_from_their_turn() -> None:
    many = [queued("shop", "base", n, waited=100 - n, dependents=9) for n in range(1, 4)]
    one = [queued("shop", "leaf", 1)]
    assert order([*many, *one]) == ["shop/base-1", "shop/leaf-1", "shop/base-2", "shop/base-3"]


def test_ever_new_namespaces_on_whose_builds_much_stands_do_not_keep_who_came_earlier() -> None:
    early = [queued("small", "leaf", 1, waited=1200), queued("small", "other", 1, waited=1190)]
    late = [queued(f"new{n}", "base", 1, dependents=1000) for n in range(9)]
    late.append(queued("small", "base", 1, dependents=1000))
    names = order([*late, *early])
    assert names[0] == "small/leaf-1"
    assert names.index("small/other-1") < names.index("small/base-1")


def test_a_namespace_whose_builds_run_long_does_not_take_every_slot() -> None:
    builds = [queued("slow", "app", n, waited=100) for n in range(9)]
    builds += [queued("quick", "app", n) for n in range(9)]
    queue = queue_of(builds)
    running = [started(queue, builds) for _ in range(4)]
    for _ in range(5):  # only those of `quick` end
        ended = next(build for build in running if build.key.namespace == "quick")
        running.remove(ended)
        queue.finish(ended.key)
        running.append(started(queue, builds))
        assert Counter(build.key.namespace for build in running) == {"slow": 2, "quick": 2}


def test_what_leaves_the_queue_is_not_waited_for() -> None:
    builds = [queued("a", "app", 1, waited=9), queued("b", "app", 1)]
    queue = queue_of(builds)
    assert queue.first() == builds[0].key
    queue.discard(builds[0].key)
    queue.discard(builds[0].key)
    assert queue.first() == builds[1].key
    queue.discard(builds[1].key)
    assert queue.first() is None
    assert len(queue) == 0


BUILDS = st.lists(
    st.builds(
        queued,
        st.sampled_from("abc"),
        st.sampled_from("xyz"),
        st.integers(1, 12),
        st.integers(0, 30),
        st.integers(0, 2),
    ),
    unique_by=lambda build: build.key,
    max_size=40,
)


@given(BUILDS, st.integers(1, 4))
def test_each_build_begins_once_and_nobody_is_passed_over(
    builds: list[QueuedBuild], slots: int
) -> None:
    names = order(builds, slots)
    assert sorted(names) == sorted(f"{b.key.namespace}/{b.key.name}" for b in builds)
    for namespace in {build.key.namespace for build in builds}:
        others = {build.key.namespace for build in builds} - {namespace}
        mine = [at for at, name in enumerate(names) if name.startswith(f"{namespace}/")]
        waits = [after - before for before, after in zip([-1, *mine], mine, strict=False)]
        # Between two turns of a namespace each other one has as many turns as slots, at most.
        assert max(waits) <= len(others) * slots + 1


@given(
    BUILDS,
    st.lists(st.tuples(st.sampled_from(["add", "start", "end", "drop"]), st.integers())),
    st.none() | st.integers(1, 3),
)
def test_the_next_is_always_of_those_with_the_fewest_running(
    builds: list[QueuedBuild], actions: list[tuple[str, int]], most: int | None
) -> None:
    queue, waiting, running = FairQueue(most), list[QueuedBuild](), list[QueuedBuild]()

    def may_begin() -> list[QueuedBuild]:
        of = Counter(one.key.namespace for one in running)
        return [one for one in waiting if most is None or of[one.key.namespace] < most]

    fresh = list(builds)
    for action, at in actions:
        if action == "add" and fresh:
            waiting.append(fresh.pop(at % len(fresh)))
            queue.add(waiting[-1])
        elif action == "drop" and waiting:
            queue.discard(waiting.pop(at % len(waiting)).key)
        elif action == "end" and running:
            queue.finish(running.pop(at % len(running)).key)
        elif action == "start" and may_begin():
            by_namespace = Counter(one.key.namespace for one in running)
            fewest = min(by_namespace[one.key.namespace] for one in may_begin())
            build = started(queue, waiting)
            assert by_namespace[build.key.namespace] == fewest
            mine = [one for one in waiting if one.key.namespace == build.key.namespace]
            by_config = Counter(one.config for one in running)
            assert by_config[build.config] == min(by_config[one.config] for one in mine)
            same = [one for one in mine if one.config == build.config]
            oldest = min(same, key=lambda one: (one.since, one.number))
            assert (build.since, build.number) == (oldest.since, oldest.number)
            waiting.remove(build)
            running.append(build)
        assert len(queue) == len(waiting)
        assert (queue.first() is None) is (not may_begin())


def test_ten_thousand_builds_are_no_heavier_than_ten() -> None:
    builds = [queued(f"ns-{n % 97}", f"app-{n % 989}", n, waited=n % 31) for n in range(10_000)]
    by_key = {build.key: build for build in builds}
    queue, running = queue_of(builds), list[QueuedBuild]()
    looked_at = 0
    while (key := queue.first()) is not None:
        running.append(by_key[key])
        queue.start(running[-1])
        if len(running) == 4:
            queue.finish(running.pop(0).key)
        looked_at += len(queue._namespaces._heap)
    assert looked_at < 10_000 * 400  # heaps stay as small as what is in them
