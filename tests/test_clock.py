"""Clocks: the one that a test moves by hand, and the real one."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client import ManualClock
from iot_customauth_client.clock import Clock, SystemClock, Timer

START = datetime(2031, 5, 6, 7, 8, 9, tzinfo=UTC)


@pytest.fixture(scope="module")
def system_clock() -> SystemClock:
    return SystemClock()


# -- the manual clock -------------------------------------------------------------------------------------------------


def test_it_stands_still_until_it_is_moved() -> None:
    clock = ManualClock(START)
    before = clock.monotonic()
    assert (clock.now(), clock.now()) == (START, START)
    clock.advance(90)
    assert clock.now() == START + timedelta(seconds=90)
    assert clock.monotonic() == before + 90


def test_it_starts_at_the_real_time_unless_told_otherwise() -> None:
    before = datetime.now(UTC)
    assert before <= ManualClock().now() <= datetime.now(UTC)


def test_a_start_without_a_time_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="aware datetime"):
        ManualClock(datetime(2031, 1, 1))  # noqa: DTZ001 - naive on purpose


def test_time_does_not_go_back() -> None:
    with pytest.raises(ValueError, match="does not go back"):
        ManualClock().advance(-1)


@given(st.lists(st.integers(0, 20), max_size=20), st.lists(st.integers(0, 10), max_size=5))
def test_timers_fire_in_the_order_of_time_and_of_asking_at_their_time(delays: list[int], steps: list[int]) -> None:
    clock = ManualClock(START)
    start = clock.monotonic()
    fired: list[tuple[float, int]] = []

    def note(number: int) -> Callable[[], None]:
        return lambda: fired.append((clock.monotonic() - start, number))

    for number, delay in enumerate(delays):
        clock.call_at(start + delay, note(number))
    for step in steps:
        clock.advance(step)
    end = sum(steps) if steps else -1
    expected = sorted((delay, number) for number, delay in enumerate(delays) if delay <= end)
    assert [number for _, number in fired] == [number for _, number in expected]
    assert [when for when, _ in fired] == pytest.approx([delay for delay, _ in expected])


def test_the_wall_clock_stands_at_the_timers_time_when_it_fires() -> None:
    clock = ManualClock(START)
    seen: list[datetime] = []
    clock.call_at(clock.monotonic() + 3, lambda: seen.append(clock.now()))
    clock.advance(10)
    assert seen == [START + timedelta(seconds=3)]


def test_a_timer_set_by_a_timer_fires_in_the_same_advance_when_it_is_due() -> None:
    clock = ManualClock(START)
    start = clock.monotonic()
    fired: list[int] = []

    def again() -> None:
        fired.append(round(clock.monotonic() - start))
        clock.call_at(clock.monotonic() + 10, again)

    clock.call_at(start + 10, again)
    clock.call_at(start + 15, lambda: fired.append(15))
    clock.advance(35)
    assert fired == [10, 15, 20, 30]
    clock.advance(5)
    assert fired == [10, 15, 20, 30, 40]


def test_what_is_overdue_fires_with_the_next_advance_and_not_before() -> None:
    clock = ManualClock()
    fired: list[str] = []
    clock.call_at(clock.monotonic() - 5, lambda: fired.append("late"))
    assert fired == []
    now = clock.monotonic()
    clock.advance(0)
    assert fired == ["late"]
    assert clock.monotonic() == now


def test_a_cancelled_timer_does_not_fire() -> None:
    clock = ManualClock()
    fired: list[str] = []
    timer = clock.call_at(clock.monotonic() + 1, lambda: fired.append("cancelled"))
    assert not timer.cancelled
    timer.cancel()
    timer.cancel()
    assert timer.cancelled
    clock.advance(5)
    assert fired == []


def test_a_timer_can_cancel_another_that_is_due_too() -> None:
    clock = ManualClock()
    fired: list[str] = []
    when = clock.monotonic() + 1
    clock.call_at(when, lambda: second.cancel())
    second = clock.call_at(when, lambda: fired.append("second"))
    clock.advance(1)
    assert fired == []


def test_a_failing_timer_is_logged_and_the_next_ones_fire(caplog: pytest.LogCaptureFixture) -> None:
    clock = ManualClock()
    fired: list[str] = []
    clock.call_at(clock.monotonic() + 1, lambda: [][0])
    clock.call_at(clock.monotonic() + 2, lambda: fired.append("next"))
    with caplog.at_level(logging.ERROR, "iot_customauth_client.clock"):
        clock.advance(2)
    assert fired == ["next"]
    assert "IndexError" in caplog.text


def test_an_advance_within_an_advance_never_sets_the_clock_back() -> None:
    clock = ManualClock(START)
    start = clock.monotonic()
    clock.call_at(start + 5, lambda: clock.advance(20))
    clock.advance(10)
    assert clock.monotonic() == start + 25
    assert clock.now() == START + timedelta(seconds=25)


def test_many_threads_may_set_timers_while_time_moves() -> None:
    clock = ManualClock()
    fired = [0] * 8
    ready = threading.Barrier(9)

    def work(number: int) -> None:
        def count() -> None:
            fired[number] += 1

        ready.wait()
        for _ in range(200):
            clock.call_at(clock.monotonic() + 1, count)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    ready.wait()
    seen = clock.monotonic()
    while any(thread.is_alive() for thread in threads):
        clock.advance(0.5)
        assert clock.monotonic() >= seen
        seen = clock.monotonic()
    clock.advance(2)
    assert fired == [200] * 8


def test_time_moved_by_two_threads_at_once_never_goes_back() -> None:
    clock = ManualClock()
    steps: list[float] = []
    inside, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        inside.set()
        go_on.wait(10)

    clock.call_at(clock.monotonic() + 1, hold)
    slow = threading.Thread(target=clock.advance, args=(5,))
    slow.start()
    assert inside.wait(10)
    clock.advance(50)
    steps.append(clock.monotonic())
    go_on.set()
    slow.join(10)
    assert clock.monotonic() >= steps[0]


@pytest.mark.parametrize("make", [ManualClock, SystemClock])
def test_a_fired_or_cancelled_timer_lets_go_of_its_callback(make: Callable[[], Clock]) -> None:
    class Owner:
        def call(self) -> None:
            pass

    clock = make()
    owner = Owner()
    alive = weakref.ref(owner)
    timer = clock.call_at(clock.monotonic() + 1_000, owner.call)
    timer.cancel()
    fired = Timer(0.0, owner.call)
    fired.fire()
    assert fired.cancelled
    del owner
    gc.collect()
    assert alive() is None


def test_cancelled_timers_do_not_pile_up_until_their_time() -> None:
    clock = ManualClock()
    clock.call_at(clock.monotonic() + 3_600, lambda: None)
    for _ in range(1_000):
        clock.call_at(clock.monotonic() + 3_601, lambda: None).cancel()
    assert len(clock._agenda._heap) < 500


# -- the real clock ---------------------------------------------------------------------------------------------------


def test_the_system_clock_tells_the_real_time(system_clock: SystemClock) -> None:
    before, wall = time.monotonic(), datetime.now(UTC)
    assert before <= system_clock.monotonic() <= time.monotonic()
    assert wall <= system_clock.now() <= datetime.now(UTC)


def test_the_system_clock_fires_in_order_and_not_early(system_clock: SystemClock) -> None:
    now = system_clock.monotonic()
    fired: list[int] = []
    early: list[float] = []
    done = threading.Event()

    def note(number: int, when: float) -> Callable[[], None]:
        def call() -> None:
            fired.append(number)
            if time.monotonic() < when:
                early.append(when)
            if len(fired) == 3:
                done.set()

        return call

    for number, delay in ((3, 0.06), (1, 0.02), (2, 0.04)):
        system_clock.call_at(now + delay, note(number, now + delay))
    assert done.wait(10)
    assert fired == [1, 2, 3]
    assert early == []


def test_a_sooner_timer_wakes_the_system_clock_that_waits_for_a_later_one(system_clock: SystemClock) -> None:
    done = threading.Event()
    later = system_clock.call_at(system_clock.monotonic() + 3_600, lambda: None)
    system_clock.call_at(system_clock.monotonic(), done.set)
    assert done.wait(10)
    later.cancel()


def test_a_timer_in_the_farthest_future_does_not_stop_the_system_clock() -> None:
    clock = SystemClock()
    done = threading.Event()
    never = clock.call_at(float("inf"), lambda: None)
    started = threading.Event()
    clock.call_at(clock.monotonic(), started.set)
    assert started.wait(10)
    clock.call_at(clock.monotonic() + 0.05, done.set)  # after it has begun to wait for the far one
    assert done.wait(10)
    never.cancel()


def test_timers_may_be_set_from_many_threads_and_all_run_on_one(system_clock: SystemClock) -> None:
    ran: list[threading.Thread] = []
    done = threading.Event()

    def call() -> None:
        ran.append(threading.current_thread())
        if len(ran) == 400:
            done.set()

    def work() -> None:
        for _ in range(100):
            system_clock.call_at(system_clock.monotonic(), call)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    assert done.wait(10)
    for thread in threads:
        thread.join()
    assert len(set(ran)) == 1
    assert ran[0].daemon


def test_a_failing_timer_does_not_stop_the_system_clock(system_clock: SystemClock) -> None:
    done = threading.Event()
    system_clock.call_at(system_clock.monotonic(), lambda: [][0])
    system_clock.call_at(system_clock.monotonic(), done.set)
    assert done.wait(10)
