"""Waking an event loop: every call arrives, in order, and lingering is only for floods that it helps."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_customauth_client.aio_waker import LINGER_SECONDS, Pace, Waker, waker_of


def play(pace: Pace, wakes: int, handled: Callable[[bool], float], gap: float) -> int:
    """Let a pace decide about so many wake-ups; return how many of them came by lingering."""
    now, lingering, lingered = 0.0, False, 0
    for _ in range(wakes):
        now += LINGER_SECONDS if lingering else gap
        lingered += lingering
        lingering = pace.lingers(int(handled(lingering)), now)
    return lingered


@given(st.lists(st.tuples(st.integers(0, 1_000), st.floats(0.0021, 5)), max_size=300))
def test_what_comes_now_and_then_is_never_delayed(wakes: list[tuple[int, float]]) -> None:
    pace, now = Pace(), 0.0
    for handled, gap in wakes:
        now += gap
        assert not pace.lingers(handled, now)


def test_a_flood_that_lingering_helps_soon_gets_nothing_else() -> None:
    lingered = play(Pace(), 1_000, lambda lingering: 100 if lingering else 4, 0.0001)
    assert lingered > 900


def test_question_and_answer_meets_a_trial_once_in_hundreds_of_rounds() -> None:
    lingered = play(Pace(), 4_000, lambda _: 1, 0.0003)
    assert lingered < 40


def test_a_crowd_that_waits_for_its_answers_is_delayed_ever_more_rarely() -> None:
    pace = Pace()
    first = play(pace, 2_000, lambda _: 8, 0.0003)
    later = play(pace, 2_000, lambda _: 8, 0.0003)
    assert first < 100
    assert later < 15


@given(st.lists(st.tuples(st.integers(0, 200), st.floats(0, 0.01)), max_size=500))
def test_lingering_ends_when_there_is_nothing_to_do(wakes: list[tuple[int, float]]) -> None:
    pace, now, lingering = Pace(), 0.0, False
    for handled, gap in wakes:
        now += gap
        lingering = pace.lingers(handled, now)
    for _ in range(3):
        now += LINGER_SECONDS
        lingering = lingering and pace.lingers(0, now)
    assert not lingering


def test_calls_from_many_threads_all_run_on_the_loop_in_the_order_of_each_thread() -> None:
    async def main() -> None:
        loop, seen, done = asyncio.get_running_loop(), list[tuple[int, int]](), asyncio.Event()
        waker, mine = waker_of(loop), threading.get_ident()

        def take(item: tuple[int, int]) -> None:
            assert threading.get_ident() == mine
            seen.append(item)
            if len(seen) == 8_000:
                done.set()

        def post_all(thread: int) -> None:
            for number in range(2_000):
                waker.post(take, (thread, number))

        threads = [threading.Thread(target=post_all, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        await asyncio.wait_for(done.wait(), 20)
        for thread in range(4):
            assert [number for owner, number in seen if owner == thread] == list(range(2_000))

    asyncio.run(main())


def test_a_burst_wakes_the_loop_once(monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> int:
        loop, wakes, seen = asyncio.get_running_loop(), list[object](), list[int]()
        waker, as_before = waker_of(loop), loop.call_soon_threadsafe

        def counting(call: Callable[..., object], *arguments: Any) -> object:
            wakes.append(call)
            return as_before(call, *arguments)

        monkeypatch.setattr(loop, "call_soon_threadsafe", counting)
        for number in range(1_000):
            waker.post(seen.append, number)
        await asyncio.sleep(0)
        assert seen == list(range(1_000))
        return len(wakes)

    assert asyncio.run(main()) == 1


def test_a_call_that_fails_is_logged_and_the_others_run(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> list[int]:
        waker, seen = waker_of(asyncio.get_running_loop()), list[int]()
        waker.post(seen.append, 1)
        waker.post(seen.index, 5)  # raises
        waker.post(seen.append, 2)
        await asyncio.sleep(0)
        waker.post(seen.append, 3)
        await asyncio.sleep(0)
        return seen

    assert asyncio.run(main()) == [1, 2, 3]
    assert "a call on the event loop failed" in caplog.text


class Orphan:
    def __init__(self) -> None:
        self.told = 0

    def orphaned(self) -> None:
        self.told += 1


@pytest.mark.parametrize("pending", [True, False])
def test_a_closed_loop_drops_what_is_posted_and_tells_its_orphans_once(pending: bool) -> None:
    loop, orphan, seen = asyncio.new_event_loop(), Orphan(), list[int]()
    waker = waker_of(loop)
    waker.adopt(orphan)
    if pending:
        waker.post(seen.append, 1)  # wakes a loop that will not run any more
    loop.close()
    for number in range(3):
        waker.post(seen.append, number)
    assert orphan.told == 1
    assert not seen


def test_each_loop_has_one_waker() -> None:
    one, other = asyncio.new_event_loop(), asyncio.new_event_loop()
    try:
        first: Waker = waker_of(one)
        assert waker_of(one) is first
        assert waker_of(other) is not first
    finally:
        one.close()
        other.close()
