"""Pauses between attempts: growing, jittered, bounded, and remembered; and what follows from each kind of failure."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import (
    AuthenticationRefused,
    ClosedBeforeConnack,
    ConfigurationError,
    CredentialsExpired,
    CredentialsRejected,
    CredentialsUnavailable,
    EndpointUnreachable,
    ProxyRefused,
    Throttled,
    TlsFailed,
    connect,
)
from iot_customauth_client.back_off import BackOff, Takeovers
from iot_customauth_client.outcomes import Failure, Next, next_of
from iot_customauth_client.suspension import CHECK_SECONDS, SuspensionWatch


def most(_: float, longest: float) -> float:
    return longest


def test_pauses_double_from_one_second_to_a_minute() -> None:
    back_off = BackOff(most)
    assert [back_off.failed() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]


def test_refusals_wait_between_a_minute_and_an_hour() -> None:
    back_off = BackOff(most)
    assert [back_off.refused() for _ in range(4)] == [240, 960, 3600, 3600]
    assert BackOff(lambda least, _: least).refused() == 60


def test_only_a_connection_that_lasted_starts_the_count_again() -> None:
    back_off = BackOff(most)
    assert back_off.lasts_after_seconds == 30
    for _ in range(7):
        back_off.failed()
    assert back_off.lasts_after_seconds == 60
    assert back_off.failed() == 60
    back_off.lasted()
    assert back_off.failed() == 1


@given(times=st.integers(0, 3000), refusals=st.integers(0, 3000), at_least=st.floats(0, 1e6))
def test_no_count_is_too_great_and_what_the_source_asks_for_is_kept(times: int, refusals: int, at_least: float) -> None:
    back_off = BackOff()
    for _ in range(times):
        assert 0 <= back_off.failed() <= 60
    for _ in range(refusals):
        assert 60 <= back_off.refused() <= 3600
    assert back_off.failed(at_least=at_least) >= at_least


def test_a_later_process_waits_what_is_left_of_the_pause_and_goes_on_counting() -> None:
    first = BackOff(most)
    for _ in range(5):
        pause = first.failed()
    text = first.remembered(1_000.0, pause, refused=False, code="tcp_failed", message="no TCP connection")
    later = BackOff(most)
    left = later.recalled(text, 1_006.0)
    assert left is not None
    assert (left.seconds, left.refused, left.code, left.message) == (10.0, False, "tcp_failed", "no TCP connection")
    assert later.failed() == 32
    assert BackOff().recalled(text, 1_016.0) is None  # it is over


@given(wall=st.floats(0, 4e9), now=st.floats(0, 4e9), times=st.integers(1, 9), refused=st.booleans(), message=st.text())
def test_a_clock_that_was_set_never_makes_a_pause_longer(
    wall: float, now: float, times: int, refused: bool, message: str
) -> None:
    back_off = BackOff()
    for _ in range(times):
        pause = back_off.refused() if refused else back_off.failed()
    recalled = BackOff().recalled(back_off.remembered(wall, pause, refused=refused, code="x", message=message), now)
    assert recalled is None or 0 < recalled.seconds <= min(pause, 30)


def test_what_is_left_of_a_pause_leaves_half_of_a_connects_time_for_attempts() -> None:
    # Else a script that is started again whenever connect() raises would never make one.
    default = inspect.signature(connect).parameters["timeout"].default
    for refused in (False, True):
        text = BackOff().remembered(0.0, 3_600.0, refused=refused, code="x", message="no")
        recalled = BackOff().recalled(text, 0.0)
        assert recalled is not None
        assert recalled.seconds <= default / 2


@given(text=st.none() | st.text() | st.sampled_from(["{}", "[]", "3", '{"failures": 1e999}', '{"failures": "x"}']))
def test_what_is_not_ours_counts_as_nothing(text: str | None) -> None:
    back_off = BackOff(most)
    assert back_off.recalled(text, 0.0) is None
    assert back_off.failed() == 1


def test_two_takeovers_within_ten_minutes_slow_down_and_one_does_not() -> None:
    takeovers = Takeovers()
    assert takeovers.noticed(0.0) == 1
    assert takeovers.pause_seconds() == 0
    assert takeovers.noticed(500.0) == 2
    assert takeovers.pause_seconds() == 5
    assert takeovers.noticed(599.0) == 3
    assert takeovers.pause_seconds() == 10
    assert takeovers.noticed(1_300.0) == 1
    assert takeovers.pause_seconds() == 0


# -- the table ------------------------------------------------------------------------------------------------------

REFUSED = AuthenticationRefused("no")
CLOSED = ClosedBeforeConnack("closed")
TABLE: list[tuple[Failure, Next, Next]] = [
    (ConfigurationError("x"), Next.STOP, Next.WAIT),
    (TlsFailed("x", verdict=True), Next.STOP, Next.WAIT),
    (TlsFailed("x"), Next.WAIT, Next.WAIT),
    (ProxyRefused("x", status=407), Next.STOP, Next.WAIT),
    (ProxyRefused("x", status=503), Next.WAIT, Next.WAIT),
    (CredentialsRejected("x"), Next.STOP, Next.STOP),
    (CredentialsExpired("x"), Next.STOP, Next.STOP),
    (CredentialsUnavailable("x"), Next.WAIT, Next.WAIT),
    (EndpointUnreachable("x"), Next.WAIT, Next.WAIT),
    (Throttled("x"), Next.WAIT, Next.WAIT),
    (REFUSED, Next.STOP, Next.REFUSED),
    (CLOSED, Next.WAIT, Next.WAIT),
]


@pytest.mark.parametrize(("error", "first", "later"), TABLE, ids=[type(row[0]).__name__ for row in TABLE])
def test_what_follows_from_a_failed_attempt(error: Failure, first: Next, later: Next) -> None:
    assert next_of(error, first=True, fresh_left=False, hang_ups=1, when_refused="retry") is first
    assert next_of(error, first=False, fresh_left=False, hang_ups=1, when_refused="retry") is later


def test_a_refusal_is_met_with_fresh_credentials_once() -> None:
    for first in (True, False):
        assert next_of(REFUSED, first=first, fresh_left=True, hang_ups=0, when_refused="stop") is Next.FRESH
    assert next_of(REFUSED, first=False, fresh_left=False, hang_ups=0, when_refused="stop") is Next.STOP


def test_the_second_hang_up_in_a_row_stops_only_the_first_connection() -> None:
    assert next_of(CLOSED, first=True, fresh_left=True, hang_ups=2, when_refused="retry") is Next.STOP
    assert next_of(CLOSED, first=False, fresh_left=True, hang_ups=9, when_refused="stop") is Next.WAIT


# -- sleep ----------------------------------------------------------------------------------------------------------


def test_sleep_and_late_timers_are_told_apart() -> None:
    now, slept = 100.0, 0.0
    watch = SuspensionWatch(lambda: now, lambda: now + slept)
    now += CHECK_SECONDS
    assert watch.check() == (0.0, 0.0)
    slept += 3_600
    now += CHECK_SECONDS
    assert watch.check() == (3_600.0, 0.0)
    now += CHECK_SECONDS + 50
    assert watch.check() == (0.0, 50.0)
    now += CHECK_SECONDS + 2  # a busy machine
    assert watch.check() == (0.0, 0.0)
