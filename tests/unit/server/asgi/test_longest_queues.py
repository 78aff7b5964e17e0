"""Queues by key, against the plainest way to say the same."""

from hypothesis import given
from hypothesis import strategies as st

from upwell.server.asgi.longest_queues import LongestQueues

STEPS = st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 7)), max_size=60)


@given(STEPS)
def test_the_oldest_of_a_longest_queue_comes_first(steps: list[tuple[str, int]]) -> None:
    made: LongestQueues[str, int] = LongestQueues()
    plain: dict[str, list[int]] = {}
    for key, item in steps:
        queue = plain.setdefault(key, [])
        if item in queue:
            queue.remove(item)
            made.remove(key, item)
        else:
            queue.append(item)
            made.add(key, item)
        longest = max(map(len, plain.values()))
        assert made.longest == longest
        assert made.count == sum(map(len, plain.values()))
        firsts = {queue[0] for queue in plain.values() if len(queue) == longest and queue}
        assert made.oldest() in firsts if firsts else made.oldest() is None
        for name in "abc":
            assert made.oldest(name) == next(iter(plain.get(name, [])), None)
