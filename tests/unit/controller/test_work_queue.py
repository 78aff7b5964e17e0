import asyncio
from collections import Counter
from collections.abc import Coroutine, Generator
from typing import Any, override

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.api.meta import ObjectKey
from upwell.controller import WorkQueue
from upwell.machine.backoff import Backoff


class CountedCoroutine(Coroutine[Any, Any, None]):
    """A coroutine that counts how often it is gone on with."""

    def __init__(self, wrapped: Coroutine[Any, Any, None]) -> None:
        self._wrapped = wrapped
        self.count = 0

    @override
    def send(self, value: Any) -> Any:
        self.count += 1
        return self._wrapped.send(value)

    @override
    def throw(self, *error: Any) -> Any:
        return self._wrapped.throw(*error)

    @override
    def close(self) -> None:
        self._wrapped.close()

    @override
    def __await__(self) -> Generator[Any, Any, None]:
        raise NotImplementedError


def queue(*, first: float = 0.001) -> WorkQueue[str]:
    return WorkQueue(Backoff(first=first, jitter=lambda: 0.0))


async def take_all(work: WorkQueue[str]) -> list[str]:
    """Take and give back every key that is ready now."""
    taken: list[str] = []
    while True:
        try:
            async with asyncio.timeout(0):
                key = await work.get()
        except TimeoutError:
            return taken
        taken.append(key)
        work.done(key)


async def test_what_somebody_waits_for_comes_before_the_rest_in_its_own_order() -> None:
    work = queue()
    for key in ("a", "b", "c"):
        work.add(key)
    work.add("d", first=True)
    work.add("c", first=True)
    work.add("d", first=True)
    work.add("c")
    assert await take_all(work) == ["d", "c", "a", "b"]


async def test_the_rest_has_one_of_four_turns_however_many_are_first() -> None:
    work = queue()
    for key in ("a", "b"):
        work.add(key)
    for number in range(8):
        work.add(str(number), first=True)
    assert "".join(await take_all(work)) == "012a345b67"


async def test_what_is_asked_for_first_while_it_is_worked_on_comes_again_first() -> None:
    work = queue()
    work.add("a")
    assert await work.get() == "a"
    work.add("b")
    work.add("a", first=True)
    work.add("a")
    work.done("a")
    assert await take_all(work) == ["a", "b"]
    work.add("b")
    work.add("a")
    assert await take_all(work) == ["b", "a"]


async def test_keys_that_are_first_take_no_turn_of_another_namespace() -> None:
    work: WorkQueue[ObjectKey] = WorkQueue()
    keys = {name: ObjectKey("Pod", name[0], name) for name in ("a1", "a2", "b1", "b2")}
    for name in ("b1", "a1"):
        work.add(keys[name])
    for name in ("a2", "b2"):
        work.add(keys[name], first=True)
    taken = [await work.get() for _ in keys]
    assert [one.name for one in taken] == ["b2", "a2", "b1", "a1"]


async def test_keys_come_in_the_order_of_their_arrival() -> None:
    work = queue()
    for key in ("b", "a", "c"):
        work.add(key)

    assert [await work.get() for _ in range(3)] == ["b", "a", "c"]


async def test_a_key_that_waits_is_one_entry() -> None:
    work = queue()
    work.add("a")
    work.add("a")

    assert await work.get() == "a"
    work.done("a")
    assert len(work) == 0


async def test_a_key_added_during_work_comes_again_and_not_before() -> None:
    work = queue()
    work.add("a")
    await work.get()
    work.add("a")
    work.add("b")

    assert await work.get() == "b"
    assert len(work) == 0
    work.done("a")
    assert await work.get() == "a"


async def test_get_waits_for_a_key() -> None:
    work = queue()
    async with asyncio.timeout(30), asyncio.TaskGroup() as group:
        waiting = [group.create_task(work.get()) for _ in range(2)]
        await asyncio.sleep(0)
        work.add("a")
        work.add("b")

    assert {task.result() for task in waiting} == {"a", "b"}


async def test_what_a_cancelled_worker_was_woken_for_is_taken_by_another() -> None:
    work = queue()
    first, second = [asyncio.create_task(work.get()) for _ in range(2)]
    await asyncio.sleep(0)
    work.add("a")
    first.cancel()
    async with asyncio.timeout(30):
        assert await second == "a"


async def test_a_worker_that_is_being_cancelled_is_not_woken_for_a_key() -> None:
    work = queue()
    first, second = [asyncio.create_task(work.get()) for _ in range(2)]
    await asyncio.sleep(0)
    first.cancel()
    work.add("a")
    async with asyncio.timeout(30):
        assert await second == "a"


async def test_all_that_waits_for_the_end_of_one_key_is_taken_after_it() -> None:
    """With two namespaces one of them has three of four workers; with one, all."""
    work: WorkQueue[ObjectKey] = WorkQueue()
    work.expect(4)
    other = ObjectKey("ConfigMap", "other", "a")
    mine = [ObjectKey("ConfigMap", "mine", str(number)) for number in range(4)]
    for key in (other, *mine):
        work.add(key)
    taken = [await work.get() for _ in range(4)]
    assert set(mine) - set(taken) == {mine[3]}
    waiting = asyncio.create_task(work.get())
    await asyncio.sleep(0)
    assert not waiting.done()
    work.done(other)
    async with asyncio.timeout(30):
        assert await waiting == mine[3]


