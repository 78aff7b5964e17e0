"""Room for connections: what is only held open gives way, and strangers push out strangers."""

import gc
import weakref

import pytest

from upwell.server.asgi.connections import (
    UNIX,
    ConnectionLimits,
    ConnectionTable,
    RefusedConnectionError,
    TrackedConnection,
    address_of,
)
from upwell.server.http.errors import ApiError

LOOPBACK = "127.0.0.1"


class OpenedConnections:
    """A table, and the connections of it that were cut."""

    def __init__(self, **limits: int) -> None:
        self.table = ConnectionTable(ConnectionLimits(**limits))
        self.cut: list[str] = []

    def open(
        self, host: str, name: str = "", *, busy: bool = False, principal: str = ""
    ) -> TrackedConnection:
        found = self.table.open(host)
        found.abort = lambda: self.cut.append(name)
        if principal:
            self.table.identify(found, principal)
        if busy:
            self.table.busy(found)
        return found


def test_the_longest_idle_gives_way() -> None:
    made = OpenedConnections(total=3, per_address=3, kept_for_own=0)
    for name in ("a", "b", "c", "d"):
        made.open(LOOPBACK, name)
    assert (made.cut, made.table.count) == (["a"], 3)


def test_one_that_is_answered_stays() -> None:
    made = OpenedConnections(total=2, per_address=2, kept_for_own=0)
    made.open(LOOPBACK, "watch", busy=True, principal="a")
    made.open(LOOPBACK, "idle", principal="b")
    made.open(LOOPBACK, "new", busy=True, principal="c")
    assert made.cut == ["idle"]
    with pytest.raises(RefusedConnectionError):
        made.open(LOOPBACK, "one too many")


def test_an_answered_connection_is_the_last_to_give_way() -> None:
    made = OpenedConnections(total=2, per_address=2, kept_for_own=0)
    first = made.open(LOOPBACK, "first", busy=True, principal="a")
    made.open(LOOPBACK, "second", principal="a")
    made.table.idle(first)
    made.open(LOOPBACK, "third")
    assert made.cut == ["second"]


def test_the_address_with_the_most_gives_way() -> None:
    made = OpenedConnections(total=4, per_address=4, kept_for_own=0)
    made.open("192.0.2.1", "lonely")
    for number in range(4):
        made.open("192.0.2.2", f"many {number}")
    assert made.cut == ["many 0"]


def test_strangers_leave_room_for_loopback() -> None:
    made = OpenedConnections(total=4, per_address=4, kept_for_own=2)
    for number in range(9):
        made.open(f"192.0.2.{number}", "stranger")
    assert made.table.count == 2
    own = [made.open(LOOPBACK, "own", busy=True) for _ in range(2)]
    assert len(own) == 2
    assert "own" not in made.cut


def test_busy_clients_of_networks_keep_nobody_out_of_loopback() -> None:
    made = OpenedConnections(total=4, per_address=4, kept_for_own=2)
    for number in range(2):
        made.open(f"192.0.2.{number}", busy=True, principal="far")
    with pytest.raises(RefusedConnectionError):
        made.open("192.0.2.9")
    made.open(LOOPBACK, busy=True, principal="near")
    made.open(LOOPBACK, busy=True, principal="near")
    with pytest.raises(RefusedConnectionError):
        made.open(LOOPBACK)


def test_a_full_loopback_leaves_room_for_the_socket_of_the_file_system() -> None:
    made = OpenedConnections(total=2, per_address=2, kept_for_own=1)
    for _ in range(2):
        made.open(LOOPBACK, busy=True, principal="near")
    made.open("", "admin", busy=True, principal="admin")
    with pytest.raises(RefusedConnectionError):
        made.open("", busy=True)


def test_strangers_whose_requests_never_end_keep_nobody_out() -> None:
    """A body may take half a minute to arrive, and a thousand of them all of the room."""
    made = OpenedConnections(total=3, per_address=3, kept_for_own=0)
    made.open(LOOPBACK, "watch", busy=True, principal="a")
    for number in range(4):
        made.open(LOOPBACK, f"slow {number}", busy=True)
    assert made.cut == ["slow 0", "slow 1"]


def test_strangers_push_out_no_principal() -> None:
    made = OpenedConnections(total=4, per_address=4, kept_for_own=0)
    made.open(LOOPBACK, "pooled", principal="a")
    for number in range(9):
        made.open(LOOPBACK, f"{number}", busy=bool(number % 2))
    assert "pooled" not in made.cut
    assert len(made.cut) == 6


