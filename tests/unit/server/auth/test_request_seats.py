"""Each client has its turn, however many requests another one sends."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upwell.server.auth.request_seats import RequestSeats, SeatError
from upwell.server.http.limits import SeatLimits


class QueuedRequests:
    """Requests that hold their seats until a test lets them go."""

    def __init__(self, **limits: float) -> None:
        self.queue = RequestSeats(SeatLimits(**limits))  # type: ignore[arg-type]
        self.served: list[str] = []
        self.tasks: list[asyncio.Task[None]] = []
        self._ends: dict[str, list[asyncio.Event]] = {}

    async def send(self, client: str, count: int = 1, seats: int = 1) -> None:
        for _ in range(count):
            self.tasks.append(asyncio.create_task(self._serve(client, seats)))
        await self.settle()

    async def end(self, client: str) -> None:
        self._ends[client].pop(0).set()
        await self.settle()

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def _serve(self, client: str, seats: int = 1) -> None:
        async with self.queue.seat(client, seats):
            self.served.append(client)
            end = asyncio.Event()
            self._ends.setdefault(client, []).append(end)
            await end.wait()

    async def stop(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)


async def test_a_thousand_of_one_do_not_starve_the_one_of_another() -> None:
    made = QueuedRequests(total=4, per_client=4)
    await made.send("greedy", 1000)
    await made.send("modest")
    assert made.served == ["greedy"] * 4
    await made.end("greedy")
    await made.end("greedy")
    assert made.served[4:] == ["greedy", "modest"]
    await made.stop()


async def test_one_client_never_has_all_seats() -> None:
    made = QueuedRequests(total=4, per_client=2)
    await made.send("greedy", 100)
    await made.send("modest", 2)
    assert made.served == ["greedy", "greedy", "modest", "modest"]
    await made.stop()


async def test_clients_have_their_turns_one_after_the_other() -> None:
    made = QueuedRequests(total=1, per_client=1)
    await made.send("first")
    for client in ("a", "b", "c"):
        await made.send(client, 2)
    for _ in range(6):
        await made.end(made.served[-1])
    assert made.served[1:] == ["a", "b", "c"] * 2
    await made.stop()


async def test_a_queue_has_an_end() -> None:
    made = QueuedRequests(total=1, per_client=1, waiting_per_client=2)
    await made.send("greedy", 3)
    with pytest.raises(SeatError) as caught:
        await made._serve("greedy")
    assert caught.value.code == 429
    await made.stop()
    assert made.queue.waiting == 0


async def test_a_wait_has_an_end() -> None:
    made = QueuedRequests(total=1, per_client=1, seconds=0.01)
    await made.send("first")
    with pytest.raises(SeatError):
        await made._serve("late")
    assert made.queue.waiting == 0
    await made.end("first")
    await made.send("late")
    assert made.served == ["first", "late"]
    await made.stop()


async def test_who_leaves_while_waiting_keeps_no_seat() -> None:
    made = QueuedRequests(total=1, per_client=1)
    await made.send("first")
    await made.send("gone")
    await made.send("next")
    made.tasks[1].cancel()
    await made.settle()
    await made.end("first")
    assert made.served == ["first", "next"]
    await made.stop()


async def test_a_large_request_is_not_passed_by_small_ones_for_ever() -> None:
    made = QueuedRequests(total=10, per_client=8)
    await made.send("small", 1, seats=4)
    await made.send("large", 1, seats=8)
    await made.send("other", 3, seats=2)  # there is room for them, and it is not their turn
    assert made.served == ["small"]
    await made.end("small")
    assert made.served == ["small", "large", "other"]
    await made.end("large")
    assert made.served[3:] == ["other", "other"]
    await made.stop()


async def test_a_client_at_its_own_limit_keeps_nobody_waiting() -> None:
    made = QueuedRequests(total=10, per_client=4)
    await made.send("greedy", 5, seats=4)
    await made.send("modest", 2, seats=2)
    assert made.served == ["greedy", "modest", "modest"]
    await made.stop()


async def test_who_gives_up_lets_those_behind_it_go_on() -> None:
    made = QueuedRequests(total=4, per_client=4)
    await made.send("first", 1, seats=3)
    await made.send("gone", 1, seats=4)
    await made.send("next")
    assert made.served == ["first"]
    made.tasks[1].cancel()
    await made.settle()
    assert made.served == ["first", "next"]
    await made.stop()


async def test_more_than_a_client_may_have_is_all_of_it() -> None:
    made = QueuedRequests(total=4, per_client=2)
    await made.send("huge", 1, seats=100)
    assert made.queue._taken == {"huge": 2}
    await made.stop()


@given(st.lists(st.tuples(st.sampled_from("abc"), st.booleans(), st.integers(1, 3)), max_size=40))
def test_seats_are_never_lost_and_never_too_many(steps: list[tuple[str, bool, int]]) -> None:
    async def play() -> None:
        made = QueuedRequests(total=3, per_client=2)
        for client, ends, seats in steps:
            if ends and made._ends.get(client):
                await made.end(client)
            elif ends and made.tasks:
                made.tasks[len(made.tasks) // 2].cancel()
                await made.settle()
            else:
                await made.send(client, seats=seats)
            taken = made.queue._taken
            assert taken.total() <= 3
            assert all(count <= 2 for count in taken.values())
        await made.stop()
        assert made.queue._taken.total() == made.queue.waiting == 0

    asyncio.run(play())


async def test_nobody_waits_for_a_seat_of_a_server_that_stops() -> None:
    shutdown = asyncio.Event()
    seats = RequestSeats(SeatLimits(total=1, per_client=1), shutdown)

    async def ask() -> None:
        async with seats.seat("one"):
            pass

    async with seats.seat("one"):
        waiting = [asyncio.create_task(ask()) for _ in range(3)]
        await asyncio.sleep(0)
        assert seats.waiting == 3
        shutdown.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        late = await asyncio.gather(ask(), return_exceptions=True)
        assert all(isinstance(one, SeatError) and one.code == 503 for one in (*told, *late))
        assert seats.waiting == 0
    async with seats.seat("one"):
        pass