async def test_keys_wake_no_more_workers_than_they_need() -> None:
    """Each of sixteen was woken by each key, each end of one, and each time that came."""
    loop = asyncio.get_running_loop()
    work = queue()

    taken: asyncio.Queue[str] = asyncio.Queue()

    async def take() -> None:
        while True:
            key = await work.get()
            work.done(key)
            taken.put_nowait(key)

    workers = [CountedCoroutine(take()) for _ in range(16)]
    tasks = [loop.create_task(each) for each in workers]
    await asyncio.sleep(0)
    begun = sum(each.count for each in workers)
    for number in range(10):
        work.add_after(str(number), 0)
        assert await taken.get() == str(number)
    await asyncio.sleep(0)
    assert sum(each.count for each in workers) - begun <= 20
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_key_for_later_comes_later() -> None:
    work = queue()
    work.add_after("late", 0.05)
    work.add_after("soon", 0.01)
    started = asyncio.get_running_loop().time()

    async with asyncio.timeout(30):
        order = [await work.get(), await work.get()]

    assert order == ["soon", "late"]
    assert asyncio.get_running_loop().time() - started >= 0.05


async def test_an_earlier_wish_stands() -> None:
    work = queue()
    work.add_after("a", 0.01)
    work.add_after("a", 60)
    async with asyncio.timeout(30):
        assert await work.get() == "a"
    work.done("a")
    assert len(work) == 0


async def test_a_wish_for_earlier_replaces_a_later_one() -> None:
    work = queue()
    work.add_after("a", 60)
    work.add_after("a", 0.01)
    async with asyncio.timeout(30):
        assert await work.get() == "a"
    work.done("a")
    assert len(work) == 0


async def test_a_wish_for_now_fulfils_one_for_later() -> None:
    work = queue()
    work.add_after("a", 60)
    work.add("a")

    assert await take_all(work) == ["a"]
    assert len(work) == 0


async def test_a_failing_key_waits_longer_each_time() -> None:
    work = queue(first=1)

    delays = [work.retry("a") for _ in range(4)]

    assert delays == [1, 2, 4, 8]
    assert work.failures("a") == 4


async def test_success_starts_the_backoff_anew() -> None:
    work = queue(first=1)
    work.retry("a")
    work.retry("a")
    work.forget("a")

    assert work.retry("a") == 1


async def test_a_servers_wish_lengthens_the_wait() -> None:
    work = queue(first=1)

    assert work.retry("a", at_least=30) == 30


@given(st.lists(st.tuples(st.sampled_from(["add", "work"]), st.sampled_from("abc")), max_size=40))
def test_no_key_is_lost_and_none_is_worked_on_twice(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        work = queue()
        working: set[str] = set()
        wanted: set[str] = set()
        for step, key in steps:
            if step == "add":
                work.add(key)
                wanted.add(key)
            elif key in working:
                work.done(key)
                working.discard(key)
            elif len(work):
                taken = await work.get()
                assert taken not in working
                assert taken in wanted
                working.add(taken)
                wanted.discard(taken)
        for key in working:
            work.done(key)
        assert set(await take_all(work)) == wanted

    asyncio.run(play())


async def test_a_cancelled_wait_takes_no_key() -> None:
    work = queue()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await work.get()
    work.add("a")

    assert await take_all(work) == ["a"]


async def test_what_waits_after_a_failure_can_be_asked_for_at_once() -> None:
    work = queue(first=3600)
    for key in ("failed", "well"):
        work.add(key)
        await work.get()
    work.retry("failed")
    work.done("failed")
    work.add_after("well", 3600)
    work.done("well")

    work.retry_now()

    assert await take_all(work) == ["failed"]
    assert work.failures("failed") == 0


def stream(namespace: str, name: object = "app") -> ObjectKey:
    return ObjectKey("ImageStream", namespace, str(name))


async def test_ten_thousand_keys_of_one_namespace_keep_no_other_waiting() -> None:
    work = WorkQueue[ObjectKey]()
    work.expect(1)
    for number in range(10_000):
        work.add(stream("flood", number))
    work.add(stream("shop"))
    work.add(stream("bank"))

    first = [await work.get() for _ in range(4)]

    assert first[:3] == [stream("flood", 0), stream("shop"), stream("bank")]
    assert len(work) == 9_998
    assert first[3] == stream("flood", 1)  # whose own order stands


async def test_work_that_is_stuck_leaves_workers_for_other_namespaces() -> None:
    work = WorkQueue[ObjectKey]()
    work.expect(16)
    work.add_after(stream("shop"), 3600)  # is known, and not yet asked for
    for number in range(100):
        work.add(stream("stuck", number))

    stuck = [await work.get() for _ in range(12)]
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0):
            await work.get()
    work.add(stream("shop"))
    assert await work.get() == stream("shop")

    waiting = asyncio.ensure_future(work.get())
    await asyncio.sleep(0)
    work.done(stuck[0])
    async with asyncio.timeout(30):
        assert await waiting == stream("stuck", 12)


async def test_a_namespace_alone_has_every_worker() -> None:
    work = WorkQueue[ObjectKey]()
    work.expect(16)
    work.add(stream("shop"))
    work.done(await work.get())  # its last key: the queue knows it no more
    for number in range(16):
        work.add(stream("only", number))

    async with asyncio.timeout(30):
        assert len({await work.get() for _ in range(16)}) == 16


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "later", "work"]), st.sampled_from("abcd")), max_size=40
    )
)
def test_each_known_namespace_is_counted_once_for_each_key(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        work = WorkQueue[ObjectKey]()
        working: set[ObjectKey] = set()
        for step, name in steps:
            key = stream("ab" if name in "ab" else "cd", name)
            if step == "add":
                work.add(key)
            elif step == "later":
                work.add_after(key, 3600)
            elif key in working:
                working.discard(key)
                work.done(key)
            elif work._waiting:
                working.add(await work.get())
        known = {*work._waiting, *work._working, *work._due}
        assert work._known == Counter(key.namespace for key in known)
        assert work._taken == Counter(key.namespace for key in working)

    asyncio.run(play())
