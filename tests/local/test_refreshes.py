"""The schedule of refreshes: when which connection's turn is, and how far time may go on meanwhile."""

from __future__ import annotations

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.authorizer.event import build_event
from iot_customauth_client.local import LocalAuthorizer
from iot_customauth_client.local.authentication import Question
from iot_customauth_client.local.refreshes import Refreshes

QUESTION = Question(
    "a",
    LocalAuthorizer(lambda event, context: None, signing_disabled=True),
    build_event(connection_id="id", signature_verified=False),
)


def begun(*connections: tuple[int, int]) -> Refreshes:
    refreshes = Refreshes()
    for connection, seconds in connections:
        refreshes.begin(connection, QUESTION, None, after_seconds=seconds, at=1000.0)
    return refreshes


def test_they_come_in_the_order_of_time() -> None:
    refreshes = begun((1, 900), (2, 300), (3, 600))
    assert refreshes.next_at() == 1300
    assert refreshes.take(1299, now=0) is None
    taken = [refreshes.take(9999, now=0) for _ in range(4)]
    assert [refresh.connection if refresh else None for refresh in taken] == [2, 3, 1, None]


def test_the_next_turn_is_counted_from_the_last_one_not_from_its_answer() -> None:
    refreshes = begun((1, 300))
    refresh = refreshes.take(5000, now=0)
    assert refresh is not None
    assert refreshes.next_at() is None
    assert refreshes.answered(refresh)
    refreshes.again(refresh, after_seconds=400)
    assert refreshes.next_at() == 1700


def test_time_goes_on_at_its_real_pace_while_an_answer_is_outstanding() -> None:
    refreshes = begun((1, 300), (2, 301))
    assert refreshes.time_has_come_to(50.0) == inf
    first = refreshes.take(9999, now=50.0)
    assert first is not None
    assert refreshes.time_has_come_to(50.0) == 1300
    assert refreshes.time_has_come_to(51.5) == 1301.5
    second = refreshes.take(1301, now=51.0)
    assert second is not None
    assert refreshes.answered(first)
    assert refreshes.time_has_come_to(51.5) == 1301.5
    assert refreshes.answered(second)
    assert refreshes.time_has_come_to(51.5) == inf


def test_an_ended_connection_is_not_asked_about_and_its_answer_counts_for_nothing() -> None:
    refreshes = begun((1, 300), (2, 300))
    refreshes.end(1)
    refresh = refreshes.take(9999, now=0)
    assert refresh is not None
    assert refresh.connection == 2
    refreshes.end(2)
    assert refreshes.time_has_come_to(0) == inf
    assert not refreshes.answered(refresh)
    refreshes.end(3)  # one that was never there
    assert (len(refreshes), refreshes.next_at()) == (0, None)


@given(st.lists(st.tuples(st.integers(1, 20), st.integers(300, 400)), max_size=40), st.sets(st.integers(1, 20)))
def test_nothing_is_left_of_what_has_ended(begins: list[tuple[int, int]], early: set[int]) -> None:
    refreshes = Refreshes()
    for number, (connection, seconds) in enumerate(begins):
        refreshes.begin(number * 100 + connection, QUESTION, None, after_seconds=seconds, at=0)
    for number, (connection, _) in enumerate(begins):
        if connection in early:
            refreshes.end(number * 100 + connection)
    last = 0.0
    while (refresh := refreshes.take(inf, now=0)) is not None:
        assert refresh.due >= last
        assert refresh.connection % 100 not in early
        last = refresh.due
        refreshes.end(refresh.connection)
    assert (len(refreshes), refreshes.next_at(), refreshes.time_has_come_to(0)) == (0, None, inf)
