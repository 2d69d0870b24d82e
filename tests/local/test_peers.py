"""Who has to go when there are too many connections, without a socket."""

from __future__ import annotations

import pytest
from depth import examples
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_customauth_client.local.fair_queue import FairQueue
from iot_customauth_client.local.peers import PeerLimits, Peers
from iot_customauth_client.local.peers_unread import COUNTED_FROM_BYTES, Unread

FLOOD, HOME = "192.0.2.66", "192.0.2.1"


def peers(**limits: int) -> Peers:
    generous = {"connections": 100, "half_open": 100, "connections_per_address": 100, "half_open_per_address": 100}
    return Peers(PeerLimits(**generous | limits))


def evicted(counted: Peers, connection: int, address: str) -> int | None:
    eviction = counted.opened(connection, address)
    return None if eviction is None else eviction.connection


def test_the_oldest_stranger_of_the_busiest_address_goes() -> None:
    counted = peers(half_open=4)
    assert evicted(counted, 1, HOME) is None
    for number in (2, 3, 4):
        assert evicted(counted, number, FLOOD) is None
    assert [evicted(counted, number, FLOOD) for number in (5, 6, 7)] == [2, 3, 4]
    assert counted.half_open == 4


def test_a_newcomer_of_a_quiet_address_costs_the_busy_one_its_place() -> None:
    counted = peers(half_open=2)
    for number in (1, 2):
        counted.opened(number, FLOOD)
        counted.asks(number)
    assert evicted(counted, 3, HOME) == 2  # of those that only wait for their authorizer, the last


def test_who_waits_for_its_authorizer_goes_after_those_that_say_nothing() -> None:
    counted = peers(half_open=2)
    counted.opened(1, HOME)
    counted.asks(1)
    counted.opened(2, HOME)
    assert evicted(counted, 3, HOME) == 2


def test_a_client_that_was_let_in_is_never_ended() -> None:
    counted = peers(connections=3)
    for number in (1, 2, 3):
        counted.opened(number, HOME)
        counted.let_in(number)
    assert evicted(counted, 4, HOME) == 4


def test_who_was_let_in_stays_so_when_it_begins_another_request() -> None:
    counted = peers()
    counted.opened(1, HOME)
    counted.let_in(1)
    counted.is_awaited(1)
    assert counted.half_open == 0


def test_who_is_leaving_makes_room_before_anybody_who_is_not() -> None:
    counted = peers(connections=2)
    counted.opened(1, HOME)
    counted.opened(2, HOME)
    counted.leaves(2)
    eviction = counted.opened(3, HOME)
    assert eviction is not None
    assert (eviction.connection, eviction.told) == (2, True)


def test_who_is_leaving_makes_room_for_another_of_the_same_address() -> None:
    counted = peers(connections_per_address=2)
    for number in (1, 2):
        counted.opened(number, HOME)
    counted.opened(9, FLOOD)
    counted.leaves(9)
    counted.leaves(2)
    eviction = counted.opened(3, HOME)
    assert eviction is not None
    assert (eviction.connection, eviction.told) == (2, True)
    assert evicted(counted, 4, HOME) == 1  # nobody of this address is leaving any more, somebody of another one is
    assert counted.sizes()["leaving"] == 1


@pytest.mark.parametrize(
    "limits",
    [
        {"connections": 3, "half_open": 2},
        {"connections_per_address": 3, "half_open": 2},
        {"connections_per_address": 3, "half_open_per_address": 2},
    ],
)
def test_who_is_leaving_makes_no_room_among_those_who_are_not_let_in(limits: dict[str, int]) -> None:
    counted = peers(**limits)
    for number in (1, 2, 3):
        counted.opened(number, HOME)
        if number == 1:
            counted.leaves(number)
    assert evicted(counted, 4, HOME) == 2
    assert counted.half_open == 2
    assert counted.sizes()["leaving"] == 1


def test_an_address_has_its_own_limit_of_connections() -> None:
    counted = peers(connections_per_address=2)
    for number in (1, 2):
        counted.opened(number, FLOOD)
        counted.let_in(number)
    eviction = counted.opened(3, FLOOD)
    assert eviction is not None
    assert (eviction.connection, eviction.cause) == (3, "too_many_connections")
    assert evicted(counted, 4, HOME) is None


def test_an_address_has_its_own_limit_of_half_open_connections() -> None:
    counted = peers(half_open_per_address=1)
    counted.opened(1, FLOOD)
    assert evicted(counted, 2, HOME) is None
    eviction = counted.opened(3, FLOOD)
    assert eviction is not None
    assert (eviction.connection, eviction.cause) == (1, "too_many_half_open")