def test_the_principal_with_the_most_gives_way_first() -> None:
    made = OpenedConnections(total=4, per_address=4, kept_for_own=0)
    made.open(LOOPBACK, "modest", principal="a")
    for number in range(3):
        made.open(LOOPBACK, f"greedy {number}", principal="b")
    made.open(LOOPBACK, "c", principal="c")
    assert made.cut == ["greedy 0"]


def test_a_principal_has_a_part_alone_wherever_it_comes_from() -> None:
    made = OpenedConnections(per_principal=2)
    made.open(LOOPBACK, "idle", principal="a")
    busy = made.open("192.0.2.1", "busy", busy=True, principal="a")
    made.open("192.0.2.2", "third", busy=True, principal="a")
    assert made.cut == ["idle"]
    refused = made.open("192.0.2.3", "fourth")
    with pytest.raises(ApiError, match="token a uses 2 connections"):
        made.table.identify(refused, "a")
    made.table.identify(refused, "b")
    made.table.identify(busy, "a")  # what it is already takes nothing
    made.open(LOOPBACK, "admin", principal="c")
    assert made.cut == ["idle"]


def test_who_is_not_limited_has_as_many_as_there_is_room() -> None:
    made = OpenedConnections(per_principal=1)
    for _ in range(3):
        made.table.identify(made.open(LOOPBACK, busy=True), "admin", limited=False)
    assert made.table.count == 3


def test_principals_do_not_count_for_their_address() -> None:
    """A proxy has one address, and all that come through it."""
    made = OpenedConnections(per_address=1)
    for number in range(3):
        made.open("192.0.2.1", principal=f"{number}")
    made.open("192.0.2.1", "stranger")
    made.open("192.0.2.1", "another")
    assert made.cut == ["stranger"]


def test_one_address_has_a_part_alone() -> None:
    made = OpenedConnections(total=10, per_address=2, kept_for_own=0)
    for number in range(3):
        made.open("192.0.2.1", f"{number}")
    assert made.cut == ["0"]
    made.open("192.0.2.2")
    assert made.table.count == 3


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "loopback"),
        ("127.8.0.1", "loopback"),
        ("::1", "loopback"),
        ("::ffff:127.0.0.1", "loopback"),
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::7", "2001:db8:1:2::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", UNIX),
    ],
)
def test_addresses_are_counted_by_their_owner(host: str, address: str) -> None:
    assert address_of(host) == address


def test_who_holds_heads_longest_gives_way_for_the_bytes_of_others() -> None:
    made = OpenedConnections(held_bytes=100)
    first, second = made.open(LOOPBACK, "first"), made.open(LOOPBACK, "second")
    made.table.hold(first, 60)
    made.table.hold(second, 30)
    made.table.hold(second, 30)
    assert (made.cut, made.table.held_bytes) == (["first"], 60)
    made.table.release(second)
    assert made.table.held_bytes == 0


def test_one_that_holds_too_much_alone_is_cut() -> None:
    made = OpenedConnections(held_bytes=100)
    made.table.hold(made.open(LOOPBACK, "greedy"), 101)
    assert (made.cut, made.table.count, made.table.held_bytes) == (["greedy"], 0, 0)


def test_closing_twice_counts_once() -> None:
    made = OpenedConnections()
    one, other = made.open(LOOPBACK), made.open(LOOPBACK)
    made.table.close(one)
    made.table.close(one)
    assert made.table.count == 1
    made.table.busy(one)  # what comes late changes nothing
    made.table.idle(one)
    made.table.hold(one, 5)
    assert made.table.held_bytes == 0
    made.table.close(other)
    assert made.table.count == 0


def test_fewer_descriptors_shrink_every_limit() -> None:
    limits = ConnectionLimits(total=4096, per_address=2048, kept_for_own=256).within(512)
    assert (limits.total, limits.per_address, limits.kept_for_own) == (512, 256, 32)
    assert ConnectionLimits().within(1_000_000) == ConnectionLimits()


def test_who_is_closed_is_let_go_without_the_collector() -> None:
    """Else what it has read stays in memory until a collection, which a flood outruns."""

    class Protocol:
        def __init__(self, tracked: TrackedConnection) -> None:
            self.tracked = tracked
            tracked.abort, tracked.expire = self.abort, lambda _: self.abort()

        def abort(self) -> None:
            pass

    table = ConnectionTable()
    gc.disable()
    try:
        protocol = Protocol(table.open(LOOPBACK))
        left = weakref.ref(protocol)
        table.close(protocol.tracked)
        del protocol
        assert left() is None
    finally:
        gc.enable()