def test_a_bench_of_thousands_of_devices_on_one_address_meets_no_limit() -> None:
    counted = Peers(PeerLimits.of(8_192))
    assert [evicted(counted, number, "127.0.0.1") for number in range(3_000)] == [None] * 3_000


def test_without_more_files_those_that_leave_are_cut_short_else_a_quarter_of_the_strangers_goes() -> None:
    counted = peers()
    for number in range(8):
        counted.opened(number, HOME)
    counted.leaves(0)
    counted.let_in(1)
    assert [each.connection for each in counted.make_room()] == [0]
    assert [each.connection for each in counted.make_room()] == [2, 3]


STEPS = st.lists(
    st.tuples(st.sampled_from(("opened", "asks", "is_awaited", "let_in", "leaves", "closed")), st.integers(0, 12)),
    max_size=80,
)


@settings(max_examples=examples(200))
@given(STEPS)
def test_no_order_of_events_leaves_anything_behind_or_passes_a_limit(steps: list[tuple[str, int]]) -> None:
    counted = peers(connections=6, half_open=4, connections_per_address=5, half_open_per_address=3)
    there: set[int] = set()
    for number, (step, chosen) in enumerate(steps, start=100):
        if step == "opened":
            there.add(number)
            eviction = counted.opened(number, f"192.0.2.{chosen % 3}")
            if eviction is not None:
                assert eviction.connection in there
                counted.closed(eviction.connection)
                there.discard(eviction.connection)
        elif there:
            connection = sorted(there)[chosen % len(there)]
            getattr(counted, step)(connection)
            if step == "closed":
                there.discard(connection)
        assert len(counted) == len(there) <= 6
        assert counted.half_open <= 4
    for connection in there:
        counted.closed(connection)
    assert not any(counted.sizes().values())


# -- unread output ----------------------------------------------------------------------------------------------------


def test_the_slowest_reader_of_all_goes_when_too_much_waits_for_all_of_them() -> None:
    waiting = {1: 300_000, 2: 500_000, 3: 200_000}
    unread = Unread(waiting.__getitem__, max_bytes=900_000)
    assert unread.wrote(1, 300_000) is None
    assert unread.wrote(2, 500_000) is None
    assert unread.wrote(3, 200_000) == 2


def test_nobody_goes_for_what_was_read_meanwhile() -> None:
    waiting = {1: 0, 2: 500_000}
    unread = Unread(waiting.__getitem__, max_bytes=900_000)
    unread.wrote(1, 500_000)
    assert unread.wrote(2, 500_000) is None
    assert len(unread) == 1


def test_what_any_busy_reader_has_is_not_counted() -> None:
    unread = Unread({}.__getitem__, max_bytes=COUNTED_FROM_BYTES)
    assert all(unread.wrote(number, COUNTED_FROM_BYTES - 1) is None for number in range(100))
    assert len(unread) == 0


# -- whose turn it is -------------------------------------------------------------------------------------------------

NOBODY: frozenset[str] = frozenset()


def test_each_source_has_its_turn_however_much_one_of_them_has_put_in() -> None:
    queue: FairQueue[str] = FairQueue()
    for number in range(100):
        queue.put(FLOOD, number, "flood")
    queue.put(HOME, 100, "home")
    assert [queue.take(NOBODY) for _ in range(3)] == ["flood", "home", "flood"]


def test_clients_that_were_let_in_come_before_all_others() -> None:
    queue: FairQueue[str] = FairQueue()
    queue.put(HOME, 1, "stranger")
    queue.put(None, 2, "client")
    assert queue.take(frozenset({HOME})) == "client"
    assert queue.take(frozenset({HOME})) is None
    assert queue.take(NOBODY) == "stranger"


@given(st.lists(st.tuples(st.sampled_from((None, "a", "b", "c")), st.booleans()), max_size=40))
def test_what_is_put_in_comes_out_once_in_the_order_of_its_source(puts: list[tuple[str | None, bool]]) -> None:
    queue: FairQueue[int] = FairQueue()
    kept: dict[str | None, list[int]] = {}
    for number, (source, withdrawn) in enumerate(puts):
        queue.put(source, number, number)
        if withdrawn:
            assert queue.remove(source, number)
            assert not queue.remove(source, number)
        else:
            kept.setdefault(source, []).append(number)
    taken = [queue.take(NOBODY) for _ in range(len(queue))]
    assert queue.take(NOBODY) is None
    for numbers in kept.values():
        assert [each for each in taken if each in numbers] == numbers
    assert len(taken) == sum(map(len, kept.values()))
